"""The paper's rule, in our reading: converged when consecutive sliding windows agree.

Source: Kim and Cha, ICWI 2018, pp. 101-108, of which the abstract is public. That windows must
agree on covering usage and on mean, and that they grow with the run, is ours (docs/decisions/0003):
what has stood still for two thirds of the time is likely to stand for as long again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.recommendation import Estimate
from jupyter_gpupredict.predict.history import History
from jupyter_gpupredict.predict.windows import (
    ACTIVE_RATIO,
    MIN_READINGS,
    SlidingWindows,
    least_pooled_s,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.recommendation import RuleOptions
    from jupyter_gpupredict.predict.windows import ClosedWindow

BLOCK_S = 30.0
"""A window consists of blocks of this length, by which its noise is known."""
HORIZON = 2 / 3
"""Windows must agree over this share of the active time; what was before may have been a start."""
SAME_RATIO = 0.01
"""Windows so near to each other agree, however steady they are."""
PERIODS, PERIODS_S, PERIODS_RATIO = 3, 300.0, 0.02
"""So many stretches of whole periods, so long together, lie no further apart, as with epochs."""
MAX_POOLED = 20_000
"""Readings kept for the confidence: over an hour of the driver's own, the newest ones."""


class WindowsRule:
    """K windows in a row of at least W seconds, as long as two thirds of the active time together.

    They agree when covering usage and mean differ by a point at most, or by no more than their
    own noise explains, and in no case by more than the tolerance. The figure is the highest
    covering usage among them.
    """

    def __init__(self, options: RuleOptions) -> None:
        self._coverage = options.coverage
        self._agree = options.agree or 8
        window_s = options.window_s or 75.0
        tolerance = 5.0 if options.tolerance_points is None else options.tolerance_points
        self._tolerance_ratio = tolerance / 100.0
        self._noise = options.noise
        self._least_s = max(self._agree * window_s, least_pooled_s(options.period_s))
        block_s = max(min(BLOCK_S, window_s), MIN_READINGS * options.period_s)
        self._history = History(block_s, options.coverage)
        self._blocks: SlidingWindows | None = None
        self._closed: list[ClosedWindow] = []
        self._pooled: deque[tuple[float, float]] = deque(maxlen=MAX_POOLED)
        self._last_s = self._closed_s = 0.0

    def update(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> Estimate | None:
        """Take one reading; returns the estimate when the rule fires with it."""
        if self._blocks is None:
            start_s = time_s - (weight_s if span_s is None else span_s)
            self._blocks = SlidingWindows(self._history.block_s, start_s, self._coverage)
            self._closed_s = start_s
        self._last_s = time_s
        closed = self._blocks.add(time_s, value, weight_s, span_s)
        return self._judge(closed) if closed else None

    def predict(self) -> Estimate | None:
        """Return the covering usage of everything seen so far; None before the first reading."""
        whole = self._history.whole()
        if self._blocks is not None:
            whole.merge(self._blocks.counter)
        if whole.seconds <= 0.0:
            return None
        covering_ratio, mean_ratio = whole.figures(self._coverage)
        return Estimate(self._last_s, max(ACTIVE_RATIO, covering_ratio), mean_ratio, (), ())

    def awaits(self) -> str:
        """Return in words what must come before it can fire: so much more use at the least."""
        open_s = self._last_s - self._closed_s
        left_s = self._least_s - self._history.active_s() - open_s
        if left_s > 0.0:
            whole_s = left_s - left_s % 60.0 if left_s >= 120.0 else left_s
            return f"at least {words.span(whole_s)} more to be sure"
        return f"looks again every {words.span(self._history.block_s)}"

    def windows(self) -> Sequence[ClosedWindow]:
        """Return the blocks closed since the last call."""
        closed, self._closed = self._closed, []
        return closed

    def _judge(self, closed: list[ClosedWindow]) -> Estimate | None:
        """Take blocks that have closed, oldest first; the estimate if the rule fires with one."""
        self._closed += closed
        fired: Estimate | None = None
        for block in closed:
            self._history.add(block)
            self._closed_s = block.to_s
            self._pooled += [(time_s, value) for time_s, value, _ in block.readings]
            fired = fired or self._agreed()
        if self._blocks is not None:
            self._blocks.lengthen(self._history.block_s)
        return fired

    def _agreed(self) -> Estimate | None:
        """Return the estimate of the windows that end with the newest block, if they agree.

        Where usage repeats itself whole periods are windows, too, and then no noise excuses them.
        """
        parts = self._history.last(HORIZON, self._least_s, self._agree)
        tolerance = self._tolerance_ratio
        if parts is None or not parts.agree(tolerance, SAME_RATIO, self._noise):
            parts = self._history.periods(HORIZON, min(PERIODS_S, self._least_s), PERIODS)
            if parts is None or not parts.agree(tolerance, PERIODS_RATIO, 0.0):
                return None
        pooled = [one for one in self._pooled if one[0] > parts.from_s]
        return Estimate(
            parts.to_s,
            parts.target_ratio,
            parts.pooled_mean_ratio,
            tuple(time_s for time_s, _ in pooled),
            tuple(value for _, value in pooled),
        )
