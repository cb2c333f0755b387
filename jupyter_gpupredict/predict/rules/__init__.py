"""The rules, one file each, and what those that judge windows have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.recommendation import Estimate, RuleOptions
from jupyter_gpupredict.predict.windows import (
    MIN_READINGS,
    ClosedWindow,
    Counter,
    SlidingWindows,
    pooled,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def tolerance_ratio(options: RuleOptions) -> float:
    """Return how far apart figures may lie that agree; two points unless the options say."""
    return (2.0 if options.tolerance_points is None else options.tolerance_points) / 100.0


class WindowedRule:
    """What `Predictor` asks for, of a rule that judges windows as they close."""

    def __init__(self, options: RuleOptions, default_s: float) -> None:
        self._coverage = options.coverage
        self._window_s = max(options.window_s or default_s, MIN_READINGS * options.period_s)
        self._tolerance_ratio = tolerance_ratio(options)
        self._windows: SlidingWindows | None = None
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
        closed = self._windows.add(time_s, value, weight_s, span_s)
        self._closed += closed
        self._whole.add(value, weight_s)
        return self._judge(closed)

    def predict(self) -> Estimate | None:
        """Return the covering usage of everything seen so far; None before the first reading."""
        if self._whole.seconds <= 0.0:
            return None
        return self._estimate(self._whole, self._last_s, ())

    def windows(self) -> Sequence[ClosedWindow]:
        """Return the windows closed since the last call."""
        closed, self._closed = self._closed, []
        return closed

    def _judge(self, closed: Iterable[ClosedWindow]) -> Estimate | None:
        """Take windows that have closed, oldest first; the estimate if the rule fires with one."""
        raise NotImplementedError

    def _estimate(self, counter: Counter, at_s: float, windows: Iterable[ClosedWindow]) -> Estimate:
        covering_ratio, mean_ratio = counter.figures(self._coverage)
        return Estimate(at_s, max(0.01, covering_ratio), mean_ratio, *pooled(windows))
