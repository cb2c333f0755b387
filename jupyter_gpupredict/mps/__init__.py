"""NVIDIA MPS: a daemon of our own, and what makes a process its client.

The only part that changes anything on the machine, on request, and puts it back (docs/mps.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_gpupredict.mps.isolation import (
        Isolated,
        IsolatedRun,
        Subject,
        isolate,
        subject,
        subject_of_folder,
        subject_of_notebook,
    )
    from jupyter_gpupredict.mps.lease import Lease, cell_share, child_lease
    from jupyter_gpupredict.mps.process import (
        mps_daemon,
        mps_start,
        mps_start_detached,
        mps_status,
        mps_stop,
        mps_stop_detached,
        mps_trial,
        process_mps,
    )
    from jupyter_gpupredict.mps.verification import (
        PAIRS,
        SHARES,
        Bound,
        Verification,
        sweep,
        verify,
    )

__all__ = [
    "PAIRS", "SHARES", "Bound", "Isolated", "IsolatedRun", "Lease", "Subject", "Verification",
    "cell_share", "child_lease", "isolate", "mps_daemon", "mps_start", "mps_start_detached",
    "mps_status", "mps_stop", "mps_stop_detached", "mps_trial", "process_mps", "subject",
    "subject_of_folder", "subject_of_notebook", "sweep", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name when it is asked for: the keeper, a process of its own, needs none."""
    if name in __all__:
        import importlib

        for module in ("process", "lease", "isolation", "verification"):
            loaded = importlib.import_module(f"{__name__}.{module}")
            if hasattr(loaded, name):
                return getattr(loaded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
