"""The active span in bounded memory: at most 256 blocks, of which neighbours merge when it is full.

Each block has its usage in 101 bins, so any stretch of the run can still be judged hours later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from jupyter_gpupredict.predict.windows import ACTIVE_RATIO, BINS, MIN_FILL, SLACK, Counter

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from jupyter_gpupredict.core.series import Series, SourceInfo
    from jupyter_gpupredict.predict.windows import ClosedWindow

    Floats = NDArray[np.float64]

MAX_BLOCKS = 256
MEMORY_TOLERANCE, POWER_TOLERANCE = 0.05, 0.10
"""How far memory in use and power may have moved over windows that agree."""
CHANCE, LEAST_BLOCKS = 0.05, 8
"""How often independent blocks may seem to repeat themselves; fewer blocks cannot show it."""
ROOM = 0.9
"""Merging must leave no more than this share of the blocks, or idle ones are merged, too."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A stretch of the run in parts that have the same active time, oldest first."""

    from_s: float
    to_s: float
    covering: Floats
    """Covering usage of each part, shape (parts,)."""
    mean: Floats
    """Mean of each part, shape (parts,)."""
    covering_error: float
    """Standard error of a part's covering usage, from how its blocks differ among themselves."""
    mean_error: float
    """The same of its mean."""
    pooled_mean_ratio: float
    void: bool
    """Whether too little of a part has readings."""

    @property
    def target_ratio(self) -> float:
        """The highest covering usage of a part, at least the least that is activity."""
        return max(ACTIVE_RATIO, float(self.covering.max()))

    def agree(self, tolerance_ratio: float, same_ratio: float, noise: float) -> bool:
        """Return whether covering usages and means lie near to each other.

        Near is within `same_ratio`, or within so many of their standard errors, but in no case
        further apart than the tolerance. Parts that are idle or void agree with nothing.
        """
        if self.void or float(self.covering.min()) < ACTIVE_RATIO - SLACK:
            return False
        for figures, error in (
            (self.covering, self.covering_error),
            (self.mean, self.mean_error),
        ):
            allowed = min(tolerance_ratio, max(same_ratio, noise * error))
            if float(figures.max() - figures.min()) > allowed + SLACK:
                return False
        return True


