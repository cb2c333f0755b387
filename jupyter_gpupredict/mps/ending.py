"""How a daemon of ours ends: asked, then told; its directory is removed only when it is gone."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import MpsError, ServerFault
from jupyter_gpupredict.mps.control import Control
from jupyter_gpupredict.mps.processes import Identity, servers_in
from jupyter_gpupredict.mps.waiting import until

if TYPE_CHECKING:
    from jupyter_gpupredict.mps.directory import OwnDirectory

SERVERS_S = 2
"""How long a daemon lets its servers finish before it ends them."""
ANSWER_S = 2.5
QUIT_S, TERMINATED_S, KILLED_S = 4.0, 3.5, 1.0
"""How long each step is waited for: with the answer less than ten seconds. NVIDIA's daemon is gone
1.3 to 1.9 s after `quit`, and 1 to 2 s after SIGTERM."""


def end(directory: OwnDirectory) -> None:
    """Quit the daemon of a directory of ours and remove the directory.

    Raises:
        ServerFault: Neither `quit` nor a signal ended it. The directory stays, for a later attempt.
        MpsError: It belongs to another PID namespace, where its daemon may run.
    """
    if not directory.here:
        raise MpsError(
            f"the daemon of {directory.pipe} was started in another PID namespace",
            "end it there: in the container, or on the machine, that it was started in",
        )
    left = _left(directory)
    reason = ""
    if left:
        resume(directory)
        try:
            Control(directory, ANSWER_S).quit(SERVERS_S)
        except MpsError as error:
            reason = f": {error.message}"
        steps = [(signal.SIGTERM, TERMINATED_S), (signal.SIGKILL, KILLED_S)]
        gone = not reason and _wait(directory, QUIT_S)
        while not gone and steps:
            number, limit_s = steps.pop(0)
            for one in _left(directory):
                _signal(one, number)
            gone = _wait(directory, limit_s)
        if not gone and (left := _left(directory)):
            raise ServerFault(
                f"the MPS daemon, process {left[0].pid}, does not end{reason}",
                f"its logs are in {directory.log}",
            )
    directory.remove()


def resume(directory: OwnDirectory) -> None:
    """Have a daemon of ours go on if it is halted, when it can neither answer nor end.

    Nobody looks first whether it is: a SIGSTOP that is still under way is undone, too.
    """
    for one in _left(directory):
        _signal(one, signal.SIGCONT)


def _left(directory: OwnDirectory) -> list[Identity]:
    """Return what still runs of a directory: its daemon, whoever started it, and servers."""
    daemon = directory.daemon
    return [*([daemon] if daemon else []), *servers_in(directory.pipe)]


def _wait(directory: OwnDirectory, limit_s: float) -> bool:
    return until(lambda: not _left(directory), limit_s, "the MPS daemon to end")


def _signal(process: Identity, number: signal.Signals) -> None:
    if process.alive:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)
