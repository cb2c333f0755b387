"""Sliding windows: blocks of seconds that do not overlap, counted from the first active reading."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.predict.counter import Counter

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_FILL = 0.8
"""A window with readings for less than this share of its time is void."""
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """One judged window. The spans are `(from_s, to_s]` in seconds since the session began."""

    from_s: float
    to_s: float
    fill_ratio: float
    covering_ratio: float
    mean_ratio: float
    counter: Counter = field(compare=False)
    times_s: tuple[float, ...] = field(compare=False, repr=False)
    values: tuple[float, ...] = field(compare=False, repr=False)
    weights_s: tuple[float, ...] = field(compare=False, repr=False)

    @property
    def void(self) -> bool:
        """Whether too few readings fell into it for any judgement."""
        return self.fill_ratio < MIN_FILL

    @property
    def empty(self) -> bool:
        """Whether its readings weigh nothing: of a share while busy, in a window without work."""
        return self.counter.seconds <= 0.0

    def weighted(self) -> Iterator[tuple[float, float, float]]:
        """Yield (time_s, value, weight_s) of each reading, oldest first."""
        return zip(self.times_s, self.values, self.weights_s, strict=True)


MAX_HOLE = 1000
"""Windows that are closed one by one when time jumps. All but the first are void, as those left out
are, and a void window says no more after the first: a hole of years must not cost memory."""


class SlidingWindows:
    """Cuts readings into blocks `(start + jW, start + (j+1)W]` and closes each as time passes it.

    A reading lies in the block that contains its stamp. The last, partial block is never closed.
    Adding costs O(1); the readings of the open block alone are kept.
    """

    __slots__ = (
        "_counter",
        "_coverage",
        "_index",
        "_seen_s",
        "_start_s",
        "_times_s",
        "_values",
        "_weights_s",
        "window_s",
    )

    def __init__(self, window_s: float, start_s: float, coverage: float) -> None:
        self.window_s = window_s
        self._start_s = start_s
        self._coverage = coverage
        self._index = 0
        self._reset()

    def add(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> list[ClosedWindow]:
        """Take a reading; returns the windows that end before it, oldest first.

        Args:
            time_s: Its stamp.
            value: Ratio.
            weight_s: What it weighs, seconds.
            span_s: The time it stands for, where that is more than it weighs: of a share while busy
                an idle reading weighs nothing, and yet nothing is missing. None: the weight.
        """
        index = math.ceil((time_s - self._start_s) / self.window_s - _SLACK) - 1
        closed = [self._close() for _ in range(min(index - self._index, MAX_HOLE))]
        self._index = max(self._index, index)
        self._seen_s += weight_s if span_s is None else span_s
        if weight_s <= 0.0:
            return closed
        self._counter.add(value, weight_s)
        self._times_s.append(time_s)
        self._values.append(value)
        self._weights_s.append(weight_s)
        return closed

    def _close(self) -> ClosedWindow:
        counter = self._counter
        empty = counter.seconds <= 0.0
        from_s = self._start_s + self._index * self.window_s
        window = ClosedWindow(
            from_s=from_s,
            to_s=from_s + self.window_s,
            fill_ratio=min(1.0, self._seen_s / self.window_s),
            covering_ratio=math.nan if empty else counter.covering_ratio(self._coverage),
            mean_ratio=math.nan if empty else counter.mean_ratio(),
            counter=counter,
            times_s=tuple(self._times_s),
            values=tuple(self._values),
            weights_s=tuple(self._weights_s),
        )
        self._index += 1
        self._reset()
        return window

    def _reset(self) -> None:
        self._counter = Counter()
        self._seen_s = 0.0
        self._times_s: list[float] = []
        self._values: list[float] = []
        self._weights_s: list[float] = []
