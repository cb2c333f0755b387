"""The growing end of a trace, read once for all who follow it."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING

from jupyter_gpupredict.session.lines import MAX_LINE, checked, kind, numbered, place_after

if TYPE_CHECKING:
    from pathlib import Path

KEEP_BYTES = 256 << 10
"""Newest lines kept in memory; who is further behind reads the file."""
READ_BYTES = 1 << 20
"""Read at once; the rest comes with the next look."""


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
        self.newest: bytes | None = None
        """The last line that holds a recommendation."""
        self.ended = False
        """`SessionFinished` was read."""

    def look(self) -> bool:
        """Read what was appended since the last look; return whether there was anything."""
        try:
            status = self._path.stat()
        except OSError:
            self.gone = True
            return False
        if status.st_ino != self._inode or status.st_size < self._offset:
            self._begin(status.st_ino, status.st_size)
        self.gone = False
        self.written_s, self.size_bytes = status.st_mtime, status.st_size
        if status.st_size == self._offset:
            return False
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                block = file.read(READ_BYTES)
        except OSError:
            self.gone = True
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
        self.last_seq, self.newest, self.ended = -1, None, False
        self._offset = 0
        if size > KEEP_BYTES:
            with self._path.open("rb") as file:
                file.seek(size - KEEP_BYTES)
                self._offset = size - KEEP_BYTES + len(file.readline(MAX_LINE))

    def _take(self, line: bytes) -> None:
        seq, text = numbered(line), checked(line)
        if seq is None or text is None:
            return
        self.last_seq = max(self.last_seq, seq)
        what = kind(line)
        if what in ("RecommendationUpdated", "SessionFinished"):
            self.newest = line
        self.ended = self.ended or what == "SessionFinished"
        self._lines.append((seq, text))
        self._bytes += len(text)
        while self._bytes > KEEP_BYTES and len(self._lines) > 1:
            self._bytes -= len(self._lines.popleft()[1])

    def _from_file(self, seq: int, limit: int) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        size = 0
        try:
            with self._path.open("rb") as file:
                file.seek(place_after(file, seq, self._offset))
                while len(found) < limit and size <= READ_BYTES and file.tell() < self._offset:
                    line = file.readline(MAX_LINE)
                    number, text = numbered(line), checked(line)
                    if not line.endswith(b"\n"):
                        break
                    size += len(line)
                    if number is not None and number > seq and text is not None:
                        found.append((number, text.rstrip("\n")))
        except OSError:
            self.gone = True
        return found