class History:
    """Blocks of a run in order of time, those in which the device was idle among them.

    Idle ones that follow each other are one: an idle night takes no room from what was used.
    """

    def __init__(self, block_s: float, coverage: float) -> None:
        import numpy as np

        self.block_s = block_s
        """How long the next block shall be."""
        self._coverage = coverage
        self._bins = np.zeros((MAX_BLOCKS, BINS))
        self._sums, self._seen_s, self._from_s, self._to_s = np.zeros((4, MAX_BLOCKS))
        self._covering, self._mean = np.zeros((2, MAX_BLOCKS))
        self._idle = np.zeros(MAX_BLOCKS, dtype=bool)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, window: ClosedWindow) -> None:
        """Append a closed block; merges neighbours where there is no room."""
        if self._count == MAX_BLOCKS:
            self._merge()
        row = self._count
        if window.idle and row and self._idle[row - 1]:
            row -= 1
        else:
            self._bins[row] = 0.0
            self._sums[row] = self._seen_s[row] = 0.0
            self._from_s[row] = window.from_s
            self._count = row + 1
        counter = window.counter
        for percent, seconds in counter.bins():
            self._bins[row, percent] += seconds
        if counter.seconds > 0.0:
            self._sums[row] += counter.mean_ratio() * counter.seconds
        self._seen_s[row] += window.fill_ratio * (window.to_s - window.from_s)
        self._to_s[row] = window.to_s
        self._judge(slice(row, row + 1))

    def active_s(self) -> float:
        """Return for how long the device was used, in whole blocks."""
        lengths_s = (self._to_s - self._from_s)[: self._count]
        return float(lengths_s[~self._idle[: self._count]].sum())

    def whole(self) -> Counter:
        """Return all blocks together."""
        bins, sums = self._bins[: self._count].sum(axis=0), self._sums[: self._count].sum()
        return Counter(enumerate(bins.tolist()), float(sums / max(SLACK, bins.sum())))

    def last(self, share: float, least_s: float, parts: int) -> Parts | None:
        """Return the last share of the active time in equal parts; None while that is too short.

        It ends with the newest block, which must be active. What is idle belongs to the part that
        it lies in.

        Args:
            share: Of the active time, 0..1.
            least_s: Active seconds that it must have at least.
            parts: How many.
        """
        import numpy as np

        count = self._count
        if not count or self._idle[count - 1]:
            return None
        active = np.flatnonzero(~self._idle[:count])
        from_end_s = (self._to_s - self._from_s)[active[::-1]].cumsum()
        if from_end_s[-1] < least_s - SLACK:
            return None
        wanted_s = max(least_s, share * from_end_s[-1])
        chosen = active[active.size - 1 - int(np.searchsorted(from_end_s, wanted_s - SLACK)) :]
        if chosen.size < parts:
            return None
        cuts = np.round(np.linspace(0, chosen.size, parts + 1)).astype(np.int64)
        return self._parts(chosen, cuts)

    def periods(self, share: float, least_s: float, parts: int) -> Parts | None:
        """Return the last whole periods in equal parts; None where no period shows.

        It is looked for in the means of the blocks, and ends with the newest one.

        Args:
            share: Of the blocks that are looked at, 0..1.
            least_s: Seconds that the parts must have together at least.
            parts: How many; each has one period or more.
        """
        import numpy as np

        count = self._count
        first = count - round(share * count)
        lengths_s = (self._to_s - self._from_s)[first:count]
        if count == first or lengths_s.max() > lengths_s.min() + SLACK:
            return None  # idle blocks that are one, or a remainder of merging
        period = period_blocks(self._mean[first:count])
        each = 0 if period is None else (count - first) // (period * parts) * period
        if not each or parts * each * lengths_s[0] < least_s - SLACK:
            return None
        chosen = np.arange(count - parts * each, count)
        return self._parts(chosen, each * np.arange(parts + 1))

    def _parts(self, chosen: NDArray[np.int64], cuts: NDArray[np.int64]) -> Parts:
        """Return the parts of these blocks, `cuts` being the place of each part's first one."""
        import numpy as np

        count = self._count
        starts, first, parts = chosen[cuts[:-1]], int(chosen[0]), cuts.size - 1

        def summed(held: Floats) -> Floats:
            found: Floats = np.add.reduceat(held[first:count], starts - first, axis=0)
            return found

        bins, sums = summed(self._bins), summed(self._sums)
        to_s = float(self._to_s[count - 1])
        lengths_s = np.diff(self._from_s[starts], append=to_s)
        label = np.repeat(np.arange(parts), np.diff(cuts))
        return Parts(
            float(self._from_s[first]),
            to_s,
            covering_ratios(bins, self._coverage),
            sums / np.maximum(SLACK, bins.sum(axis=1)),
            _standard_error(self._covering[chosen], label),
            _standard_error(self._mean[chosen], label),
            float(sums.sum() / max(SLACK, bins.sum())),
            bool((summed(self._seen_s) < MIN_FILL * lengths_s - SLACK).any()),
        )

    def _merge(self) -> None:
        """Merge neighbours by twos; idle and active ones stay apart unless that makes no room."""
        import numpy as np

        count, starts, row = self._count, [], 0
        while row < count:
            starts.append(row)
            alike = row + 1 < count and self._idle[row] == self._idle[row + 1]
            row += 2 if alike else 1
        if len(starts) > ROOM * count:
            starts = list(range(0, count, 2))
        ends = [start - 1 for start in starts[1:]] + [count - 1]
        kept = len(starts)
        for held in (self._bins, self._sums, self._seen_s):
            held[:kept] = np.add.reduceat(held[:count], starts, axis=0)
        self._from_s[:kept], self._to_s[:kept] = self._from_s[starts], self._to_s[ends]
        self._count = kept
        self._judge(slice(0, kept))
        self.block_s *= 2.0

    def _judge(self, rows: slice) -> None:
        """Work out the figures of these blocks."""
        import numpy as np

        seconds = self._bins[rows].sum(axis=1)
        self._covering[rows] = covering_ratios(self._bins[rows], self._coverage)
        self._mean[rows] = self._sums[rows] / np.maximum(seconds, SLACK)
        # as `ClosedWindow.idle`
        self._idle[rows] = (seconds <= 0.0) | (self._covering[rows] < ACTIVE_RATIO - SLACK)


