"""A run's figures, and its code, as what a platform deploys: manifest and runnable folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_gpupredict.export.code import in_order, notebook_cell, read_notebook
    from jupyter_gpupredict.export.compatibility import targets
    from jupyter_gpupredict.export.exporting import ExportOutcome, export_run, obstacles
    from jupyter_gpupredict.export.validating import Validated, validate

__all__ = [
    "ExportOutcome",
    "Validated",
    "export_run",
    "in_order",
    "notebook_cell",
    "obstacles",
    "read_notebook",
    "targets",
    "validate",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is used: a kernel that measures may never export."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jupyter_gpupredict.registry import public

    return public(__name__, ("code", "compatibility", "exporting", "validating"), name)
