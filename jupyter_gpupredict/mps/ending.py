"""How a daemon of ours ends: asked, then told; its directory is removed only when it is gone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import MpsError, ServerFault
from jupyter_gpupredict.mps.control import Control
from jupyter_gpupredict.mps.identity import Identity, identify

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.mps.directory import OwnDirectory

SERVERS_S = 5
"""How long a daemon lets its servers finish before it ends them."""
PATIENCE_S = 10.0
_LOOK_S = 0.02


def end(directory: OwnDirectory, patience_s: float | None = None) -> None:
    """Quit the daemon of a directory of ours and remove the directory.

    Raises:
        ServerFault: It ended neither by `quit` nor by SIGTERM. The directory stays, for a later
            attempt.
        MpsError: It belongs to another PID namespace, where its daemon may run.
    """
    if not directory.here:
        raise MpsError(
            f"the daemon of {directory.pipe} was started in another PID namespace",
            "end it there: in the container, or on the machine, that it was started in",
        )
    patience_s = PATIENCE_S if patience_s is None else patience_s
    daemon = directory.daemon or _unrecorded(directory)
    if daemon is not None and daemon.alive:
        reason = ""
        try:
            Control(directory, patience_s).quit(SERVERS_S)
        except MpsError as error:
            reason = f": {error.message}"
        ended = not reason and until(lambda: not daemon.alive, patience_s)
        if not ended and daemon.alive:
            os.kill(daemon.pid, signal.SIGTERM)
            if not until(lambda: not daemon.alive, patience_s):
                raise ServerFault(
                    f"the MPS daemon, process {daemon.pid}, does not end{reason}",
                    f"its logs are in {directory.log}",
                )
    directory.remove()


def until(condition: Callable[[], bool], limit_s: float) -> bool:
    """Wait for a condition; return whether it came about in time."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(_LOOK_S)
    return True


def _unrecorded(directory: OwnDirectory) -> Identity | None:
    """Return the daemon whose owner died before noting it; it says which directory it serves.

    Source: /proc/PID/environ, proc(5).
    """
    pid = directory.written_pid()
    serves = b"CUDA_MPS_PIPE_DIRECTORY=" + os.fsencode(directory.pipe)
    try:
        if pid is None or serves not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return None
    except OSError:
        return None
    return identify(pid)
