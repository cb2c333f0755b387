"""A measured or replayed run: what it is wired from, its trace, and what is read of both."""

from __future__ import annotations

from jupyter_gpupredict.run.environment import environment
from jupyter_gpupredict.run.measuring import build_session, progress_board, shutdown
from jupyter_gpupredict.run.options import SessionConfig, code_hash, rule_names
from jupyter_gpupredict.run.recordings import (
    check_recording_options,
    fetch_recording,
    open_recording,
    predict_recording,
    predict_trace,
)
from jupyter_gpupredict.run.serving import Runs, device_watch
from jupyter_gpupredict.run.sources import SourceProbe, host, probe_sources
from jupyter_gpupredict.run.stored import (
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
    "open_recording",
    "predict_recording",
    "predict_trace",
    "probe_sources",
    "progress_board",
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
