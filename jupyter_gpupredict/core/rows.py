"""The rows of a recording: a short one in memory, a long one in a file."""

from __future__ import annotations

import heapq
import math
import mmap
import struct
import tempfile
import weakref
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, overload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Row = tuple[float, tuple[float | None, ...]]
"""(time_s, one value for each series); None where nothing was recorded."""
HELD_BYTES = 8 << 20
"""So much is kept in memory: some 200,000 rows of four series."""
PIECE_ROWS = 50_000
"""So many are sorted at once."""


class Rows(Sequence[Row]):
    """Rows in the order in which they were appended, 8 bytes a cell.

    A file without a name holds what is beyond `HELD_BYTES`; it is gone with the last use of it.

    >>> rows = Rows(1, [(0.5, (1.0,)), (1.0, (None,))])
    >>> rows[-1], len(rows)
    ((1.0, (None,)), 2)
    """

    def __init__(self, width: int, rows: Iterable[Row] = ()) -> None:
        self._row = struct.Struct(f"={1 + width}d")
        self._count = 0
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self._mapped: mmap.mmap | None = None
        for time_s, values in rows:
            self.append(time_s, values)

    def append(self, time_s: float, values: Iterable[float | None]) -> None:
        """Add a row; None is kept as such, and no value is NaN."""
        self._held += self._row.pack(time_s, *(math.nan if v is None else v for v in values))
        self._count += 1
        if len(self._held) > HELD_BYTES:
            self._spill()

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, at: int | slice) -> Row | tuple[Row, ...]:
        """Return a row, or some."""
        if isinstance(at, slice):
            return tuple(self[k] for k in range(*at.indices(self._count)))
        number = at + self._count if at < 0 else at
        if not 0 <= number < self._count:
            raise IndexError(at)
        return _as_row(self._row.unpack_from(self._bytes(), number * self._row.size))

    def __iter__(self) -> Iterator[Row]:
        """Yield them all."""
        return map(_as_row, self._row.iter_unpack(self._bytes()))

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same rows."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __reduce__(self) -> tuple[type[Rows], tuple[int, tuple[Row, ...]]]:
        """Go to another process whole."""
        return Rows, (self._row.size // 8 - 1, tuple(self))

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="gpupredict-")  # noqa: SIM115 - see below
            weakref.finalize(self, self._file.close)
        self._file.seek(0, 2)
        self._file.write(self._held)
        self._held.clear()
        self._mapped = None

    def _bytes(self) -> bytearray | mmap.mmap:
        if self._file is None:
            return self._held
        if self._held:
            self._spill()
        if self._mapped is None:
            self._file.flush()
            self._mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._mapped


class Unsorted:
    """Rows that come in any order, in the order of their times; equal ones as they came.

    What is appended is sorted in pieces, which are merged when it is read.
    """

    def __init__(self, width: int) -> None:
        self._rows = Rows(width)
        self._ends = [0]
        self._piece: list[Row] = []

    def append(self, time_s: float, values: tuple[float | None, ...]) -> None:
        """Add a row, as `Rows` does."""
        self._piece.append((time_s, values))
        if len(self._piece) >= PIECE_ROWS:
            self._sort()

    def __iter__(self) -> Iterator[Row]:
        """Yield them all."""
        self._sort()
        return heapq.merge(*map(self._between, self._ends, self._ends[1:]), key=_time_s)

    def _sort(self) -> None:
        for row in sorted(self._piece, key=_time_s):
            self._rows.append(*row)
        self._piece.clear()
        self._ends.append(len(self._rows))

    def _between(self, first: int, end: int) -> Iterator[Row]:
        return (self._rows[number] for number in range(first, end))


def _time_s(row: Row) -> float:
    return row[0]


def _as_row(cells: tuple[float, ...]) -> Row:
    time_s, *values = cells
    return time_s, tuple(None if value != value else value for value in values)  # noqa: PLR0124
