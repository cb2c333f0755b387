"""A decaying histogram in the manner of the Kubernetes Vertical Pod Autoscaler, with a stop rule.

Every minute the newest minute is added at full weight and everything older fades, with a half-life
of ten minutes. Converged when covering usage and mean have stood still for ten checks.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from jupyter_gpupredict.predict.rules import WindowedRule
from jupyter_gpupredict.predict.windows import ClosedWindow, Counter, agree, least_pooled_s

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_gpupredict.core.recommendation import Estimate, RuleOptions

HALF_LIFE_S = 600.0
POOLED_S = 600.0
"""Confidence is computed from the readings of the last so many seconds."""


class HistogramRule(WindowedRule):
    """Checks every W seconds; fires when the last K checks lie within a tolerance."""

    def __init__(self, options: RuleOptions) -> None:
        super().__init__(options, default_s=60.0)
        self._checks = options.agree or 10
        self._faded = Counter()
        self._figures: deque[tuple[float, float]] = deque(maxlen=self._checks)
        pooled_s = max(POOLED_S, least_pooled_s(options.period_s))
        self._recent: deque[ClosedWindow] = deque(maxlen=math.ceil(pooled_s / self._window_s))

    def _judge(self, closed: Iterable[ClosedWindow]) -> Estimate | None:
        return next((fired for window in closed if (fired := self._check(window))), None)

    def _check(self, window: ClosedWindow) -> Estimate | None:
        faded = Counter()
        faded.merge(self._faded, 2.0 ** (-self._window_s / HALF_LIFE_S))
        for time_s, value, weight_s in window.readings:
            faded.add(value, weight_s * 2.0 ** (-(window.to_s - time_s) / HALF_LIFE_S))
        self._faded = faded
        if window.counter.seconds > 0.0:
            self._recent.append(window)
        if window.idle:
            self._figures.clear()
            return None
        self._figures.append(faded.figures(self._coverage))
        if len(self._figures) < self._checks or not agree(self._figures, self._tolerance_ratio):
            return None
        return self._estimate(faded, window.to_s, self._recent)
