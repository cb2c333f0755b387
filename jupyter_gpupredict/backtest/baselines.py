"""Rules of other systems and of thumb, to be compared with; for the backtest only, never offered.

Each is a rule like ours and goes the same way through a trace, without a guard: none of them has
one. They count seconds in the counter of 101 bins and leave out leading idle, as ours do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.recommendation import Estimate
from jupyter_gpupredict.predict.windows import Counter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.backtest.score import Truth
    from jupyter_gpupredict.predict import Predictor
    from jupyter_gpupredict.predict.windows import ClosedWindow

_SLACK = 1e-9


class FirstReadings:
    """The covering usage of the run's beginning: so many readings, or so many seconds.

    Source: Robusta KRR asks for 100 points and takes their 95th percentile.
    """

    def __init__(self, *, readings: int | None = None, seconds: float | None = None) -> None:
        self._readings = readings
        self._seconds = seconds
        self._seen = Counter()
        self._count = 0
        self._start_s: float | None = None
        self._last_s = 0.0
        self._fired = False

    def update(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> Estimate | None:
        """Take one reading; the first one behind the beginning fires."""
        if self._start_s is None:
            self._start_s = time_s - weight_s
        if self._over(time_s) and not self._fired and self._count:
            self._fired = True
            return self.predict()
        self._seen.add(value, weight_s)
        self._count += 1
        self._last_s = time_s
        return None

    def predict(self) -> Estimate | None:
        """Return what was seen; None before the first reading."""
        return _estimate(self._seen, self._last_s, 0.95, 1.0)

    def windows(self) -> Sequence[ClosedWindow]:
        """There are none."""
        return ()

    def _over(self, time_s: float) -> bool:
        if self._readings is not None:
            return self._count >= self._readings
        start_s = time_s if self._start_s is None else self._start_s
        return time_s - start_s > (self._seconds or 0.0) + _SLACK


class VpaLiteral:
    """The CPU recommender of the Kubernetes Vertical Pod Autoscaler, with an agreement to stop at.

    A histogram that halves in 24 h, its 90th percentile times 1.15. The autoscaler itself never
    stops; here three checks in a row, a minute apart, must lie within five points.

    Source: kubernetes/autoscaler, vertical-pod-autoscaler, `logic/recommender.go` and
    `model/aggregations_config.go`.
    """

    HALF_LIFE_S = 86_400.0
    PERCENTILE = 0.90
    MARGIN = 1.15
    EVERY_S = 60.0
    CHECKS = 3
    POINTS = 5.0

    def __init__(self, period_s: float) -> None:
        self._every_s = max(self.EVERY_S, 10 * period_s)  # a slow log: ten readings a check
        self._fading = Counter()
        self._figures: deque[tuple[float, float]] = deque(maxlen=self.CHECKS)
        self._start_s: float | None = None
        self._checked = 0
        self._last_s = 0.0

    def update(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> Estimate | None:
        """Take one reading; it fires when a check that it closes agrees with those before."""
        if self._start_s is None:
            self._start_s = time_s - weight_s
        fired = None
        if time_s - self._start_s > (self._checked + 1) * self._every_s + _SLACK:
            self._checked = int((time_s - self._start_s) / self._every_s)
            fired = self._check()
        # Weights grow instead of fading: the same percentiles, and O(1) a reading.
        self._fading.add(value, weight_s * 2.0 ** ((time_s - self._start_s) / self.HALF_LIFE_S))
        self._last_s = time_s
        return fired

    def predict(self) -> Estimate | None:
        """Return the figures now; None before the first reading."""
        return _estimate(self._fading, self._last_s, self.PERCENTILE, self.MARGIN)

    def windows(self) -> Sequence[ClosedWindow]:
        """There are none."""
        return ()

    def _check(self) -> Estimate | None:
        found = self.predict()
        if found is None:
            return None
        covering = self._fading.covering_ratio(self.PERCENTILE) * self.MARGIN
        self._figures.append((covering, found.mean_ratio))
        apart = [max(one) - min(one) for one in zip(*self._figures, strict=True)]
        settled = len(self._figures) == self.CHECKS and max(apart) <= self.POINTS / 100 + _SLACK
        return found if settled else None


def _estimate(seen: Counter, at_s: float, coverage: float, margin: float) -> Estimate | None:
    if seen.seconds <= 0.0:
        return None
    covering = seen.covering_ratio(coverage) * margin
    whole = -(-(100.0 * covering - _SLACK) // 1) / 100.0  # up to a whole percent
    return Estimate(at_s, min(1.0, max(0.01, whole)), seen.mean_ratio(), (), ())


@dataclass(frozen=True, slots=True)
class Baseline:
    """A rule to compare with."""

    summary: str
    make: Callable[[Truth, float], Predictor]
    """From the run and the nominal period in seconds."""
    knows_length: bool = False
    """It uses the run's length, which nobody has before the end: there for scale only."""


def _first_share(share: float) -> Baseline:
    return Baseline(
        f"the first {100 * share:.0f} % of the run",
        lambda run, _: FirstReadings(seconds=share * run.active_s),
        knows_length=True,
    )


BASELINES = {
    "vpa": Baseline(
        "Kubernetes VPA: half-life 24 h, p90 x 1.15, three checks within 5 points",
        lambda _, period_s: VpaLiteral(period_s),
    ),
    "krr": Baseline("KRR: p95 of the first 100 readings", lambda *_: FirstReadings(readings=100)),
    "first-300s": Baseline("the first 300 s", lambda *_: FirstReadings(seconds=300.0)),
    "first-10pct": _first_share(0.10),
    "first-30pct": _first_share(0.30),
}
"""Name in `--rules` -> the rule."""
