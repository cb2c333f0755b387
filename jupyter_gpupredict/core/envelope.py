"""A long series in a bounded number of rows, none of its extremes lost: for many readings at once.

`core.history` does the same one reading at a time, without numpy, inside the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from jupyter_gpupredict.core.series import Series

CAPACITY = 8192
"""Rows kept; a full set is merged in pairs, so at least half as many are there."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One series as it is drawn; the three have the same length, at most the width."""

    series: Series
    samples: int
    """Readings it was made from."""
    times_s: tuple[float, ...]
    """End of each row's span."""
    low: tuple[float, ...]
    """Lowest reading of the span; NaN where nothing could be read."""
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """All series of a run, as far as its trace was read."""

    pictures: tuple[Picture, ...]
    marks: tuple[str, ...]
    """Events beside the readings, in their order, one JSON object each."""
    seq: int
    """The last event that is in it; -1: none."""
    duration_s: float
    """Time of that event."""
    complete: bool
    """False: there is more in the trace, and time ran out."""


class Envelope:
    """Rows of (end, lowest, highest), made from any number of readings.

    >>> envelope = Envelope(capacity=4)
    >>> envelope.add(np.arange(8.0), np.arange(8.0) / 10)
    >>> envelope.rows(2)[2]
    array([0.3, 0.7])
    """

    __slots__ = ("_capacity", "_last_s", "_merge", "_rest", "_rows", "samples")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._merge = 1
        self._rows = np.empty((3, 0))
        self._rest = np.empty(0)
        """Readings too few for a row yet."""
        self._last_s = np.nan
        self.samples = 0

    def add(
        self, times_s: Sequence[float | bytes], values: Sequence[float] | NDArray[np.float64]
    ) -> None:
        """Take readings, oldest first, both of the same length; NaN marks a hole.

        Args:
            times_s: Their stamps. Only those at the ends of rows are converted to numbers, so text
                that came from a file may stay text.
            values: The readings.

        Raises:
            ValueError: A stamp that is needed is no number; nothing was taken then.
        """
        if not len(values):
            return
        first = self._merge - 1 - len(self._rest)
        ends = np.array([float(one) for one in times_s[first :: self._merge]], np.float64)
        last_s = float(times_s[-1])
        if not np.isfinite([*ends, last_s]).all():
            raise ValueError("a stamp is not finite")
        self._last_s = last_s
        self.samples += len(values)
        raw = np.concatenate([self._rest, np.asarray(values, np.float64)])
        blocks = raw[: len(ends) * self._merge].reshape(-1, self._merge)
        self._rest = raw[len(ends) * self._merge :]
        fresh = [ends, np.fmin.reduce(blocks, axis=1), np.fmax.reduce(blocks, axis=1)]
        self._rows = np.concatenate([self._rows, np.stack(fresh)], axis=1)
        while self._rows.shape[1] > self._capacity:
            self._rows = _merged(self._rows, np.arange(0, self._rows.shape[1], 2))
            self._merge *= 2

    def rows(self, width: int) -> NDArray[np.float64]:
        """Return end, lowest and highest of at most `width` spans, shape (3, n)."""
        rows = self._rows
        if len(self._rest):
            rest = [self._last_s, np.fmin.reduce(self._rest), np.fmax.reduce(self._rest)]
            rows = np.concatenate([rows, np.array(rest)[:, np.newaxis]], axis=1)
        count = rows.shape[1]
        return rows if count <= width else _merged(rows, np.arange(width) * count // width)


def _merged(rows: NDArray[np.float64], starts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the rows with those from each start to the next made one."""
    ends = np.append(starts[1:], rows.shape[1]) - 1
    return np.stack(
        [
            rows[0, ends],
            np.fmin.reduceat(rows[1], starts),
            np.fmax.reduceat(rows[2], starts),
        ]
    )
