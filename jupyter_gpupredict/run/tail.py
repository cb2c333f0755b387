"""The growing end of a trace, read once for all who follow it, and whether its writer is there.

Events are numbered without a gap and each is one line, so a place is found by halving the file.
"""

from __future__ import annotations

import contextlib
import itertools
import platform
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.events import SessionFinished
from jupyter_gpupredict.core.run import Advising
from jupyter_gpupredict.core.summary import answered, run_of, updated
from jupyter_gpupredict.core.trace import event_from_json
from jupyter_gpupredict.run.store import sequence_number, with_verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from jupyter_gpupredict.core.card import Answer
    from jupyter_gpupredict.core.run import Ends
    from jupyter_gpupredict.core.summary import Summary

KEEP_BYTES = 256 << 10
"""Newest lines kept in memory; who is further behind reads the file."""
READ_BYTES = 1 << 20
"""Read at once; the rest comes with the next look."""
SILENT_S = 120.0
"""On another machine only silence shows it; a live run writes at least every ten seconds, unless a
call holds the interpreter for longer."""
CLOCK_SLACK_S = 10.0
"""How exactly a process's start is known: the time of boot moves with the clock."""
ALIVE_EVERY_S = 1.0
"""How often it is looked whether a silent run's process is still there."""
_STEP = 8192
_END = b'{"event":"SessionFinished"'
_ADVISING = tuple(f'{{"event":"{kind.__name__}"' for kind in get_args(Advising))


def advises(line: str) -> bool:
    """Return whether a line of a trace holds a recommendation."""
    return line.startswith(_ADVISING)


