"""The whole run from its epochs: what was seen, plus each phase as often as it is still to come.

Chosen by itself once the number of epochs is known. Where progress comes in steps with validation
in between, the stretch from one validation to the next takes the place of the epoch.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.progress import OTHER, Mark, Phase, Progress, Remaining
from jupyter_gpupredict.core.recommendation import Estimate, RuleOptions
from jupyter_gpupredict.predict.epochs import PhaseLedger, rest_of_epochs
from jupyter_gpupredict.predict.windows import ClosedWindow, Counter, agree

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_EPOCHS = 3
"""The first is cold, and the two after it have to agree."""
TOLERANCE_POINTS = 2.0
"""How far apart those two may lie, unless the options say."""
STEADY_EPOCHS, STEADY_S = 3, 300.0
"""Where nobody says how many epochs there are, so many learned ones must agree, and last as long:
whole epochs are the windows then."""
SEEN_SHARE = 2 / 3
"""An open epoch counts once so much of it was seen and the phase that ran has ended: what is to
come of it, such as validation, was learned before."""
MAX_OFF_RATIO = 0.05
"""How far the whole run's mean may lie from that of what is to come: beyond, one figure would
describe neither that nor what was seen, so the rule waits."""
MAX_POOLED = 20_000
"""Readings of the learned epochs kept for the confidence: over an hour of the driver's own."""
GUARD_SLACK, GUARD_LEAST = 0.05, 0.10
"""A phase may exceed the target as often as it was seen to, and five points more."""


