"""A small process that quits the daemon when its owner is gone, however it went.

It leads a session of its own, so no signal meant for the kernel reaches it, and it sleeps in the
kernel until the owner's process ends (pidfd_open(2)) or its standard input is closed. A daemon that
was started from a terminal is owned by its keeper, which then waits for the daemon itself.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from jupyter_gpupredict.core.errors import MpsError
from jupyter_gpupredict.mps.directory import OwnDirectory, read
from jupyter_gpupredict.mps.ending import PATIENCE_S, end, until

READY = b"watching\n"


def main(path: str) -> int:
    """Watch over one directory of ours until its owner is gone; returns the exit status."""
    directory = read(Path(path))
    if directory is None:
        return 1
    poller = select.poll()
    owner = _descriptor(directory.owner.pid)
    if owner is not None:
        poller.register(owner, select.POLLIN)
    poller.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    while owner is not None and directory.owner.alive:
        if any(descriptor == sys.stdin.fileno() for descriptor, _ in poller.poll()):
            if read(Path(path)) is None:
                break  # let go: the owner has tidied up
            poller.unregister(sys.stdin.fileno())  # it is ending, or could not: wait for its end
    return _tidy(Path(path))


def stay(path: str) -> int:
    """Own a directory whose daemon runs, and remove it when that ends; returns the exit status."""
    directory = read(Path(path))
    if directory is None or directory.daemon is None:
        return 1
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    daemon = _descriptor(directory.daemon.pid)
    if daemon is not None and directory.daemon.alive:
        poller = select.poll()
        poller.register(daemon, select.POLLIN)
        poller.poll()
    return _tidy(Path(path))


def _tidy(path: Path) -> int:
    directory = read(path)
    if directory is None:
        return 0  # the owner has done it
    if directory.daemon is None:  # the owner went while the daemon was starting
        until(lambda: directory.written_pid() is not None or read(path) is None, PATIENCE_S)
    try:
        end(_newest(directory))
    except MpsError:
        return 1  # the directory stays, for the next sweep
    return 0


def _newest(directory: OwnDirectory) -> OwnDirectory:
    return read(directory.path) or directory


def _descriptor(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None when it has."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