class Tail:
    """Follows one trace. A torn last line waits; a file cut short or replaced is begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode = 0
        self._lines: deque[tuple[int, str]] = deque()
        self._bytes = 0
        self.last_seq = -1
        """The newest whole event; -1: none yet."""
        self.gone = False
        """The file is not there (any more)."""
        self.written_s = 0.0
        """When it was last written, seconds since 1970."""
        self.size_bytes = 0
        self.newest: Advising | None = None
        """The last event that holds a recommendation."""
        self.ended = False
        """`SessionFinished` was read, or what is left of one."""
        self.problem = ""
        """The first line that is not an event, and why; empty: all that were read are."""

    def look(self) -> bool:
        """Read what was appended since the last look; return whether there was anything."""
        try:
            status = files.status_of(self._path)
            if status.inode != self._inode or status.size < self._offset:
                self._begin(status.inode, status.size)
            self.gone = False
            self.written_s, self.size_bytes = status.changed_ns / 1e9, status.size
            if status.size == self._offset:
                return False
            with files.open_stored(self._path) as file:
                file.seek(self._offset)
                block = file.read(READ_BYTES)
        except FileNotFoundError:
            self.gone = True
            return False
        except TraceError as error:
            self.gone, self.problem = True, str(error)
            return False
        whole = block.rfind(b"\n") + 1
        self._offset += whole or (len(block) if len(block) == READ_BYTES else 0)  # no line of ours
        for line in block[:whole].splitlines():
            self._take(line)
        return whole > 0

    def after(self, seq: int, limit: int) -> tuple[list[tuple[int, str]], bool]:
        """Return (sequence number, line) of the events after `seq`, and whether there are more.

        Args:
            seq: The last event that is known; -1: none.
            limit: How many events, at most; they take about a mebibyte, at most.
        """
        if seq >= self.last_seq:
            return [], False
        held = self._lines
        if held and held[0][0] <= seq + 1:
            fresh = itertools.takewhile(lambda one: one[0] > seq, reversed(held))
            found = list(fresh)[::-1]  # a thousand lines are held, and one or two are new
        else:
            found = self._from_file(seq, limit + 1)
        kept: list[tuple[int, str]] = []
        size = 0
        for one in found[:limit]:
            size += len(one[1])
            if kept and size > READ_BYTES:
                break
            kept.append(one)
        return kept, bool(kept) and kept[-1][0] < self.last_seq

    def _begin(self, inode: int, size: int) -> None:
        """Start with the last stretch of the file; what lies before is found when it is asked."""
        self._inode = inode
        self._lines.clear()
        self._bytes = 0
        self.last_seq, self.newest, self.ended, self.problem = -1, None, False, ""
        self._offset = 0
        if size > KEEP_BYTES:
            with files.open_stored(self._path) as file:
                file.seek(size - KEEP_BYTES)
                self._offset = size - KEEP_BYTES + len(file.readline(files.LINE_BYTES))

    def _take(self, line: bytes) -> None:
        self.ended = self.ended or line.startswith(_END)
        try:
            event = event_from_json(line, f"{self._path.stem} after event {self.last_seq}")
        except TraceError as error:
            self.problem = self.problem or str(error)
            return
        if event.seq <= self.last_seq:
            return
        text = line.decode()
        self.last_seq = event.seq
        if isinstance(event, Advising):
            self.newest = event
        self.ended = self.ended or isinstance(event, SessionFinished)
        self._lines.append((event.seq, text))
        self._bytes += len(text)
        while self._bytes > KEEP_BYTES and len(self._lines) > 1:
            self._bytes -= len(self._lines.popleft()[1])

    def _from_file(self, seq: int, limit: int) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        size = 0
        try:
            with files.open_stored(self._path) as file:
                file.seek(place_after(file, seq, self._offset))
                while len(found) < limit and size <= READ_BYTES and file.tell() < self._offset:
                    line = file.readline(files.LINE_BYTES)
                    if not line.endswith(b"\n"):
                        break
                    size += len(line)
                    with contextlib.suppress(TraceError):
                        event = event_from_json(line)
                        if event.seq > seq:
                            seq = event.seq
                            found.append((seq, line.decode().rstrip("\n")))
        except (OSError, TraceError):
            self.gone = True
        return found


def place_after(file: BinaryIO, seq: int, size: int) -> int:
    """Return where the first line with a greater sequence number begins, in O(log size) reads."""
    low, high = 0, size
    while high - low > _STEP:
        middle = (low + high) // 2
        begin = _next_line(file, middle, high)
        number = None
        if begin is not None:
            file.seek(begin)
            number = sequence_number(file.read(96))
        if begin is None or number is None or number > seq:
            high = middle  # the wanted line begins at or before the one looked at
        else:
            low = begin
    file.seek(low)
    while low < size:
        line = file.readline(files.LINE_BYTES)
        number = sequence_number(line)
        if not line.endswith(b"\n") or (number is not None and number > seq):
            break
        low += len(line)
    return low


def _next_line(file: BinaryIO, offset: int, limit: int) -> int | None:
    """Return where the first line begins behind an offset; None: not before the limit."""
    file.seek(offset)
    while offset < limit:
        block = file.read(_STEP)
        at = block.find(b"\n")
        if at >= 0:
            begin = offset + at + 1
            return begin if begin < limit else None
        if not block:
            return None
        offset += len(block)
    return None


def is_alive(host: str, pid: int, written_s: float) -> bool:
    """Return whether the process that writes a trace is still there.

    Args:
        host: The machine that it runs on.
        pid: Its process there.
        written_s: When its trace was last written, seconds since 1970.
    """
    if host != platform.node():
        return time.time() - written_s < SILENT_S
    import psutil

    try:
        process = psutil.Process(pid)
        ended = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        # a number used again belongs to a process that began after the last line was written
        return not ended and process.create_time() <= written_s + CLOCK_SLACK_S
    except (psutil.Error, ValueError):
        return False


class Followed:
    """One run that someone follows."""

    def __init__(self, summary: Summary, ends: Ends, tail: Tail) -> None:
        self.tail = tail
        self._ends = ends
        self._base = self._summary = replace(summary, outcome="")
        self._newest: Advising | None = None
        self._alive = False
        self._asked_s = float("-inf")

    def look(self, is_alive: Callable[[str, int, float], bool]) -> None:
        """See what was appended, and whether the process is there."""
        tail, now_s = self.tail, time.monotonic()
        moved = tail.look()
        if tail.ended:
            return
        if moved and self._asked_s > float("-inf"):
            self._alive, self._asked_s = True, now_s
        elif now_s - self._asked_s > ALIVE_EVERY_S:
            run, self._asked_s = self._summary, now_s
            self._alive = not tail.gone and is_alive(run.host, run.pid, tail.written_s)

    @property
    def over(self) -> bool:
        """Whether no more events are expected."""
        return self.tail.ended or not self._alive

    def summary(self) -> Summary:
        """Return the run as of the last look."""
        tail = self.tail
        if tail.newest is not self._newest:
            self._newest, self._summary = tail.newest, self._base
            if tail.newest is not None:
                self._ends = replace(self._ends, newest=tail.newest)
                self._summary = updated(self._base, tail.newest)
        outcome = self._summary.outcome or ("lost" if self.over else "running")
        found = replace(
            self._summary, outcome=outcome, size_bytes=tail.size_bytes, problem=tail.problem
        )
        return answered(found, self._ends)

    def answer(self) -> Answer:
        """Return the answer as of the last look."""
        return answer(with_verified(run_of(self._ends, self.summary().outcome)))
