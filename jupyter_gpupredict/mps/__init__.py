"""NVIDIA MPS: a daemon of our own, and what makes a process its client.

The only part that changes anything on the machine, on request, and puts it back (docs/mps.md).
"""

from __future__ import annotations

import functools
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
    from jupyter_gpupredict.mps.states import (
        UNREACHABLE,
        Ended,
        Fault,
        MpsDaemon,
        MpsStatus,
        OwnDaemon,
        unreachable,
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
    "PAIRS", "SHARES", "UNREACHABLE", "Bound", "Ended", "Fault", "Isolated", "IsolatedRun", "Lease",
    "MpsDaemon", "MpsStatus", "OwnDaemon", "Subject", "Verification",
    "cell_share", "child_lease", "isolate", "mps_daemon", "mps_start", "mps_start_detached",
    "mps_status", "mps_stop", "mps_stop_detached", "mps_trial", "process_mps", "subject",
    "subject_of_folder", "subject_of_notebook", "sweep", "unreachable", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name when it is used, and a function not before it is called.

    Most kernels never need MPS, and the keeper, a process of its own, needs no more than its part.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return functools.partial(_call, name) if name.islower() else _loaded(name)


def _call(name: str, /, *args: Any, **options: Any) -> Any:
    return _loaded(name)(*args, **options)


def _loaded(name: str) -> Any:
    from jupyter_gpupredict.registry import public

    modules = ("states", "process", "lease", "isolation", "verification")
    return public(__name__, modules, name)
