"""A measured or replayed run: what it is wired from, its trace, and what is read of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.run.adapters import SourceProbe, device_watch, host, probe_sources
from jupyter_gpupredict.run.measuring import build_session, environment, shutdown
from jupyter_gpupredict.run.options import SessionConfig, code_hash, rule_names
from jupyter_gpupredict.run.progress import progress_hooks, progress_hub
from jupyter_gpupredict.run.recordings import (
    check_recording_options,
    fetch_recording,
    open_recordings,
    predict_recording,
)
from jupyter_gpupredict.run.store import (
    build_store,
    list_runs,
    read_events,
    read_run,
    request_stop,
    store_dir,
    store_problem,
    with_verified,
    with_verified_in_time,
)

if TYPE_CHECKING:
    from jupyter_gpupredict.run.index import Runs

__all__ = [
    "Runs",
    "SessionConfig",
    "SourceProbe",
    "build_session",
    "build_store",
    "check_recording_options",
    "code_hash",
    "device_watch",
    "environment",
    "fetch_recording",
    "host",
    "list_runs",
    "open_recordings",
    "predict_recording",
    "probe_sources",
    "progress_hooks",
    "progress_hub",
    "read_events",
    "read_run",
    "request_stop",
    "rule_names",
    "shutdown",
    "store_dir",
    "store_problem",
    "with_verified",
    "with_verified_in_time",
]


def __getattr__(name: str) -> Any:
    """Load the index of runs when it is asked for: a kernel never does."""
    if name == "Runs":
        from jupyter_gpupredict.run.index import Runs

        return Runs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
