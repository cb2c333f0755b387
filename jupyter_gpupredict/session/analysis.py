"""One run's readings -> states, windows and the recommendation. Causal; no thread, no clock."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.confidence import confidence, regime_dependence_s
from jupyter_gpupredict.core.counter import Counter
from jupyter_gpupredict.core.events import WindowClosed
from jupyter_gpupredict.core.guard import Guard
from jupyter_gpupredict.core.memory import MemoryPeak
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.recommendation import (
    Confidence,
    Estimate,
    MemoryEstimate,
    Recommendation,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.protocols import Predictor
    from jupyter_gpupredict.core.series import Readings, SourceInfo
    from jupyter_gpupredict.core.window import ClosedWindow

ACTIVE_RATIO = 0.01
"""A reading at or above this starts the active span; leading idle belongs to nothing."""
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state."""

    at_s: float
    old: State
    new: State
    reason: str


Change = Transition | WindowClosed


class Analysis:
    """Takes readings in order of time and says what they mean so far."""

    def __init__(
        self,
        info: SourceInfo,
        make_rule: Callable[[], Predictor],
        coverage: float,
        *,
        guard: bool = True,
        memory_age_s: float = 300.0,
    ) -> None:
        self._info = info
        self._make_rule = make_rule
        self._coverage = coverage
        self._guarded = guard
        self._rule = make_rule()
        self._peak = MemoryPeak(memory_age_s)
        self._metric = METRICS[info.share.metric]
        self._state: State = "warming"
        self._reason = "waiting for the first reading"
        self._start_s = math.nan
        self._last_s = math.nan
        self._sampled_s = 0.0
        self._estimate: Estimate | None = None
        self._confidence: Confidence | None = None
        self._guard: Guard | None = None
        self._since = Counter()
        """Readings after the target was chosen: what its coverage is judged on."""
        self._coverage_ratio: float | None = None
        self._windows: deque[ClosedWindow] = deque(maxlen=2)
        self._changes: list[Change] = []
        self._uncapped_s = 0.0
        self._first_converged_s = math.nan
        self.first: tuple[Estimate, Confidence] | None = None
        """The first convergence, which never changes afterwards."""
        self.first_memory_bytes: float | None = None
        self.alarms: list[float] = []
        """When the guard withdrew a prediction."""
        self.relearned: list[tuple[float, float]] = []
        """(time, target ratio) of each later convergence."""

    def ingest(self, readings: Sequence[Readings], marks: Sequence[Mark] = ()) -> Sequence[Change]:
        """Take the readings and marks of one batch; returns what changed, oldest first."""
        for one in readings:
            if one.series == self._info.memory:
                for time_s, value in zip(one.times_s, one.values, strict=True):
                    self._peak.update(time_s, value)
        for one in readings:
            if one.series == self._info.share:
                for time_s, value in zip(one.times_s, one.values, strict=True):
                    self._add(time_s, value)
        changes, self._changes = self._changes, []
        return changes

    def finish(self) -> Sequence[Change]:
        """End the run: what has not converged by now abstains."""
        if self._state in ("warming", "watching"):
            words = (
                "no activity was seen"
                if math.isnan(self._start_s)
                else f"the run ended before the prediction settled; {self._reason}"
            )
            self._move("abstained", 0.0 if math.isnan(self._last_s) else self._last_s, words)
        changes, self._changes = self._changes, []
        return changes

    @property
    def uncapped_ratio(self) -> float:
        """Share of the time since the first convergence in which no target stood."""
        if math.isnan(self._first_converged_s) or self._last_s <= self._first_converged_s:
            return 0.0
        return self._uncapped_s / (self._last_s - self._first_converged_s)

    def recommendation(self) -> Recommendation:
        """Return what is recommended now."""
        target, mean, stands = self._figures()
        active_s = 0.0 if math.isnan(self._start_s) else self._last_s - self._start_s
        return Recommendation(
            state=self._state,
            reason=self._reason,
            metric=self._metric.name,
            basis=self._metric.basis or "time_share",
            coverage_target_ratio=self._coverage,
            target_ratio=target,
            mean_ratio=mean,
            coverage_ratio=self._coverage_now(),
            watched_s=active_s,
            converged_at_s=self._estimate.converged_at_s if stands and self._estimate else None,
            memory=self._memory(),
            confidence=self._confidence if stands else None,
            sampled_ratio=min(1.0, self._sampled_s / active_s) if active_s > 0.0 else 0.0,
        )

    def _figures(self) -> tuple[float | None, float | None, bool]:
        """Return (target, mean, whether they come from a convergence)."""
        if self._estimate is not None:
            return self._estimate.target_ratio, self._estimate.mean_ratio, True
        if self._state == "stale":
            return None, None, False
        seen = self._rule.predict()
        return (None, None, False) if seen is None else (seen.target_ratio, seen.mean_ratio, False)

    def _coverage_now(self) -> float | None:
        if self._estimate is not None:
            if self._since.seconds <= 0.0:
                return None
            return self._since.coverage_ratio(self._estimate.target_ratio)
        return self._coverage_ratio

    def _memory(self) -> MemoryEstimate | None:
        series = self._info.memory
        if series is None:
            return None
        total = next(
            (d.memory_total_bytes for d in self._info.devices if d.uuid == series.device), None
        )
        basis = {"rss_bytes": "rss", "process_memory_used_bytes": "process"}.get(
            series.metric, "device-wide"
        )
        now_s = 0.0 if math.isnan(self._last_s) else self._last_s
        return self._peak.estimate(now_s, total, basis)

    def _add(self, time_s: float, value: float) -> None:
        previous_s, self._last_s = self._last_s, time_s
        if math.isnan(value):
            return
        period_s = self._info.period_s
        gap_s = period_s if math.isnan(previous_s) else time_s - previous_s
        weight_s = min(gap_s, 2.0 * period_s)
        if math.isnan(self._start_s):
            if value < ACTIVE_RATIO - _SLACK:
                return
            self._start_s = time_s - weight_s
            self._move("watching", time_s, "the first windows are filling")
        self._sampled_s += weight_s
        if self._estimate is not None:
            self._guard_reading(time_s, value, weight_s)
        else:
            if not math.isnan(self._first_converged_s):
                self._uncapped_s += time_s - previous_s
            self._learn(time_s, value, weight_s)

    def _learn(self, time_s: float, value: float, weight_s: float) -> None:
        fired = self._rule.update(time_s, value, weight_s)
        for window in self._rule.windows():
            self._close(window)
        if fired is not None:
            self._converge(fired, time_s)
            self._guard_reading(time_s, value, weight_s)

    def _close(self, window: ClosedWindow) -> None:
        self._changes.append(
            WindowClosed(
                seq=-1,
                t_s=window.to_s,
                from_s=window.from_s,
                to_s=window.to_s,
                fill_ratio=window.fill_ratio,
                covering_ratio=window.covering_ratio,
                mean_ratio=window.mean_ratio,
                void=window.void,
            )
        )
        if window.void:
            self._windows.clear()
            self._reason = f"a window had readings for only {window.fill_ratio:.0%} of its time"
            return
        if self._windows:
            before = self._windows[-1]
            self._coverage_ratio = window.counter.coverage_ratio(before.covering_ratio)
            apart = max(
                abs(window.covering_ratio - before.covering_ratio),
                abs(window.mean_ratio - before.mean_ratio),
            )
            self._reason = f"the last two windows lie {100 * apart:.1f} points apart"
        self._windows.append(window)

    def _converge(self, estimate: Estimate, time_s: float) -> None:
        self._estimate = estimate
        self._confidence = confidence(estimate.times_s, estimate.values, estimate.target_ratio)
        self._since = Counter()
        if self._guarded:
            dependence_s = regime_dependence_s(
                estimate.times_s, estimate.values, estimate.target_ratio
            )
            self._guard = Guard(estimate.target_ratio, estimate.converged_at_s, dependence_s)
        if self.first is None:
            self.first = (estimate, self._confidence)
            memory = self._memory()
            self.first_memory_bytes = memory.target_bytes if memory else None
            self._first_converged_s = estimate.converged_at_s
        else:
            self.relearned.append((estimate.converged_at_s, estimate.target_ratio))
        span_s = estimate.converged_at_s - self._start_s
        self._move("converged", time_s, f"windows agree after {span_s:.0f} s of activity")

    def _guard_reading(self, time_s: float, value: float, weight_s: float) -> None:
        self._since.add(value, weight_s)
        if self._guard is None or not self._guard.update(time_s, value, weight_s):
            return
        self.alarms.append(time_s)
        target = self._estimate.target_ratio if self._estimate else 1.0
        self._estimate = self._confidence = self._guard = None
        self._rule = self._make_rule()
        self._windows.clear()
        self._coverage_ratio = None
        self._move("stale", time_s, f"usage rose above the predicted {target:.0%}; learning again")

    def _move(self, new: State, at_s: float, reason: str) -> None:
        self._changes.append(Transition(at_s, self._state, new, reason))
        self._state, self._reason = new, reason
