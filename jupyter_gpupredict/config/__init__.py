"""The composition root: options in, a wired session, a prediction or an export out.

Front-ends know this and core's data, nothing else.
"""

from __future__ import annotations

from jupyter_gpupredict.config.code import read_notebook
from jupyter_gpupredict.config.exporting import ExportOutcome, export, targets
from jupyter_gpupredict.config.measuring import build_session, progress_board, shutdown
from jupyter_gpupredict.config.options import SessionConfig, code_hash, rule_names
from jupyter_gpupredict.config.recordings import (
    check_recording_options,
    fetch_recording,
    open_recording,
    predict_recording,
    predict_trace,
)
from jupyter_gpupredict.config.serving import Runs, device_watch, mps_daemon
from jupyter_gpupredict.config.sources import SourceProbe, probe_sources
from jupyter_gpupredict.config.stored import (
    build_store,
    list_runs,
    read_events,
    read_run,
    request_stop,
    store_dir,
    store_problem,
)
from jupyter_gpupredict.config.validating import Validated, validate

__all__ = [
    "ExportOutcome",
    "Runs",
    "SessionConfig",
    "SourceProbe",
    "Validated",
    "build_session",
    "build_store",
    "check_recording_options",
    "code_hash",
    "device_watch",
    "export",
    "fetch_recording",
    "list_runs",
    "mps_daemon",
    "open_recording",
    "predict_recording",
    "predict_trace",
    "probe_sources",
    "progress_board",
    "read_events",
    "read_notebook",
    "read_run",
    "request_stop",
    "rule_names",
    "shutdown",
    "store_dir",
    "store_problem",
    "targets",
    "validate",
]