class Witness:
    """A quantity beside the share: a late phase often shows in memory or power first.

    It is kept by blocks of time, at most 256, of which neighbours merge when it is full.
    """

    BLOCK_S = 30.0
    PARTS = 4

    def __init__(self, tolerance: float, *, peak: bool) -> None:
        """Begin without a reading.

        Args:
            tolerance: How far the parts of a stretch may lie apart, as a share of the lowest.
            peak: Whether a part counts by its highest reading, or else by their mean.
        """
        self._tolerance = tolerance
        self._peak = peak
        self._block_s = self.BLOCK_S
        self._blocks: list[tuple[float, float, float, int]] = []
        """(begin in seconds, highest, sum, readings) of each block."""

    def add(self, time_s: float, value: float) -> None:
        """Take one reading; NaN is none."""
        if math.isnan(value):
            return
        if self._blocks and time_s < self._blocks[-1][0] + self._block_s:
            begin_s, highest, total, count = self._blocks[-1]
            self._blocks[-1] = (begin_s, max(highest, value), total + value, count + 1)
            return
        if len(self._blocks) == MAX_BLOCKS:
            self._block_s *= 2.0
            pairs = zip(self._blocks[::2], self._blocks[1::2], strict=True)
            self._blocks = [
                (one[0], max(one[1], two[1]), one[2] + two[2], one[3] + two[3])
                for one, two in pairs
            ]
        self._blocks.append((time_s, value, value, 1))

    def steady(self, from_s: float, to_s: float) -> bool:
        """Return whether the parts of a stretch agree; True where one of them has no reading."""
        figures = []
        for part in range(self.PARTS):
            begin_s = from_s + part * (to_s - from_s) / self.PARTS
            end_s = from_s + (part + 1) * (to_s - from_s) / self.PARTS
            inside = [one for one in self._blocks if begin_s <= one[0] < end_s]
            if not inside:
                return True
            if self._peak:
                figures.append(max(highest for _, highest, _, _ in inside))
            else:
                figures.append(sum(one[2] for one in inside) / sum(one[3] for one in inside))
        return max(figures) <= (1.0 + self._tolerance) * min(figures)


def witnesses(info: SourceInfo, memory: Iterable[Series]) -> dict[Series, Witness]:
    """Return who is asked beside the share: memory in use, and the same device's power."""
    found = {series: Witness(MEMORY_TOLERANCE, peak=True) for series in memory}
    power = (one for one in info.series if one.metric == "power_watts")
    device = info.share.device
    return found | {
        one: Witness(POWER_TOLERANCE, peak=False) for one in power if one.device == device
    }


def period_blocks(figures: Floats) -> int | None:
    """Return after how many blocks a series repeats itself, at least 2; None where it does not.

    It is the lag of the highest autocorrelation behind the first that is not positive, and it must
    fit in twice. The test: if blocks were independent, an autocorrelation at lag k times the root
    of n - k would be standard normal; it must be higher than `CHANCE`, shared among all lags,
    allows.

    Args:
        figures: Figures of n blocks of the same length, shape (n,).
    """
    import numpy as np

    n = figures.size
    centred = figures - figures.mean() if n else figures
    squares = float((centred**2).sum())
    if n < LEAST_BLOCKS or squares < SLACK:
        return None
    spectrum = np.fft.rfft(centred, 2 * n)
    products = np.fft.irfft(spectrum * spectrum.conj(), 2 * n)[1 : n // 2 + 1]
    lags = np.arange(1, products.size + 1)
    falls = np.flatnonzero(products <= 0.0)
    if not falls.size:
        return None
    correlation = products / squares * n / (n - lags)
    behind = correlation[falls[0] :]
    best = int(falls[0]) + int((behind >= behind.max() - SLACK).argmax())  # the first of equals
    limit = NormalDist().inv_cdf(1.0 - CHANCE / lags.size)
    return best + 1 if correlation[best] * math.sqrt(n - best - 1) >= limit else None


def covering_ratios(bins: Floats, coverage: float) -> Floats:
    """Return the smallest whole percent, as a ratio, that covers this share of each row's seconds.

    `bins` are seconds at each whole percent, shape (rows, 101).
    """
    totals = bins.cumsum(axis=1)
    found: Floats = (totals >= coverage * totals[:, -1:] - SLACK).argmax(axis=1) / 100.0
    return found


def _standard_error(figures: Floats, label: NDArray[np.int64]) -> float:
    """Return that of the mean of a part's blocks, pooled over the parts that `label` counts."""
    import numpy as np

    counts = np.bincount(label)
    means = np.bincount(label, weights=figures) / counts
    squares = float(((figures - means[label]) ** 2).sum())
    freedom = max(1, figures.size - counts.size)
    return math.sqrt(squares / freedom / (figures.size / counts.size))
