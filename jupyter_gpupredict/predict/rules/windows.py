"""The paper's rule, in our reading: converged when consecutive sliding windows agree.

Source: Kim and Cha, ICWI 2018, pp. 101-108, of which the abstract is public; that windows must
agree on covering usage and on mean is ours (docs/decisions/0003).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.recommendation import Estimate, RuleOptions
from jupyter_gpupredict.predict.counter import Counter
from jupyter_gpupredict.predict.window import ClosedWindow, SlidingWindows

if TYPE_CHECKING:
    from collections.abc import Sequence

_SLACK = 1e-9
MIN_READINGS = 10
"""A slow log gets longer windows, so that each holds at least this many readings."""


class WindowsRule:
    """K windows of W seconds in a row whose covering usage and mean lie within a tolerance.

    >>> rule = WindowsRule(RuleOptions(window_s=10, agree=2, tolerance_points=2, period_s=1))
    >>> fired = [rule.update(float(second), 0.5, 1.0) for second in range(1, 23)]
    >>> next(estimate for estimate in fired if estimate).target_ratio
    0.5
    """

    def __init__(self, options: RuleOptions) -> None:
        self._coverage = options.coverage
        self._window_s = max(options.window_s or 300.0, MIN_READINGS * options.period_s)
        self._agree = options.agree or 2
        points = 2.0 if options.tolerance_points is None else options.tolerance_points
        self._tolerance_ratio = points / 100.0
        self._windows: SlidingWindows | None = None
        self._recent: deque[ClosedWindow] = deque(maxlen=self._agree)
        self._closed: list[ClosedWindow] = []
        self._whole = Counter()
        self._last_s = 0.0

    def update(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> Estimate | None:
        """Take one reading; returns the estimate when the rule fires with it."""
        if self._windows is None:
            start_s = time_s - (weight_s if span_s is None else span_s)
            self._windows = SlidingWindows(self._window_s, start_s, self._coverage)
        self._last_s = time_s
        fired: Estimate | None = None
        for window in self._windows.add(time_s, value, weight_s, span_s):
            self._closed.append(window)
            if window.void:
                self._recent.clear()
                continue
            if window.empty:
                continue
            self._recent.append(window)
            fired = fired or self._judge()
        self._whole.add(value, weight_s)
        return fired

    def predict(self) -> Estimate | None:
        """Return the covering usage of everything seen so far; None before the first reading."""
        if self._whole.seconds <= 0.0:
            return None
        return Estimate(
            converged_at_s=self._last_s,
            target_ratio=max(0.01, self._whole.covering_ratio(self._coverage)),
            mean_ratio=self._whole.mean_ratio(),
            times_s=(),
            values=(),
        )

    def windows(self) -> Sequence[ClosedWindow]:
        """Return the windows closed since the last call."""
        closed, self._closed = self._closed, []
        return closed

    def _judge(self) -> Estimate | None:
        """Return the pooled estimate when the last K windows agree."""
        if len(self._recent) < self._agree:
            return None
        for figures in (
            [window.covering_ratio for window in self._recent],
            [window.mean_ratio for window in self._recent],
        ):
            if max(figures) - min(figures) > self._tolerance_ratio + _SLACK:
                return None
        pool = Counter()
        for window in self._recent:
            pool.merge(window.counter)
        return Estimate(
            converged_at_s=self._recent[-1].to_s,
            target_ratio=max(0.01, pool.covering_ratio(self._coverage)),
            mean_ratio=pool.mean_ratio(),
            times_s=tuple(t for window in self._recent for t in window.times_s),
            values=tuple(v for window in self._recent for v in window.values),
        )