class EpochMix:
    """Converges when the last two epochs agree and every phase was learned.

    The newer one may be open, where the phase that ended was most of it.
    """

    def __init__(self, options: RuleOptions) -> None:
        self._coverage = options.coverage
        tolerance = (
            TOLERANCE_POINTS if options.tolerance_points is None else options.tolerance_points
        )
        self._tolerance_ratio = tolerance / 100.0
        self._ledger = PhaseLedger(options.coverage)
        self._declared_total = options.epochs
        self._total: float | None = None
        self._done: float | None = None
        self._steps: tuple[float, float] | None = None
        """(done, total) of steps, which matter while no epoch is reported."""
        self._cycle_from: float | None = None
        """Step at which the current stretch between validations began."""
        self._cycle_steps = 0.0
        self._pooled: deque[tuple[float, float]] = deque(maxlen=MAX_POOLED)
        self._last_s = 0.0

    @property
    def knows(self) -> bool:
        """Whether it is known how much is to come, and there are epochs enough to learn from."""
        few = self._total is not None and self._total < MIN_EPOCHS
        return not few and self._epochs_left() is not None

    def update(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> Estimate | None:
        """Book one reading; fires only at marks, so never here."""
        self._ledger.add(value, weight_s)
        if self._ledger.complete >= 1 and weight_s > 0.0:
            self._pooled.append((time_s, value))
        self._last_s = time_s
        return None

    def mark(self, mark: Mark) -> Estimate | None:
        """Take a mark; returns the estimate when most of an epoch ended, and the rule fires."""
        self._last_s = max(self._last_s, mark.time_s)
        if isinstance(mark, Phase):
            ended = self._ledger.phase
            self._ledger.enter(mark.name, mark.time_s)
            if mark.name == ended:
                return None
            if ended == "validation" and (fired := self._end_cycle(mark.time_s)):
                return fired
            nearly = self._ledger.nearly(SEEN_SHARE, mark.time_s) if self.knows else None
            return None if nearly is None else self._judge(mark.time_s, nearly)
        if mark.unit == "epoch":
            return self._epoch(mark)
        self._step(mark)
        return None

    def predict(self) -> Estimate | None:
        """Return the whole run's mix as of now: provisional until `mark` fires."""
        pool = self._ledger.whole()
        if self.knows:
            pool.merge(self._to_come())
        return None if pool.seconds <= 0.0 else self._estimate(pool, self._last_s)

    def remaining(self, now_s: float) -> Remaining | None:
        """Return the predicted rest of the loop; None before the first complete epoch."""
        left = self._epochs_left()
        if left is None or self._ledger.complete == 0:
            return None
        expected_s = sum(self._rest_s(now_s).values())
        return rest_of_epochs(expected_s, left, self._ledger.durations_s)

    def lacking(self) -> tuple[str, ...]:
        """Return the phases that ran once but in no learned epoch: they hold convergence back."""
        return tuple(sorted(self._ledger.seen - set(self._ledger.learned)))

    def windows(self) -> Sequence[ClosedWindow]:
        """Return nothing: epochs are not windows."""
        return ()

    def _epoch(self, mark: Progress) -> Estimate | None:
        total = mark.total if mark.total is not None else self._declared_total
        self._total = None if total is None else float(total)
        if self._done is None or mark.done < self._done:  # the loop begins, or another one does
            self._restart(mark.time_s)
            self._done = mark.done
            return None
        count = int(mark.done - self._done)
        if count < 1:
            return None
        self._done = mark.done
        self._ledger.close_epoch(mark.time_s, count)
        return self._judge(mark.time_s)

    def _step(self, mark: Progress) -> None:
        if mark.total is None:
            return
        if self._steps is None or mark.done < self._steps[0]:
            self._cycle_from = mark.done
            if self._done is None:
                self._restart(mark.time_s)
        self._steps = (mark.done, mark.total)

    def _end_cycle(self, time_s: float) -> Estimate | None:
        """End the stretch from one validation to the next, where there are no epochs."""
        if self._done is not None or self._steps is None or self._cycle_from is None:
            return None
        done = self._steps[0]
        if done <= self._cycle_from:
            return None
        self._cycle_steps, self._cycle_from = done - self._cycle_from, done
        self._ledger.close_epoch(time_s)
        return self._judge(time_s)

    def _restart(self, time_s: float) -> None:
        """Open a new ledger for a loop that begins; what was used before stays in the whole."""
        former = self._ledger
        self._ledger = PhaseLedger(self._coverage, former.whole())
        self._ledger.enter(former.phase, time_s)
        self._ledger.begin_epochs(time_s)
        self._pooled.clear()

    def _epochs_left(self) -> float | None:
        """Return how many epochs are not complete; None while that is not known."""
        if self._done is not None:
            return None if self._total is None else max(0.0, self._total - self._done)
        if self._steps is None or self._cycle_steps <= 0.0:
            return None
        done, total = self._steps
        return max(0.0, total - done) / self._cycle_steps

    def _judge(self, time_s: float, nearly: tuple[float, float] | None = None) -> Estimate | None:
        """Return the estimate if the last epochs agree, to which the open one may belong."""
        ledger, few = self._ledger, self._total is not None and not self.knows
        epochs = [*ledger.recent] if nearly is None else [*ledger.recent, nearly]
        recent = epochs[-(2 if self.knows else STEADY_EPOCHS) :]
        complete = ledger.complete + (nearly is not None)
        if few or complete < MIN_EPOCHS or len(recent) < 2 or self.lacking():
            return None
        if not agree(recent, self._tolerance_ratio):
            return None
        learned = Counter.total(usage.counter for usage in ledger.learned.values())
        if not self.knows:
            steady = len(recent) == STEADY_EPOCHS and learned.seconds >= STEADY_S
            return self._estimate(learned, time_s) if steady else None
        to_come = self._to_come()
        found = self._estimate(Counter.total((ledger.whole(), to_come)), time_s)
        rest = to_come if to_come.seconds > 0.0 else learned
        return found if abs(found.mean_ratio - rest.mean_ratio()) <= MAX_OFF_RATIO else None

    def _rest_s(self, now_s: float) -> dict[str, float]:
        """Return for each phase how many seconds of it are still to come."""
        left = self._epochs_left() or 0.0
        open_s = self._ledger.open_s(now_s)
        return {
            name: open_s[name] * min(1.0, left) + each_s * max(0.0, left - 1.0)
            for name, each_s in self._ledger.usual_s().items()
        }

    def _to_come(self) -> Counter:
        """Return each phase as often as it is still to come."""
        return self._ledger.mix(self._rest_s(self._last_s))

    def _estimate(self, pool: Counter, at_s: float) -> Estimate:
        covering_ratio, mean_ratio = pool.figures(self._coverage)
        target = max(0.01, covering_ratio)
        allowed = {
            name: max(GUARD_LEAST, 1.0 - usage.counter.coverage_ratio(target) + GUARD_SLACK)
            for name, usage in self._ledger.learned.items()
            if name != OTHER and usage.counter.seconds > 0.0
        }
        times_s = tuple(time_s for time_s, _ in self._pooled)
        values = tuple(value for _, value in self._pooled)
        learned_s = sum(usage.counter.seconds for usage in self._ledger.learned.values())
        earlier_s = max(0.0, self._ledger.whole().seconds - learned_s)  # the cold epoch's, too
        return Estimate(at_s, target, mean_ratio, times_s, values, allowed, earlier_s)
