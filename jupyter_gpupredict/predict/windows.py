"""Usage of the active span: where it begins, counted per whole percent, and cut into windows.

The active span begins with the first active reading. Should that turn out to be a false start (a
library probing the device, a model being loaded, then minutes of data preparation), it begins anew
with the next active one, once: a run that goes on like that is a run of short bursts, and its idle
time is usage like any other. A slow first epoch and compilation are not cut: a window that holds
them does not agree with the next, and the first epoch is never learned.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil, nan
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import NotEnoughSamples
from jupyter_gpupredict.core.recommendation import LEAST_ACTIVE_S, LEAST_N_EFF

if TYPE_CHECKING:
    from collections.abc import Iterable

Reading = tuple[float, float, float]
SLACK = 1e-9
"""Keeps rounding from deciding what lies exactly on a limit."""
BINS = 101
_DUST = 1e-13
"""More than two sums of 101 floats can differ by, relative to the total: `sum` compensates from
Python 3.12 on, running totals do not."""
_ROOM = 1e-6
"""Least room, relative to the total, that an answer needs in order to stand unchecked."""
_SPENT = 0.9
"""Share of the room used before the next check. The rest, at least 1e-7 of the total, is for
rounding: at most 4e-16 a reading, so a hundred million readings between two checks do no harm."""
ACTIVE_RATIO = 0.01
"""A reading at or above this is active."""
FALSE_START_IDLE_S = 60.0
"""A false start is followed by at least this much unbroken idle, ..."""
FALSE_START_SHARE = 0.05
"""... and had less than this share of its time active: covering usage would read as idle."""
MIN_READINGS = 10
"""A slow log gets longer windows, so that each holds at least this many readings; and so many
active ones, not one alone, put a beginning beyond doubt."""
MIN_FILL = 0.8
"""A window with readings for less than this share of its time is void."""
MAX_HOLE = 1000
"""Windows that are closed one by one when time jumps. All but the first are void, as those left out
are, and a void window says no more after the first: a hole of years must not cost memory."""


class Counter:
    """Seconds spent at each whole percent of a share metric: exact, and O(1) to add to.

    A reading of 0..1 falls into bin `ceil(100 x)`: the smallest whole percent that covers it. The
    mean keeps the float values, so that binning does not bias it.
    """

    __slots__ = ("_bins", "_last", "_sum", "seconds")

    def __init__(self, bins: Iterable[tuple[int, float]] = (), mean_ratio: float = 0.0) -> None:
        """Begin with (whole percent, seconds), whose exact mean is known beside them."""
        self._last = (0, 0.0, 0.0)
        """(covering percent, coverage asked for, total below which the percent must stand)."""
        self._bins = [0.0] * BINS
        self.seconds = 0.0
        """Total weight."""
        for percent, seconds in bins:
            self._bins[percent] += seconds
            self.seconds += seconds
        self._sum = mean_ratio * self.seconds

    @classmethod
    def total(cls, counters: Iterable[Counter]) -> Counter:
        """Return a counter of everything that others hold."""
        made = cls()
        for one in counters:
            made.merge(one)
        return made

    def add(self, value: float, weight_s: float) -> None:
        """Add a reading of 0..1 that speaks for `weight_s` seconds, at least 0."""
        self._bins[ceil(100.0 * value - SLACK)] += weight_s
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
        """Return the time-weighted mean; raises `NotEnoughSamples` when nothing was added."""
        self._require()
        return self._sum / self.seconds

    def covering_ratio(self, coverage: float) -> float:
        """Return the smallest whole percent (as a ratio) that covers this share of the seconds.

        Raises `NotEnoughSamples` when nothing was added. Seconds yet to come can move the running
        totals and the wanted share by no more than themselves, so an answer stands until as many
        were added as it has room on either side. Then the bins are summed anew: nothing drifts, and
        the order of calls does not matter.
        """
        seconds, bins = self.seconds, self._bins
        answer, asked, stands_s = self._last
        if seconds < stands_s and coverage == asked:
            return answer / 100.0
        self._require()
        wanted = coverage * seconds - SLACK
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
        """Return the share of the seconds at or below a provision; raises as `mean_ratio`."""
        self._require()
        top = ceil(100.0 * provision_ratio - SLACK)
        return sum(self._bins[: top + 1]) / self.seconds

    def figures(self, coverage: float) -> tuple[float, float]:
        """Return (covering usage, mean); raises as `mean_ratio`."""
        return self.covering_ratio(coverage), self.mean_ratio()

    def _require(self) -> None:
        if self.seconds <= 0.0:
            raise NotEnoughSamples("no reading yet", "let the cell run longer")


def least_pooled_s(period_s: float) -> float:
    """Return how long a pool must be to bear a prediction: `LEAST_N_EFF` squared units of a second.

    Without an exceedance, that many units are worth the root of their number (see `confidence`); a
    unit is one reading where readings come more slowly than once a second.
    """
    return max(LEAST_ACTIVE_S, LEAST_N_EFF**2 * period_s)


def is_active(value: float) -> bool:
    """Return whether a reading counts as activity."""
    return value >= ACTIVE_RATIO - SLACK


class FalseStart:
    """Watches the beginning of an active span until it is beyond doubt."""

    __slots__ = ("_active", "_active_s", "_idle_s", "_seen_s", "settled")

    def __init__(self) -> None:
        self._seen_s = self._active_s = self._idle_s = 0.0
        self._active = 0
        self.settled = False
        """Whether the span has been active for too long to be a false start."""

    def update(self, value: float, weight_s: float) -> bool:
        """Take one reading; returns True when all since the beginning was a false start."""
        self._seen_s += weight_s
        if is_active(value):
            self._active += 1
            self._active_s += weight_s
            self._idle_s = 0.0
            long = self._active_s >= FALSE_START_IDLE_S
            self.settled = long and self._active >= MIN_READINGS
            return False
        self._idle_s += weight_s
        idle = self._idle_s >= FALSE_START_IDLE_S - SLACK
        return idle and self._active_s < FALSE_START_SHARE * self._seen_s


def agree(figures: Iterable[tuple[float, float]], tolerance_ratio: float) -> bool:
    """Return whether all covering usages lie within a tolerance, and all means, of such pairs."""
    return all(max(one) - min(one) <= tolerance_ratio + SLACK for one in zip(*figures, strict=True))


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """One judged window. The spans are `(from_s, to_s]` in seconds since the session began."""

    from_s: float
    to_s: float
    fill_ratio: float
    covering_ratio: float
    mean_ratio: float
    counter: Counter = field(compare=False)
    readings: tuple[Reading, ...] = field(compare=False, repr=False)
    """(time_s, value, weight_s) of each reading that weighs anything, oldest first."""

    @property
    def void(self) -> bool:
        """Whether too few readings fell into it for any judgement."""
        return self.fill_ratio < MIN_FILL

    @property
    def idle(self) -> bool:
        """Whether so little of it was active that its covering usage reads as idle.

        Idle is not evidence: such a window neither agrees nor settles anything. Of a share while
        busy, readings in a window without work weigh nothing.
        """
        return self.counter.seconds <= 0.0 or not is_active(self.covering_ratio)


def pooled(windows: Iterable[ClosedWindow]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the (times in seconds, ratios) of all readings in windows, shape (n,) each."""
    readings = [reading for window in windows for reading in window.readings]
    return tuple(time_s for time_s, _, _ in readings), tuple(value for _, value, _ in readings)


