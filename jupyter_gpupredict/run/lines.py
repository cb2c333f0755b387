"""The lines of a trace as bytes: their sequence numbers, and places found without an index.

Events are numbered without a gap and each is one line, so a place is found by halving the file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.files import LINE_BYTES

if TYPE_CHECKING:
    from typing import BinaryIO

_STEP = 8192
_HEAD = re.compile(rb'\{"event":"\w+","seq":(\d{1,12}),')


def numbered(line: bytes) -> int | None:
    """Return a line's sequence number; None when it does not look like an event."""
    found = _HEAD.match(line)
    return None if found is None else int(found[1])


def place_after(file: BinaryIO, seq: int, size: int) -> int:
    """Return where the first line with a greater sequence number begins, in O(log size) reads."""
    low, high = 0, size
    while high - low > _STEP:
        middle = (low + high) // 2
        begin = _next_line(file, middle, high)
        number = None if begin is None else _number_at(file, begin)
        if number is None or begin is None or number > seq:
            high = middle  # the wanted line begins at or before the one looked at
        else:
            low = begin
    file.seek(low)
    while low < size:
        line = file.readline(LINE_BYTES)
        number = numbered(line)
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


def _number_at(file: BinaryIO, offset: int) -> int | None:
    file.seek(offset)
    return numbered(file.read(96))
