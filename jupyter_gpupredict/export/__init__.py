"""A run's figures, and its code, as what a platform deploys: manifest and runnable folder."""

from __future__ import annotations

from jupyter_gpupredict.export.code import in_order, notebook_cell, read_notebook
from jupyter_gpupredict.export.compatibility import targets
from jupyter_gpupredict.export.exporting import ExportOutcome, export_run
from jupyter_gpupredict.export.validating import Validated, validate

__all__ = [
    "ExportOutcome",
    "Validated",
    "export_run",
    "in_order",
    "notebook_cell",
    "read_notebook",
    "targets",
    "validate",
]