class SlidingWindows:
    """Cuts readings into blocks `(start + jW, start + (j+1)W]` and closes each as time passes it.

    A reading lies in the block that contains its stamp. The last, partial block is never closed.
    Adding costs O(1); the readings of the open block alone are kept.
    """

    __slots__ = ("_coverage", "_index", "_readings", "_seen_s", "_start_s", "counter", "window_s")

    def __init__(self, window_s: float, start_s: float, coverage: float) -> None:
        self.window_s = window_s
        self._start_s = start_s
        self._coverage = coverage
        self._index = 0
        self._reset()

    def add(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> list[ClosedWindow]:
        """Take a reading (as of `Predictor.update`); returns the windows that end before it.

        The oldest comes first. Of a share while busy an idle reading weighs nothing, and yet
        nothing is missing: `span_s` counts as seen.
        """
        index = ceil((time_s - self._start_s) / self.window_s - SLACK) - 1
        closed = [self._close() for _ in range(min(index - self._index, MAX_HOLE))]
        self._index = max(self._index, index)
        self._seen_s += weight_s if span_s is None else span_s
        if weight_s > 0.0:
            self.counter.add(value, weight_s)
            self._readings.append((time_s, value, weight_s))
        return closed

    def lengthen(self, window_s: float) -> None:
        """Make the open block, and those after it, as long as this; at least as long as it was."""
        self._start_s += self._index * self.window_s
        self._index, self.window_s = 0, window_s

    def _close(self) -> ClosedWindow:
        counter = self.counter
        from_s = self._start_s + self._index * self.window_s
        to_s = from_s + self.window_s
        fill_ratio = min(1.0, self._seen_s / self.window_s)
        figures = (nan, nan) if counter.seconds <= 0.0 else counter.figures(self._coverage)
        window = ClosedWindow(from_s, to_s, fill_ratio, *figures, counter, tuple(self._readings))
        self._index += 1
        self._reset()
        return window

    def _reset(self) -> None:
        self.counter = Counter()
        """Of the open block."""
        self._seen_s = 0.0
        self._readings: list[Reading] = []
