"""One run's readings -> states, windows and the recommendation. Causal; no thread, no clock."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.events import StateChanged, WindowClosed
from jupyter_gpupredict.core.metrics import METRICS, sm_percent
from jupyter_gpupredict.core.recommendation import (
    LEAST_ACTIVE_S,
    LEAST_N_EFF,
    Confidence,
    Estimate,
    MemoryEstimate,
    Recommendation,
    State,
)
from jupyter_gpupredict.predict.confidence import ALLOWED, Guard, confidence
from jupyter_gpupredict.predict.epochs import Course
from jupyter_gpupredict.predict.history import witnesses
from jupyter_gpupredict.predict.memory import MemoryUse
from jupyter_gpupredict.predict.prior import PriorTest, ProfileBuilder
from jupyter_gpupredict.predict.slowdown import bracket
from jupyter_gpupredict.predict.windows import (
    ACTIVE_RATIO,
    Counter,
    FalseStart,
    is_active,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.recommendation import Profile
    from jupyter_gpupredict.core.series import Readings, SourceInfo
    from jupyter_gpupredict.predict import Predictor, ProgressPredictor
    from jupyter_gpupredict.predict.windows import ClosedWindow


Change = StateChanged | WindowClosed
"""Events that the emitter numbers."""
FILLING = "the first windows are filling"


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
        floors: bool = True,
        memory_age_s: float = 300.0,
        prior: Profile | None = None,
        prior_memory: MemoryEstimate | None = None,
        scaled_memory: tuple[MemoryEstimate, str] | None = None,
        begin_s: float = math.nan,
        others_only: Callable[[], bool] | None = None,
    ) -> None:
        self._info = info
        self._devices = {one.uuid: one for one in info.devices}
        self._begin_s = begin_s
        """When the measuring began, if that is known: the first reading speaks for no more."""
        self._make_rule = make_rule
        self._coverage = coverage
        self._guarded = guard
        self._floors = floors
        """Whether a rule's word needs the least evidence; a baseline's is taken as it is."""
        self._allowed = max(ALLOWED, 1.0 - coverage + ALLOWED / 2)
        """Exceedance that the guard grants outside of phases."""
        self._rule = make_rule()
        self._course = Course(make_mix)
        self._prior = None if prior is None else PriorTest(prior, coverage)
        self._prior_memory = prior_memory
        self._profile: ProfileBuilder | None = None
        self._memory = MemoryUse(info, memory_age_s, others_only)
        self._memory.earlier = scaled_memory
        self._witnesses = witnesses(info, self._memory.peaks)
        self._metric = METRICS[info.share.metric]
        self._state: State = "warming"
        self._reason = "waiting for the first reading"
        self._start_s = math.nan
        self._false_start = FalseStart()
        self._last_s = math.nan
        self._sampled_s = self._active_s = 0.0
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
        shares = []
        for one in readings:
            if one.series == self._info.share:
                shares.append(one)
                continue
            witness = self._witnesses.get(one.series)
            if witness is not None:
                for time_s, value in zip(one.times_s, one.values, strict=True):
                    witness.add(time_s, value)
            if not self._memory.update(one) and duty is not None and one.series == duty:
                busy.update(zip(one.times_s, one.values, strict=True))
        for one in shares:
            for time_s, value in zip(one.times_s, one.values, strict=True):
                if self._course.waiting:
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
                why = (self._reason == FILLING and self._awaited()) or self._reason
                words = f"the run ended before the prediction settled; {why}"
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
        watched_s = 0.0 if math.isnan(self._start_s) else self._last_s - self._start_s
        whole = Counter() if self._profile is None else self._profile.whole()
        now_s = self._now_s
        rest = None if self._state == "abstained" else self._course.remaining(now_s)
        return Recommendation(
            state=self._state,
            reason="; ".join(filter(None, (self._reason, self._awaited()))),
            metric=self._metric.name,
            basis=self._metric.basis or "time_share",
            coverage_target_ratio=self._coverage,
            target_ratio=target,
            mean_ratio=seen.mean_ratio if seen else None,
            coverage_ratio=self._coverage_now(),
            watched_s=watched_s,
            converged_at_s=estimate.converged_at_s if estimate else None,
            memory=self._needed(),
            confidence=self._confidence,
            sampled_ratio=min(1.0, self._sampled_s / watched_s) if watched_s > 0.0 else 0.0,
            remaining_s=rest.expected_s if rest else None,
            remaining_low_s=rest.low_s if rest else None,
            remaining_high_s=rest.high_s if rest else None,
            total_s=now_s + rest.expected_s if rest else None,
            total_high_s=now_s + rest.high_s if rest and rest.high_s is not None else None,
            progress=self._course.words(),
            device=self._info.share.device,
            slowdown=self._slowdown(target, whole),
            active_s=self._active_s,
            observed_ratio=whole.covering_ratio(self._coverage) if whole.seconds > 0.0 else None,
            withdrawn=self._withdrawn,
        )

    def _awaited(self) -> str:
        """Return what must come before a figure can settle; empty where nobody can say.

        An earlier run, or epochs whose number is not known, may settle it at any time.
        """
        if self._state not in ("watching", "stale"):
            return ""
        if self._course.mix.knows:
            return "looks again when the next epoch ends"
        if self._prior is not None or self._course.words():
            return ""
        awaits = getattr(self._rule, "awaits", None)
        return "" if awaits is None else str(awaits())

    def _slowdown(self, target: float | None, whole: Counter) -> tuple[float, float] | None:
        """Return what the share, as it would be given, may cost; only for a share while busy."""
        if target is None or self._info.duty is None:
            return None
        device = self._devices.get(self._info.share.device)
        share = sm_percent(target, device.sm_count if device else None)
        return bracket(whole, self._sampled_s, share / 100.0)

    def _coverage_now(self) -> float | None:
        if self._estimate is None:
            return self._coverage_ratio
        if self._since.seconds <= 0.0:
            return None
        return self._since.coverage_ratio(self._estimate.target_ratio)

    def _needed(self) -> MemoryEstimate | None:
        """Return the memory that the run needs; None where none is read."""
        return self._memory.estimate(self._now_s, self._course.gate.reason(self._now_s))

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
            self._memory.begin(self._start_s)
            self._move("watching", time_s, FILLING)
        self._sampled_s += span_s
        if weight_s > 0.0 and is_active(value):
            self._active_s += span_s
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
                if self._prior_memory is not None:
                    self._memory.earlier = self._prior_memory, "that this one repeats"
                return self._converge(fired, time_s, "the run goes as it went last time")
        return False

    def _begin_anew(self, time_s: float) -> None:
        """Forget a false start; the span begins with the next active reading."""
        self._start_s, self._sampled_s, self._active_s = math.nan, 0.0, 0.0
        self._profile = None
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
                seen_s = max(at_s, self._now_s) if math.isinf(time_s) else time_s
                self._converge(fired, seen_s, "the last two epochs agree")

    def _learn(self, time_s: float, value: float, weight_s: float, span_s: float) -> None:
        fired = self._rule.update(time_s, value, weight_s, span_s)
        for window in self._rule.windows():
            self._close(window)
        if fired is None or self._course.mix.knows:
            return
        closed_because = self._course.gate.reason(fired.converged_at_s)
        if closed_because:
            self._reason = f"windows agree, but {closed_because}"
            return
        moving = self._moving(fired)
        if moving:
            self._reason = f"windows agree, but {moving} has changed meanwhile"
            return
        span_s = fired.converged_at_s - self._start_s
        if self._converge(fired, time_s, f"windows agree after {span_s:.0f} s of activity"):
            self._guard_reading(time_s, value, weight_s)

    def _moving(self, fired: Estimate) -> str:
        """Return what has not stood still over the pooled windows; empty if all has."""
        if not fired.times_s:
            return ""
        from_s, to_s = fired.times_s[0], fired.converged_at_s
        moving = (s for s, one in self._witnesses.items() if not one.steady(from_s, to_s))
        return next((METRICS[series.metric].label for series in moving), "")

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
        if window.idle:
            self._windows.clear()
            self._reason = "the device was idle for nearly a whole window, which proves nothing"
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

    def _converge(self, estimate: Estimate, time_s: float, reason: str) -> bool:
        """Take a rule's word for it, if there is evidence enough; says whether there is.

        It has converged with the reading at `time_s`, which proved it.
        """
        target, times_s, values = estimate.target_ratio, estimate.times_s, estimate.values
        lacking = self._idle_or_short(target)
        if not lacking:
            found = confidence(times_s, values, target, self._coverage)
            lacking = self._dependent(found, estimate)
        if lacking:
            self._reason = f"{reason}, but {lacking}"
            return False
        self._estimate, self._confidence = replace(estimate, converged_at_s=time_s), found
        estimate, chosen_s = self._estimate, estimate.converged_at_s
        self._since = Counter()
        if self._guarded:
            self._guard = Guard(target, chosen_s, times_s, values)
        if self.first is None:
            self.first = (estimate, self._confidence)
            memory = self._needed()
            self.first_memory_bytes = memory.target_bytes if memory else None
        else:
            self.relearned.append((estimate.converged_at_s, estimate.target_ratio))
        self._move("converged", time_s, reason)
        return True

    def _idle_or_short(self, target_ratio: float) -> str:
        """Return why the activity so far is too little to predict from; empty if it is not."""
        if not self._floors:
            return ""
        if target_ratio <= ACTIVE_RATIO:
            return "on idle: the training may not have begun"
        if self._active_s < LEAST_ACTIVE_S:
            return f"{self._active_s:.0f} of the {LEAST_ACTIVE_S:.0f} s of activity were seen"
        return ""

    def _dependent(self, found: Confidence, estimate: Estimate) -> str:
        """Return why the pooled seconds are worth too little; empty if they are not, or unknown."""
        times_s = estimate.times_s
        if not self._floors or not times_s:
            return ""
        earlier = estimate.earlier_s / max(1.0, times_s[-1] - times_s[0])
        n_eff = found.n_eff * (1.0 + earlier)
        if n_eff >= LEAST_N_EFF - 1e-9:
            return ""
        return f"its readings are worth {n_eff:.1f} independent ones of {LEAST_N_EFF:.0f} needed"

    def _guard_reading(self, time_s: float, value: float, weight_s: float) -> None:
        estimate = self._estimate
        if estimate is None:
            return
        self._since.add(value, weight_s)
        allowed = estimate.allowed_exceedance.get(self._course.phase, self._allowed)
        if self._guard is None or not self._guard.update(time_s, value, weight_s, allowed):
            return
        self.alarms.append(time_s)
        self._withdrawn = (estimate.target_ratio, time_s)
        self._estimate = self._confidence = self._guard = self._prior = None
        self._memory.earlier = None
        self._forget(time_s)
        words = f"usage rose above the predicted {estimate.target_ratio:.0%}; learning again"
        self._move("stale", time_s, words)

    def _move(self, new: State, at_s: float, reason: str) -> None:
        self._changes.append(StateChanged(-1, at_s, self._state, new, reason))
        self._state, self._reason = new, reason
