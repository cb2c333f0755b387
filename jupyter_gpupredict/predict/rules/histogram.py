"""A decaying histogram in the manner of the Kubernetes Vertical Pod Autoscaler, with a stop rule.

Every minute the newest minute is added at full weight and everything older fades, with a half-life
of ten minutes. Converged when covering usage and mean have stood still for ten checks.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.recommendation import Estimate, RuleOptions
from jupyter_gpupredict.predict.counter import Counter
from jupyter_gpupredict.predict.window import ClosedWindow, SlidingWindows

if TYPE_CHECKING:
    from collections.abc import Sequence

_SLACK = 1e-9
HALF_LIFE_S = 600.0
POOLED_S = 600.0
"""Confidence is computed from the readings of the last so many seconds."""


class HistogramRule:
    """Checks every W seconds; fires when the last K checks lie within a tolerance."""

    def __init__(self, options: RuleOptions) -> None:
        self._coverage = options.coverage
        self._every_s = max(options.window_s or 60.0, 10 * options.period_s)
        self._checks = options.agree or 10
        points = 2.0 if options.tolerance_points is None else options.tolerance_points
        self._tolerance_ratio = points / 100.0
        self._windows: SlidingWindows | None = None
        self._faded = Counter()
        self._whole = Counter()
        self._figures: deque[tuple[float, float]] = deque(maxlen=self._checks)
        self._recent: deque[ClosedWindow] = deque(maxlen=max(1, int(POOLED_S / self._every_s)))
        self._closed: list[ClosedWindow] = []
        self._last_s = 0.0

    def update(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> Estimate | None:
        """Take one reading; returns the estimate when the rule fires with it."""
        if self._windows is None:
            start_s = time_s - (weight_s if span_s is None else span_s)
            self._windows = SlidingWindows(self._every_s, start_s, self._coverage)
        self._last_s = time_s
        fired: Estimate | None = None
        for window in self._windows.add(time_s, value, weight_s, span_s):
            self._closed.append(window)
            fired = fired or self._check(window)
        self._whole.add(value, weight_s)
        return fired

    def predict(self) -> Estimate | None:
        """Return the covering usage of everything seen so far; None before the first reading."""
        if self._whole.seconds <= 0.0:
            return None
        return self._estimate(self._whole, self._last_s)

    def windows(self) -> Sequence[ClosedWindow]:
        """Return the checks' spans closed since the last call."""
        closed, self._closed = self._closed, []
        return closed

    def _check(self, window: ClosedWindow) -> Estimate | None:
        faded = Counter()
        faded.merge(self._faded, 2.0 ** (-self._every_s / HALF_LIFE_S))
        for time_s, value, weight_s in window.weighted():
            faded.add(value, weight_s * 2.0 ** (-(window.to_s - time_s) / HALF_LIFE_S))
        self._faded = faded
        if not window.empty:
            self._recent.append(window)
        if faded.seconds <= 0.0:
            return None
        self._figures.append((faded.covering_ratio(self._coverage), faded.mean_ratio()))
        if len(self._figures) < self._checks or not self._still():
            return None
        return self._estimate(faded, window.to_s)

    def _still(self) -> bool:
        return all(
            max(figures) - min(figures) <= self._tolerance_ratio + _SLACK
            for figures in zip(*self._figures, strict=True)
        )

    def _estimate(self, counter: Counter, at_s: float) -> Estimate:
        kept = [window for window in self._recent if not math.isnan(window.mean_ratio)]
        return Estimate(
            converged_at_s=at_s,
            target_ratio=max(0.01, counter.covering_ratio(self._coverage)),
            mean_ratio=counter.mean_ratio(),
            times_s=tuple(t for window in kept for t in window.times_s),
            values=tuple(v for window in kept for v in window.values),
        )
