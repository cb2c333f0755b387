"""The paper's rule, in our reading: converged when consecutive sliding windows agree.

Source: Kim and Cha, ICWI 2018, pp. 101-108, of which the abstract is public; that windows must
agree on covering usage and on mean is ours (docs/decisions/0003).
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


class WindowsRule(WindowedRule):
    """K windows of W seconds in a row whose covering usage and mean lie within a tolerance.

    More of them where K are too short to bear a prediction.
    """

    def __init__(self, options: RuleOptions) -> None:
        super().__init__(options, default_s=300.0)
        least = math.ceil(least_pooled_s(options.period_s) / self._window_s)
        self._agree = max(options.agree or 2, least)
        self._recent: deque[ClosedWindow] = deque(maxlen=self._agree)

    def _judge(self, closed: Iterable[ClosedWindow]) -> Estimate | None:
        fired: Estimate | None = None
        for window in closed:
            if window.void or (window.idle and window.counter.seconds > 0.0):
                self._recent.clear()
            elif not window.idle:  # of a share while busy, one without work is passed over
                self._recent.append(window)
                fired = fired or self._pooled()
        return fired

    def _pooled(self) -> Estimate | None:
        """Return the estimate of the last K windows if they agree."""
        recent = self._recent
        figures = ((window.covering_ratio, window.mean_ratio) for window in recent)
        if len(recent) < self._agree or not agree(figures, self._tolerance_ratio):
            return None
        pool = Counter.total(window.counter for window in recent)
        return self._estimate(pool, recent[-1].to_s, recent)
