"""The composition root: options in, a wired session, a prediction or an export out.

Front-ends know this and core's data, nothing else.
"""

from __future__ import annotations

from jupyter_gpupredict.config.code import in_order, notebook_cell, read_notebook
from jupyter_gpupredict.config.environment import environment
from jupyter_gpupredict.config.exporting import ExportOutcome, export, targets
from jupyter_gpupredict.config.isolating import Isolated, IsolatedRun, isolate
from jupyter_gpupredict.config.measuring import build_session, progress_board, shutdown
from jupyter_gpupredict.config.mps import (
    mps_start,
    mps_start_detached,
    mps_status,
    mps_stop,
    mps_stop_detached,
    mps_trial,
    process_mps,
)
from jupyter_gpupredict.config.options import SessionConfig, code_hash, rule_names
from jupyter_gpupredict.config.recordings import (
    check_recording_options,
    fetch_recording,
    open_recording,
    predict_recording,
    predict_trace,
)
from jupyter_gpupredict.config.serving import Runs, device_watch, mps_daemon
from jupyter_gpupredict.config.sources import SourceProbe, host, probe_sources
from jupyter_gpupredict.config.stored import (
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
from jupyter_gpupredict.config.tenancy import Tenancy, tenancy
from jupyter_gpupredict.config.validating import Validated, validate
from jupyter_gpupredict.config.verifying import (
    PAIRS,
    Subject,
    Verification,
    bound,
    subject,
    subject_of_folder,
    subject_of_notebook,
    sweep,
    sweep_shares,
    verify,
)

__all__ = [
    "PAIRS",
    "ExportOutcome",
    "Isolated",
    "IsolatedRun",
    "Runs",
    "SessionConfig",
    "SourceProbe",
    "Subject",
    "Tenancy",
    "Validated",
    "Verification",
    "bound",
    "build_session",
    "build_store",
    "check_recording_options",
    "code_hash",
    "device_watch",
    "environment",
    "export",
    "fetch_recording",
    "host",
    "in_order",
    "isolate",
    "list_runs",
    "mps_daemon",
    "mps_start",
    "mps_start_detached",
    "mps_status",
    "mps_stop",
    "mps_stop_detached",
    "mps_trial",
    "notebook_cell",
    "open_recording",
    "predict_recording",
    "predict_trace",
    "probe_sources",
    "process_mps",
    "progress_board",
    "read_events",
    "read_notebook",
    "read_run",
    "request_stop",
    "rule_names",
    "shutdown",
    "store_dir",
    "store_problem",
    "subject",
    "subject_of_folder",
    "subject_of_notebook",
    "sweep",
    "sweep_shares",
    "targets",
    "tenancy",
    "validate",
    "verify",
    "with_verified",
    "with_verified_in_time",
]
