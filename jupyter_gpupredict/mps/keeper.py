"""A small process that makes a daemon's directory, and ends both when its owner is gone.

It comes before the directory and leads a session of its own, so there is no moment at which a kill
of the owner leaves anything behind. It sleeps in the kernel until the owner's process ends
(pidfd_open(2)), or until it is told that all is tidied up. A daemon that was started from a
terminal is owned by its keeper, which then waits for the daemon itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
from pathlib import Path

from jupyter_gpupredict.core.errors import MpsError
from jupyter_gpupredict.mps.directory import OwnDirectory, make, read
from jupyter_gpupredict.mps.ending import end
from jupyter_gpupredict.mps.processes import identify
from jupyter_gpupredict.mps.waiting import until

STAY, LET_GO = b"s", b"."
"""What an owner says: you own it from now on; all is tidied up, end."""
STARTS_S = 1.0
"""For so long a daemon may be on its way that its owner, now dead, has started."""


def main(base: str, gpu_uuid: str, owner_pid: str) -> int:
    """Make a directory in `base` for a GPU and watch over it; returns the exit status.

    The first line on standard output is JSON: `path`, or `error` and `hint`.
    """
    owner = _descriptor(int(owner_pid))
    if owner is None:
        return 1
    try:
        directory = make(Path(base), gpu_uuid, int(owner_pid))
    except MpsError as error:
        _say(error=error.message, hint=error.hint)
        return 1
    _say(path=str(directory.path))
    poller = select.poll()
    poller.register(owner, select.POLLIN)
    poller.register(sys.stdin.fileno(), select.POLLIN)
    while directory.owner.alive:
        if all(descriptor != sys.stdin.fileno() for descriptor, _ in poller.poll()):
            continue
        said = os.read(sys.stdin.fileno(), 64)
        if LET_GO in said:
            return _tidy(directory)
        if STAY in said:
            return _stay(directory)
        if not said:  # the owner is ending
            poller.unregister(sys.stdin.fileno())
    until(lambda: directory.daemon is not None, STARTS_S)
    return _tidy(directory)


def _stay(directory: OwnDirectory) -> int:
    """Own a directory whose daemon runs, and remove it when that ends; returns the exit status."""
    itself, daemon = identify(os.getpid()), directory.daemon
    if itself is None or daemon is None:
        return 1
    directory = (read(directory.path) or directory).marked(owner=itself, detached=True)
    _say(path=str(directory.path))
    watched = _descriptor(daemon.pid)
    if watched is not None and daemon.alive:
        poller = select.poll()
        poller.register(watched, select.POLLIN)
        poller.poll()
    return _tidy(directory)


def _tidy(directory: OwnDirectory) -> int:
    """End what is left, also of a directory that others have cleaned away."""
    try:
        end(read(directory.path) or directory)
    except MpsError:
        return 1  # the directory stays, for the next sweep
    return 0


def _say(**told: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: the owner has ended
        os.write(sys.stdout.fileno(), f"{json.dumps(told)}\n".encode())


def _descriptor(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None when it has."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
