"""Whether a server starts, found out before any process becomes a client.

A client that finds a daemon whose server cannot start gets CUDA error 805, at each later call too:
CUDA is then unusable in that process. So the server is started, and watched, first.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import ControlTimeout, ServerFault
from jupyter_gpupredict.mps.control import Control, faulted
from jupyter_gpupredict.mps.waiting import Patience

if TYPE_CHECKING:
    from jupyter_gpupredict.mps.directory import OwnDirectory

LIMIT_S = 10.0
LOOK_S = 0.3
"""Between two looks: a server that dies at once may be in the list for a moment."""
_EXITED = re.compile(r"Server \d+ exited with status \d+")
_HEAD = re.compile(r"^\[[^\]]*\] ")


def require_server(directory: OwnDirectory, limit_s: float = LIMIT_S) -> int:
    """Have a daemon of ours run this user's server; returns the server's PID.

    Raises:
        ServerFault: It does not start; says why, as far as the daemon's logs tell.
        ControlTimeout: The daemon gives no answer, or no server is there in time.
        MpsError: The daemon cannot be asked.
    """
    control = Control(directory)
    patience = Patience(limit_s, "the MPS server to start")
    written = len(_log(directory, "control.log"))
    seen = set(control.get_server_list())
    if not seen:
        control.start_server(os.geteuid())
    while not patience.over:
        time.sleep(LOOK_S)
        listed = set(control.get_server_list())
        for pid in sorted(listed & seen):
            state = control.get_server_status(pid)
            if state == "FAULT":
                raise faulted(pid)
            if state == "ACTIVE" or "get_server_status" not in directory.commands:
                return pid
        if not listed and _EXITED.search(_log(directory, "control.log")[written:]):
            raise ServerFault(f"the MPS server does not start: {_reason(directory)}")
        seen = listed
    raise ControlTimeout(f"no MPS server has started in {limit_s:g} s: {_reason(directory)}")


def _reason(directory: OwnDirectory) -> str:
    """Return the last line of the server's log; where it is empty, what the daemon saw."""
    told = [line.strip() for line in _log(directory, "server.log").splitlines() if line.strip()]
    seen = _EXITED.findall(_log(directory, "control.log"))
    return _HEAD.sub("", [*seen, *told][-1])[:300] if seen or told else "its logs say nothing"


def _log(directory: OwnDirectory, name: str) -> str:
    try:
        return (directory.log / name).read_text(errors="replace")
    except OSError:
        return ""
