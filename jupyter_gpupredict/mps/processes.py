"""Which process a number means: a PID alone is used again; with its start it is not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DAEMON, _SERVER = b"nvidia-cuda-mps-control", b"nvidia-cuda-mps-server"


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


def members(group: int) -> list[int]:
    """Return the processes of a process group that still run.

    Source: fields 3 and 5 of /proc/PID/stat, proc(5).
    """
    pids = sorted(int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal())
    return [pid for pid in pids if (words := _stat(pid)) and int(words[2]) == group]


def daemon_in(pipe_directory: Path, *, default: bool = False) -> Identity | None:
    """Return the control daemon that serves a directory, by its own command line and environment.

    Its files prove nothing: not every driver writes a pid file, and all stay after a kill.

    Args:
        pipe_directory: `CUDA_MPS_PIPE_DIRECTORY` of the daemon.
        default: A daemon whose environment names none serves this one.

    Returns:
        None where there is none, or where its environment may not be read here.

    Source: /proc/PID/cmdline and environ, proc(5).
    """
    return next(iter(_of_directory(pipe_directory, _DAEMON, default=default)), None)


def servers_in(pipe_directory: Path) -> list[Identity]:
    """Return the MPS servers that a directory's daemon has started."""
    return list(_of_directory(pipe_directory, _SERVER))


def owner_uid(pid: int) -> int | None:
    """Return the user a process runs as; None when it is gone."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


def pid_namespace() -> str:
    """Return the namespace that this process's numbers count in; empty where it is not told."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _of_directory(
    pipe_directory: Path, program: bytes, *, default: bool = False
) -> Iterator[Identity]:
    """Yield the processes of a program in whose environment the directory is; leaders first."""
    serves = b"CUDA_MPS_PIPE_DIRECTORY=" + os.fsencode(pipe_directory)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if not _runs(words, program):
                continue
            environ = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or is another user's
        unnamed = not any(one.startswith(b"CUDA_MPS_PIPE_DIRECTORY=") for one in environ)
        if serves in environ or (default and unnamed):
            found.append(int(entry.name))
    for pid in sorted(found, key=lambda one: (_session(one) != one, one)):
        identity = identify(pid)
        if identity is not None:
            yield identity


def _runs(words: list[bytes], program: bytes) -> bool:
    """Whether a command line is of the program; of its control program, as a daemon."""
    named = any(word.rpartition(b"/")[2] == program for word in words[:2])
    return named and (program != _DAEMON or b"-d" in words or b"-f" in words)


def _session(pid: int) -> int:
    """Return the number of a process's session; a daemon leads its own."""
    words = _stat(pid)
    return int(words[3]) if words else 0


def _stat(pid: int) -> list[bytes]:
    """Return the third and later fields of a process that runs; empty when it does not."""
    if pid <= 0:
        return []
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
    return [] if words[0] in (b"Z", b"X") else words
