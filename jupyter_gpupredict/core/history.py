"""A bounded picture of an unbounded series: at most so many rows, with the extremes kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

Row = tuple[float, float, float]
"""(time_s at the end of the span, smallest, largest value in it); NaN where nothing was read."""


@dataclass(frozen=True, slots=True)
class _Span:
    end_s: float
    low: float
    high: float


class History:
    """Rows of one series, at most `max_rows`; surroundings are merged in pairs when it is full.

    >>> history = History(max_rows=4)
    >>> for second in range(6):
    ...     history.add(float(second), second / 10)
    >>> history.rows()
    [(1.0, 0.0, 0.1), (3.0, 0.2, 0.3), (5.0, 0.4, 0.5)]
    """

    __slots__ = ("_last_s", "_max_rows", "_merge", "_pending", "_rows", "generation")

    def __init__(self, max_rows: int = 600) -> None:
        self._max_rows = max_rows
        self._rows: list[_Span] = []
        self._merge = 1
        self._pending = 0
        self._last_s = -math.inf
        self.generation = 0
        """Raised each time rows were merged: what was sent before must be sent again whole."""

    def add(self, time_s: float, value: float) -> None:
        """Add one reading; NaN marks a hole."""
        if self._pending and self._rows:
            last = self._rows[-1]
            self._rows[-1] = _Span(time_s, _least(last.low, value), _most(last.high, value))
        else:
            self._rows.append(_Span(time_s, value, value))
        self._pending = (self._pending + 1) % self._merge
        if len(self._rows) > self._max_rows:
            self._halve()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    @property
    def open(self) -> bool:
        """Whether the newest row will still change."""
        return self._pending != 0

    def rows(self, since_s: float = -math.inf) -> list[Row]:
        """Return the rows that end after `since_s`, oldest first."""
        return [(span.end_s, span.low, span.high) for span in self._rows if span.end_s > since_s]

    def _halve(self) -> None:
        odd = self._rows[-1] if len(self._rows) % 2 else None
        pairs = zip(self._rows[0::2], self._rows[1::2], strict=False)
        self._rows = [_Span(b.end_s, _least(a.low, b.low), _most(a.high, b.high)) for a, b in pairs]
        if odd is not None:
            self._rows.append(odd)
            self._pending = self._merge if self._pending == 0 else self._pending
        self._merge *= 2
        self._pending %= self._merge
        self.generation += 1


def _least(a: float, b: float) -> float:
    if math.isnan(a):
        return b
    return a if math.isnan(b) else min(a, b)


def _most(a: float, b: float) -> float:
    if math.isnan(a):
        return b
    return a if math.isnan(b) else max(a, b)
