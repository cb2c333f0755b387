"""A measured or replayed run: what it is wired from, its trace, and what is read of both.

What a kernel never needs, or does not need before it measures, is loaded when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.registry import lazy
from jupyter_gpupredict.run.adapters import (
    SourceProbe,
    device_watch,
    host,
    kernel_tracers,
    probe_sources,
)
from jupyter_gpupredict.run.measuring import build_session, environment, shutdown
from jupyter_gpupredict.run.options import SessionConfig, code_hash, rule_names
from jupyter_gpupredict.run.progress import progress_hooks, progress_hub
from jupyter_gpupredict.run.sidecars import LONGEST_NAME, LONGEST_NOTE
from jupyter_gpupredict.run.store import (
    build_store,
    keep_need,
    read_events,
    read_run,
    request_stop,
    store_dir,
    store_problem,
    verified_in_time,
    with_verified,
    with_verified_in_time,
)

if TYPE_CHECKING:
    from jupyter_gpupredict.run.index import Runs
    from jupyter_gpupredict.run.picture import Drawing, Picture
    from jupyter_gpupredict.run.recorded import keep_recordings
    from jupyter_gpupredict.run.recordings import (
        check_recording_options,
        fetch_recording,
        need_of_profile,
        predict_recording,
        predict_recordings,
    )
    from jupyter_gpupredict.run.session import Session

_LAZY = (
    "Drawing", "Picture", "Runs", "Session", "check_recording_options", "fetch_recording",
    "keep_recordings", "need_of_profile", "predict_recording", "predict_recordings",
)  # fmt: skip
__all__ = [
    "LONGEST_NAME", "LONGEST_NOTE", "Drawing", "Picture", "Runs", "Session", "SessionConfig",
    "SourceProbe", "build_session", "build_store", "check_recording_options", "code_hash",
    "device_watch", "environment", "fetch_recording", "host", "keep_need",
    "keep_recordings", "kernel_tracers",
    "need_of_profile", "predict_recording", "predict_recordings", "probe_sources",
    "progress_hooks", "progress_hub", "read_events", "read_run", "request_stop", "rule_names",
    "shutdown", "store_dir", "store_problem", "verified_in_time", "with_verified",
    "with_verified_in_time",
]  # fmt: skip

__getattr__ = lazy(__name__, ("index", "session", "picture", "recordings", "recorded"), _LAZY)
