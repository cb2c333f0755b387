"""A run's figures, and its code, as what a platform deploys: manifest and runnable folder.

Public names are loaded when they are used: a kernel that measures may never export.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.registry import lazy

if TYPE_CHECKING:
    from jupyter_gpupredict.export.code import in_order, notebook_cell, read_notebook
    from jupyter_gpupredict.export.compatibility import targets
    from jupyter_gpupredict.export.deployment import Cell, CodeRequest
    from jupyter_gpupredict.export.equivalence import (
        COMPARED_S,
        COMPARED_STEPS,
        Compared,
        Comparison,
        compare,
        comparison,
    )
    from jupyter_gpupredict.export.exporting import ExportOutcome, export_run, obstacles
    from jupyter_gpupredict.export.request import ExportRequest
    from jupyter_gpupredict.export.validating import Validated, validate

__all__ = [
    "COMPARED_S", "COMPARED_STEPS", "Cell", "CodeRequest", "Compared", "Comparison",
    "ExportOutcome", "ExportRequest", "Validated",
    "compare", "comparison", "export_run", "in_order", "notebook_cell", "obstacles",
    "read_notebook", "targets", "validate",
]  # fmt: skip
_MODULES = (
    "deployment", "request", "code", "compatibility", "exporting", "validating", "equivalence",
)  # fmt: skip

__getattr__ = lazy(__name__, _MODULES, __all__)
