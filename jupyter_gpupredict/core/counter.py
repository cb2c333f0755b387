"""An exact counter of seconds per whole percent: O(1) to add to, nothing approximated."""

from __future__ import annotations

import math

from jupyter_gpupredict.core.errors import NotEnoughSamples

BINS = 101
_SLACK = 1e-9
"""Keeps float dust from pushing a value into the next bin."""


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

    __slots__ = ("_bins", "_sum", "seconds")

    def __init__(self) -> None:
        self._bins = [0.0] * BINS
        self._sum = 0.0
        self.seconds = 0.0
        """Total weight."""

    def add(self, value: float, weight_s: float) -> None:
        """Add a reading of 0..1 that speaks for `weight_s` seconds."""
        self._bins[math.ceil(100.0 * value - _SLACK)] += weight_s
        self._sum += value * weight_s
        self.seconds += weight_s

    def merge(self, other: Counter, factor: float = 1.0) -> None:
        """Add everything that another counter holds, times a factor."""
        pairs = zip(self._bins, other._bins, strict=True)
        self._bins = [mine + factor * theirs for mine, theirs in pairs]
        self._sum += factor * other._sum
        self.seconds += factor * other.seconds

    def mean_ratio(self) -> float:
        """Return the time-weighted mean.

        Raises:
            NotEnoughSamples: Nothing was added.
        """
        self._require()
        return self._sum / self.seconds

    def covering_ratio(self, coverage: float) -> float:
        """Return the smallest whole percent (as a ratio) that covers this share of the seconds.

        Args:
            coverage: Share of the seconds to cover, 0..1; the paper's word, 0.95 by default
                everywhere.

        Raises:
            NotEnoughSamples: Nothing was added.
        """
        self._require()
        wanted = coverage * self.seconds - _SLACK
        seen = 0.0
        for percent, seconds in enumerate(self._bins):
            seen += seconds
            if seen >= wanted:
                return percent / 100.0
        return 1.0

    def coverage_ratio(self, provision_ratio: float) -> float:
        """Return the share of the seconds at or below a provision.

        Raises:
            NotEnoughSamples: Nothing was added.
        """
        self._require()
        top = math.ceil(100.0 * provision_ratio - _SLACK)
        return sum(self._bins[: top + 1]) / self.seconds

    def _require(self) -> None:
        if self.seconds <= 0.0:
            raise NotEnoughSamples("no reading yet", "let the cell run longer")
