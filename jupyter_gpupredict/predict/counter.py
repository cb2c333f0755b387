"""An exact counter of seconds per whole percent: O(1) to add to, nothing approximated."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import ceil
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import NotEnoughSamples

if TYPE_CHECKING:
    from collections.abc import Iterable

BINS = 101
_SLACK = 1e-9
"""Keeps float dust from pushing a value into the next bin."""
_DUST = 1e-13
"""More than two sums of 101 floats can differ by, relative to the total: `sum` compensates from
Python 3.12 on, running totals do not."""
_ROOM = 1e-6
"""Least room, relative to the total, that an answer needs in order to stand unchecked."""
_SPENT = 0.9
"""Share of the room used before the next check. The rest, at least 1e-7 of the total, is for
rounding: at most 4e-16 a reading, so a hundred million readings between two checks do no harm."""


class Counter:
    """Seconds spent at each whole percent of a share metric.

    A reading of 0..1 falls into bin `ceil(100 x)`: the smallest whole percent that covers it. The
    mean keeps the float values, so that binning does not bias it.

    >>> counter = Counter()
    >>> for value in (0.2, 0.4, 0.9, 0.9):
    ...     counter.add(value, weight_s=1.0)
    >>> counter.covering_ratio(0.75), counter.coverage_ratio(0.4)
    (0.9, 0.5)
    """

    __slots__ = ("_bins", "_last", "_sum", "seconds")

    def __init__(self) -> None:
        self._last = (0, 0.0, 0.0)
        """(covering percent, coverage asked for, total below which the percent must stand)."""
        self._bins = [0.0] * BINS
        self._sum = 0.0
        self.seconds = 0.0
        """Total weight."""

    @classmethod
    def of(cls, bins: Iterable[tuple[int, float]], mean_ratio: float) -> Counter:
        """Return a counter of (whole percent, seconds) whose exact mean is known beside them."""
        made = cls()
        for percent, seconds in bins:
            made._bins[percent] += seconds
            made.seconds += seconds
        made._sum = mean_ratio * made.seconds
        return made

    def add(self, value: float, weight_s: float) -> None:
        """Add a reading of 0..1 that speaks for `weight_s` seconds, at least 0."""
        self._bins[ceil(100.0 * value - _SLACK)] += weight_s
        self._sum += value * weight_s
        self.seconds += weight_s

    def merge(self, other: Counter, factor: float = 1.0) -> None:
        """Add everything that another counter holds, times a factor of at least 0."""
        pairs = zip(self._bins, other._bins, strict=True)
        self._bins = [mine + factor * theirs for mine, theirs in pairs]
        self._last = (0, 0.0, 0.0)
        self._sum += factor * other._sum
        self.seconds += factor * other.seconds

    def bins(self) -> list[tuple[int, float]]:
        """Return (whole percent, seconds) of every percent at which any time was spent."""
        return [(percent, seconds) for percent, seconds in enumerate(self._bins) if seconds > 0.0]

    def mean_ratio(self) -> float:
        """Return the time-weighted mean.

        Raises:
            NotEnoughSamples: Nothing was added.
        """
        self._require()
        return self._sum / self.seconds

    def covering_ratio(self, coverage: float) -> float:
        """Return the smallest whole percent (as a ratio) that covers this share of the seconds.

        Seconds yet to come can move the running totals and the wanted share by no more than
        themselves, so an answer stands until as many were added as it has room on either side. Then
        the bins are summed anew: nothing drifts, and the order of calls does not matter.

        Args:
            coverage: Share of the seconds to cover, 0..1; the paper's word, 0.95 by default
                everywhere.

        Raises:
            NotEnoughSamples: Nothing was added.
        """
        seconds, bins = self.seconds, self._bins
        answer, asked, stands_s = self._last
        if seconds < stands_s and coverage == asked:
            return answer / 100.0
        self._require()
        wanted = coverage * seconds - _SLACK
        below = sum(bins[:answer])
        room = min(wanted - below, below + bins[answer] - wanted)
        if room <= _DUST * seconds:
            totals = [0.0, *accumulate(bins)]
            # `seconds` was added up in another order: it may exceed the bins by dust
            answer = bisect_left(totals, min(wanted, totals[-1]), lo=1) - 1
            room = min(wanted - totals[answer], totals[answer + 1] - wanted)
        stands_s = seconds + _SPENT * room if room > _ROOM * seconds else 0.0
        self._last = (answer, coverage, stands_s)
        return answer / 100.0

    def coverage_ratio(self, provision_ratio: float) -> float:
        """Return the share of the seconds at or below a provision.

        Raises:
            NotEnoughSamples: Nothing was added.
        """
        self._require()
        top = ceil(100.0 * provision_ratio - _SLACK)
        return sum(self._bins[: top + 1]) / self.seconds

    def _require(self) -> None:
        if self.seconds <= 0.0:
            raise NotEnoughSamples("no reading yet", "let the cell run longer")
