"""Processes as /proc shows them, and waits for them that end.

A PID alone is used again; with its start it is not.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ANNOUNCED_AFTER_S = 2.0
"""A longer wait is announced in one line."""
_LOOK_S = 0.02
_DAEMON, _SERVER = b"nvidia-cuda-mps-control", b"nvidia-cuda-mps-server"
_PIPE = b"CUDA_MPS_PIPE_DIRECTORY="


@dataclass(frozen=True, slots=True)
class Identity:
    """One process."""

    pid: int
    start_ticks: int
    """When it began, in clock ticks since the machine booted."""

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; one that ended and was not collected does not."""
        return identify(self.pid) == self


def identify(pid: int) -> Identity | None:
    """Return the process that has this number now; None when there is none.

    Source: fields 3 and 22 of /proc/PID/stat, proc(5).
    """
    words = _stat(pid)
    return Identity(pid, int(words[19])) if words else None


def members(group: int) -> frozenset[int]:
    """Return the processes of a process group that still run.

    Source: fields 3 and 5 of /proc/PID/stat, proc(5).
    """
    return frozenset(pid for pid in _pids() if (words := _stat(pid)) and int(words[2]) == group)


def daemon_in(pipe_directory: Path, *, default: bool = False) -> Identity | None:
    """Return the control daemon that serves a directory, by its own command line and environment.

    Its files prove nothing: not every driver writes a pid file, and all stay after a kill. One
    whose environment names no directory serves the `default` one.

    Returns:
        None where there is none, or where its environment may not be read here.

    Source: /proc/PID/cmdline and environ, proc(5).
    """
    return next(iter(_of_directory(pipe_directory, _DAEMON, default=default)), None)


def servers_in(pipe_directory: Path) -> list[Identity]:
    """Return the MPS servers that a directory's daemon has started."""
    return _of_directory(pipe_directory, _SERVER)


def owner_uid(pid: int) -> int | None:
    """Return the user a process runs as; None when it is gone."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


def pid_namespace() -> str:
    """Return the namespace that this process's numbers count in; empty where it is not known."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _of_directory(pipe_directory: Path, program: bytes, *, default: bool = False) -> list[Identity]:
    """Return the processes of a program in whose environment the directory is; leaders first."""
    serves = _PIPE + os.fsencode(pipe_directory)
    found = []
    for pid in _pids():
        try:
            if not _runs(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"), program):
                continue
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or is another user's
        unnamed = not any(one.startswith(_PIPE) for one in environ)
        words = _stat(pid)
        if words and (serves in environ or (default and unnamed)):
            leads = int(words[3]) == pid  # a daemon leads a session of its own
            found.append((not leads, Identity(pid, int(words[19]))))
    return [one for _, one in sorted(found, key=lambda one: (one[0], one[1].pid))]


def _runs(words: list[bytes], program: bytes) -> bool:
    """Whether a command line is of the program; of its control program, as a daemon."""
    named = any(word.rpartition(b"/")[2] == program for word in words[:2])
    return named and (program != _DAEMON or b"-d" in words or b"-f" in words)


def _pids() -> list[int]:
    return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal()]


def _stat(pid: int) -> list[bytes]:
    """Return the third and later fields of a process that runs; empty when it does not."""
    if pid <= 0:
        return []
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
    return [] if words[0] in (b"Z", b"X") else words


@dataclass(slots=True)
class Patience:
    """The time that one thing may take, from now; a long wait is announced once."""

    limit_s: float
    what: str = ""
    """What is waited for, as it completes "waiting for"; empty: nobody needs to know."""
    _began_s: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        """Whether the time is up; also says, once, what is waited for."""
        return self.step_s() <= 0.0

    def step_s(self) -> float:
        """Return for how long one may wait before asking again; 0 when the time is up."""
        waited_s = time.monotonic() - self._began_s
        if self.what and waited_s >= ANNOUNCED_AFTER_S:
            what, self.what = self.what, ""
            with contextlib.suppress(OSError, ValueError):  # the stream may be closed
                print(f"gpupredict: waiting for {what}", file=sys.stderr, flush=True)  # noqa: T201
        left_s = max(0.0, self.limit_s - waited_s)
        return min(left_s, ANNOUNCED_AFTER_S - waited_s) if self.what else left_s


def until(condition: Callable[[], bool], limit_s: float, what: str = "") -> bool:
    """Wait for a condition; return whether it came about in time."""
    patience = Patience(limit_s, what)
    while not condition():
        if patience.over:
            return False
        time.sleep(_LOOK_S)
    return True
