"""One run's readings -> states, windows and the recommendation. Causal; no thread, no clock."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.events import StateChanged, WindowClosed
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.progress import OTHER, Authority, EpochGate, Phase
from jupyter_gpupredict.core.recommendation import (
    Confidence,
    Estimate,
    MemoryEstimate,
    Recommendation,
    State,
)
from jupyter_gpupredict.core.rounding import sm_percent
from jupyter_gpupredict.predict.confidence import ALLOWED, Guard, confidence, regime_dependence_s
from jupyter_gpupredict.predict.epochs import StepPace
from jupyter_gpupredict.predict.memory import MemoryPeak
from jupyter_gpupredict.predict.prior import PriorTest, ProfileBuilder
from jupyter_gpupredict.predict.slowdown import bracket
from jupyter_gpupredict.predict.windows import ACTIVE_RATIO, Counter, FalseStart, is_active

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jupyter_gpupredict.core.progress import Mark, Progress, Remaining
    from jupyter_gpupredict.core.recommendation import Profile
    from jupyter_gpupredict.core.series import Readings, SourceInfo
    from jupyter_gpupredict.predict import Predictor, ProgressPredictor
    from jupyter_gpupredict.predict.windows import ClosedWindow


Change = StateChanged | WindowClosed
"""Events that the emitter numbers."""
MEMORY_BASIS = {"rss_bytes": "rss", "process_memory_used_bytes": "process"}


class _Course:
    """How far the loop is, and the rule that learns from it.

    Marks are held back until a reading passes them, so that each reading lands in its own phase.
    """

    def __init__(self, make_mix: Callable[[], ProgressPredictor]) -> None:
        self._make_mix = make_mix
        self.mix = make_mix()
        self.gate = EpochGate()
        self.phase = OTHER
        self._authority = Authority()
        self._pace = StepPace()
        self._waiting: deque[Mark] = deque()
        self._last: dict[str, Progress] = {}

    def expect(self, mark: Mark) -> None:
        """Queue a mark, if its hint is the one to believe."""
        if self._authority.accepts(mark):
            self._waiting.append(mark)

    def pass_marks(self, time_s: float) -> Iterator[tuple[float, Estimate | None]]:
        """Let the marks before a time take effect; yields when, and what the rule fires with it."""
        while self._waiting and self._waiting[0].time_s < time_s:
            mark = self._waiting.popleft()
            self.gate.update(mark)
            if isinstance(mark, Phase):
                self.phase = mark.name
            else:
                self._last[mark.unit] = mark
                if mark.unit == "step":
                    self._pace.update(mark.time_s, mark.done, mark.total)
            yield mark.time_s, self.mix.mark(mark)

    def begin_anew(self, time_s: float) -> None:
        """Forget what was learned; where the loop is now is still known."""
        self.mix = self._make_mix()
        self.mix.mark(Phase(time_s, self.phase, "again"))
        for progress in self._last.values():
            self.mix.mark(replace(progress, time_s=time_s))

    def remaining(self, now_s: float) -> Remaining | None:
        """Return the predicted rest: from whole epochs, else from steps; None while unknown."""
        epoch = self._last.get("epoch")
        if epoch is None or epoch.total == 1:  # else steps may count one epoch's, not the run's
            return self.mix.remaining(now_s) or self._pace.remaining(now_s)
        return self.mix.remaining(now_s)

    def words(self) -> str:
        """Return how far the loop is; empty when nothing reports it."""
        last = self._last.get("epoch") or self._last.get("step")
        if last is None:
            return ""
        total = "" if last.total is None else f" of {last.total:.0f}"
        phase = "" if self.phase == OTHER else f", in {self.phase}"
        lacking = ", ".join(self.mix.lacking())
        unseen = f"; {lacking} not learned yet" if lacking else ""
        return f"{last.done:.0f}{total} {last.unit}s complete{phase} (from {last.hint}){unseen}"


class Analysis:
    """Takes readings and marks in order of time and says what they mean so far."""

    def __init__(
        self,
        info: SourceInfo,
        make_rule: Callable[[], Predictor],
        make_mix: Callable[[], ProgressPredictor],
        coverage: float,
        *,
        guard: bool = True,
        memory_age_s: float = 300.0,
        prior: Profile | None = None,
        begin_s: float = math.nan,
    ) -> None:
        self._info = info
        self._devices = {one.uuid: one for one in info.devices}
        self._begin_s = begin_s
        """When the measuring began, if that is known: the first reading speaks for no more."""
        self._make_rule = make_rule
        self._coverage = coverage
        self._guarded = guard
        self._rule = make_rule()
        self._course = _Course(make_mix)
        self._prior = None if prior is None else PriorTest(prior, coverage)
        self._profile: ProfileBuilder | None = None
        self._peaks = {
            series: MemoryPeak(memory_age_s)
            for series in (info.process_memory, info.memory)
            if series is not None
        }
        """The process tree's first, which is what a limit is set to."""
        self._metric = METRICS[info.share.metric]
        self._state: State = "warming"
        self._reason = "waiting for the first reading"
        self._start_s = math.nan
        self._false_start = FalseStart()
        self._last_s = math.nan
        self._sampled_s = 0.0
        self._all = Counter()
        """Every reading of the active span."""
        self._active_s = 0.0
        self._withdrawn: tuple[float, float] | None = None
        self._estimate: Estimate | None = None
        self._confidence: Confidence | None = None
        self._guard: Guard | None = None
        self._since = Counter()
        """Readings after the target was chosen: what its coverage is judged on."""
        self._coverage_ratio: float | None = None
        self._windows: deque[ClosedWindow] = deque(maxlen=2)
        self._changes: list[Change] = []
        self._uncapped_s = 0.0
        self.first: tuple[Estimate, Confidence] | None = None
        """The first convergence, which never changes afterwards."""
        self.first_memory_bytes: float | None = None
        self.alarms: list[float] = []
        """When the guard withdrew a prediction."""
        self.relearned: list[tuple[float, float]] = []
        """(time, target ratio) of each later convergence."""

    def ingest(self, readings: Sequence[Readings], marks: Sequence[Mark] = ()) -> Sequence[Change]:
        """Take the readings and marks of one batch; returns what changed, oldest first."""
        for mark in marks:
            self._course.expect(mark)
        duty = self._info.duty
        busy: dict[float, float] = {}
        """Time -> how much of it was busy."""
        for one in readings:
            peak = self._peaks.get(one.series)
            if peak is not None:
                for time_s, value in zip(one.times_s, one.values, strict=True):
                    peak.update(time_s, value)
            elif duty is not None and one.series == duty:
                busy.update(zip(one.times_s, one.values, strict=True))
        for one in readings:
            if one.series == self._info.share:
                for time_s, value in zip(one.times_s, one.values, strict=True):
                    self._pass_marks(time_s)
                    self._add(time_s, value, 1.0 if duty is None else busy.get(time_s, math.nan))
        return self._new_changes()

    def finish(self) -> Sequence[Change]:
        """End the run: what has not converged by now abstains."""
        self._pass_marks(math.inf)
        if self._state in ("warming", "watching"):
            if math.isnan(self._last_s):
                words = "no reading was taken"
            elif math.isnan(self._start_s):
                words = "no activity was seen"
            else:
                words = f"the run ended before the prediction settled; {self._reason}"
            self._move("abstained", self._now_s, words)
        return self._new_changes()

    def _new_changes(self) -> Sequence[Change]:
        changes, self._changes = self._changes, []
        return changes

    @property
    def _now_s(self) -> float:
        return 0.0 if math.isnan(self._last_s) else self._last_s

    def parts(self) -> tuple[Recommendation, ...]:
        """Return what is recommended of each part of the run; here it is one."""
        return ()

    def lose(self, device: str) -> Sequence[Change]:
        """Take note that a device is lost, or back; here there is one, and the session knows."""
        return ()

    regain = lose

    def profile(self) -> Profile | None:
        """Return what the run used when; None before the active span."""
        return None if self._profile is None else self._profile.profile()

    @property
    def uncapped_ratio(self) -> float:
        """Share of the time since the first convergence in which no target stood."""
        since_s = self._last_s - self.first[0].converged_at_s if self.first else 0.0
        return self._uncapped_s / since_s if since_s > 0.0 else 0.0

    def recommendation(self) -> Recommendation:
        """Return what is recommended now."""
        seen = estimate = self._estimate
        if estimate is None and self._state != "stale":
            mix = self._course.mix
            seen = mix.predict() if mix.knows else self._rule.predict()
        target = seen.target_ratio if seen else None
        active_s = 0.0 if math.isnan(self._start_s) else self._last_s - self._start_s
        now_s = self._now_s
        rest = None if self._state == "abstained" else self._course.remaining(now_s)
        return Recommendation(
            state=self._state,
            reason=self._reason,
            metric=self._metric.name,
            basis=self._metric.basis or "time_share",
            coverage_target_ratio=self._coverage,
            target_ratio=target,
            mean_ratio=seen.mean_ratio if seen else None,
            coverage_ratio=self._coverage_now(),
            watched_s=active_s,
            converged_at_s=estimate.converged_at_s if estimate else None,
            memory=self._memory(),
            confidence=self._confidence,
            sampled_ratio=min(1.0, self._sampled_s / active_s) if active_s > 0.0 else 0.0,
            remaining_s=rest.expected_s if rest else None,
            remaining_low_s=rest.low_s if rest else None,
            remaining_high_s=rest.high_s if rest else None,
            total_s=now_s + rest.expected_s if rest else None,
            total_high_s=now_s + rest.high_s if rest and rest.high_s is not None else None,
            progress=self._course.words(),
            device=self._info.share.device,
            slowdown=self._slowdown(target),
            active_s=self._active_s,
            observed_ratio=self._all.covering_ratio(self._coverage)
            if self._all.seconds > 0.0
            else None,
            withdrawn=self._withdrawn,
        )

    def _slowdown(self, target: float | None) -> tuple[float, float] | None:
        """Return what the share, as it would be given, may cost; only for a share while busy."""
        if target is None or self._info.duty is None:
            return None
        device = self._devices.get(self._info.share.device)
        share = sm_percent(target, device.sm_count if device else None)
        return bracket(self._all, self._sampled_s, share / 100.0)

    def _coverage_now(self) -> float | None:
        if self._estimate is None:
            return self._coverage_ratio
        if self._since.seconds <= 0.0:
            return None
        return self._since.coverage_ratio(self._estimate.target_ratio)

    def _memory(self) -> MemoryEstimate | None:
        """Return what the process tree needs, or what the device held where that is not known."""
        now_s = self._now_s
        unready = self._course.gate.reason(now_s)
        estimate: MemoryEstimate | None = None
        for series, peak in self._peaks.items():
            device = self._devices.get(series.device)
            total = device.memory_total_bytes if device else None
            basis = MEMORY_BASIS.get(series.metric, "device-wide")
            estimate = peak.estimate(now_s, total, basis, unready)
            if not math.isnan(estimate.peak_bytes):
                break
        return estimate

    def _add(self, time_s: float, value: float, duty: float) -> None:
        """Take a reading. Of a share while busy, an idle one is known and weighs nothing."""
        previous_s, self._last_s = self._last_s, time_s
        if math.isnan(duty) or (math.isnan(value) and self._info.duty is None):
            return
        if math.isnan(value):
            value, duty = 0.0, 0.0
        period_s = self._info.period_s
        before_s = self._begin_s if math.isnan(previous_s) else previous_s
        gap_s = period_s if math.isnan(before_s) else time_s - before_s
        span_s = min(gap_s, 2.0 * period_s)
        weight_s = span_s * duty
        if math.isnan(self._start_s):
            if not is_active(value):
                return
            self._start_s = time_s - span_s
            self._profile = ProfileBuilder(self._start_s, period_s, self._coverage)
            for peak in self._peaks.values():
                peak.begin(self._start_s)
            self._move("watching", time_s, "the first windows are filling")
        self._sampled_s += span_s
        self._all.add(value, weight_s)
        if is_active(value):
            self._active_s += weight_s
        assert self._profile is not None  # noqa: S101 - begun with the span
        blocks = self._profile.add(time_s, value, weight_s, span_s)
        if self._estimate is not None:
            self._course.mix.update(time_s, value, weight_s, span_s)
            self._guard_reading(time_s, value, weight_s)
            return
        if self.first is not None:
            self._uncapped_s += time_s - previous_s
        elif not self._false_start.settled and self._false_start.update(value, span_s):
            self._begin_anew(time_s)
            return
        self._course.mix.update(time_s, value, weight_s, span_s)
        if self._repeats(blocks, time_s):
            self._guard_reading(time_s, value, weight_s)
            return
        self._learn(time_s, value, weight_s, span_s)

    def _repeats(self, blocks: Sequence[ClosedWindow], time_s: float) -> bool:
        """Converge when this run repeats an earlier one of the same code; says whether it did."""
        prior = self._prior
        if prior is None:
            return False
        for block in blocks:
            fired = prior.update(block)
            if fired is not None and not self._course.gate.reason(fired.converged_at_s):
                self._converge(fired, time_s, "the run goes as it went last time")
                return True
        return False

    def _begin_anew(self, time_s: float) -> None:
        """Forget a false start; the span begins with the next active reading."""
        self._start_s, self._sampled_s, self._active_s = math.nan, 0.0, 0.0
        self._all = Counter()
        self._false_start.settled = True  # once is enough: see predict/windows.py
        self._forget(time_s)
        self._move("warming", time_s, "a short burst, then idle: the training has not begun")

    def _forget(self, time_s: float) -> None:
        """Forget what was learned of the run."""
        self._rule = self._make_rule()
        self._windows.clear()
        self._coverage_ratio = None
        self._course.begin_anew(time_s)

    def _pass_marks(self, time_s: float) -> None:
        """Let the marks before a reading take effect."""
        for at_s, fired in self._course.pass_marks(time_s):
            if fired is not None and self._estimate is None and not math.isnan(self._start_s):
                self._converge(fired, at_s, "the last two epochs agree")

    def _learn(self, time_s: float, value: float, weight_s: float, span_s: float) -> None:
        fired = self._rule.update(time_s, value, weight_s, span_s)
        for window in self._rule.windows():
            self._close(window)
        if fired is None or self._course.mix.knows:
            return
        if fired.target_ratio <= ACTIVE_RATIO and not self._false_start.settled:
            self._reason = "windows agree, but on idle: the training may not have begun"
            return
        closed_because = self._course.gate.reason(fired.converged_at_s)
        if closed_because:
            self._reason = f"windows agree, but {closed_because}"
            return
        span_s = fired.converged_at_s - self._start_s
        self._converge(fired, time_s, f"windows agree after {span_s:.0f} s of activity")
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
        if window.empty:
            self._reason = "a window had no work in it"
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

    def _converge(self, estimate: Estimate, time_s: float, reason: str) -> None:
        self._estimate = estimate
        self._confidence = confidence(
            estimate.times_s, estimate.values, estimate.target_ratio, self._coverage
        )
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
        else:
            self.relearned.append((estimate.converged_at_s, estimate.target_ratio))
        self._move("converged", time_s, reason)

    def _guard_reading(self, time_s: float, value: float, weight_s: float) -> None:
        estimate = self._estimate
        if estimate is None:
            return
        self._since.add(value, weight_s)
        allowed = estimate.allowed_exceedance.get(self._course.phase, ALLOWED)
        if self._guard is None or not self._guard.update(time_s, value, weight_s, allowed):
            return
        self.alarms.append(time_s)
        self._withdrawn = (estimate.target_ratio, time_s)
        self._estimate = self._confidence = self._guard = self._prior = None
        self._forget(time_s)
        words = f"usage rose above the predicted {estimate.target_ratio:.0%}; learning again"
        self._move("stale", time_s, words)

    def _move(self, new: State, at_s: float, reason: str) -> None:
        self._changes.append(StateChanged(-1, at_s, self._state, new, reason))
        self._state, self._reason = new, reason
