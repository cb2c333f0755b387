"""Which process a number means: a PID alone is used again; with its start it is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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


def _stat(pid: int) -> list[bytes]:
    """Return the third and later fields of a process that runs; empty when it does not."""
    if pid <= 0:
        return []
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
    return [] if words[0] in (b"Z", b"X") else words
