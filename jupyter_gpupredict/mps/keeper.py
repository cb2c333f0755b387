"""A small process that quits the daemon when its owner is gone, however it went.

It leads a session of its own, so no signal meant for the kernel reaches it, and it sleeps in the
kernel until the owner's process ends (pidfd_open(2)) or its standard input is closed. A daemon that
was started from a terminal is owned by its keeper, which then waits for the daemon itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from pathlib import Path

from jupyter_gpupredict.core.errors import MpsError
from jupyter_gpupredict.mps.directory import OwnDirectory, read
from jupyter_gpupredict.mps.ending import PATIENCE_S, end, until

READY = b"watching\n"
NOTED, LET_GO = b"n", b"."
"""What an owner says: the marker names the daemon now; all is tidied up, end."""


def main(path: str) -> int:
    """Watch over one directory of ours until its owner is gone; returns the exit status."""
    directory = read(Path(path))
    if directory is None:
        return 1
    poller = select.poll()
    owner = _descriptor(directory.owner.pid)
    if owner is not None:
        poller.register(owner, select.POLLIN)
    poller.register(sys.stdin.fileno(), select.POLLIN)
    while owner is not None and directory.owner.alive:
        if any(descriptor == sys.stdin.fileno() for descriptor, _ in poller.poll()):
            said = os.read(sys.stdin.fileno(), 64)
            if LET_GO in said:
                return 0
            if not said:  # the owner is ending
                poller.unregister(sys.stdin.fileno())
            directory = read(directory.path) or directory
            if NOTED in said:
                _answer()
    return _tidy(directory)


def stay(path: str) -> int:
    """Own a directory whose daemon runs, and remove it when that ends; returns the exit status."""
    directory = read(Path(path))
    if directory is None or directory.daemon is None:
        return 1
    _answer()
    daemon = _descriptor(directory.daemon.pid)
    if daemon is not None and directory.daemon.alive:
        poller = select.poll()
        poller.register(daemon, select.POLLIN)
        poller.poll()
    return _tidy(directory)


def _tidy(directory: OwnDirectory) -> int:
    """End what is left. Of a directory that others have cleaned away, the daemon is known still."""
    directory = read(directory.path) or directory
    if directory.daemon is None:  # the owner went while the daemon was starting
        until(lambda: directory.written_pid() is not None, PATIENCE_S)
    try:
        end(read(directory.path) or directory)
    except MpsError:
        return 1  # the directory stays, for the next sweep
    return 0


def _answer() -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: the owner has ended
        os.write(sys.stdout.fileno(), READY)


def _descriptor(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None when it has."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
