"""Whether the process that writes a trace is still there."""

from __future__ import annotations

import functools
import os
import platform
import time
from pathlib import Path

SILENT_S = 120.0
"""On another machine only silence tells; a live run writes at least every ten seconds, unless a
call holds the interpreter for longer."""
_SLACK_S = 10.0
"""How exactly a process's start is known: the time of boot moves with the clock."""


def alive(host: str, pid: int, written_s: float) -> bool:
    """Return whether the run goes on.

    Args:
        host: The machine that it runs on.
        pid: Its process there.
        written_s: When its trace was last written, seconds since 1970.
    """
    if host != platform.node():
        return time.time() - written_s < SILENT_S
    if pid <= 0:
        return False
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return not Path("/proc/self/stat").exists() and _answers(pid)
    # a number used again belongs to a process that began after the last line was written
    began_s = _boot_s() + int(words[19]) / os.sysconf("SC_CLK_TCK")
    return words[0] not in (b"Z", b"X") and began_s <= written_s + _SLACK_S


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


@functools.cache
def _boot_s() -> float:
    for line in Path("/proc/stat").read_bytes().splitlines():
        if line.startswith(b"btime "):
            return float(line.split()[1])
    return 0.0
