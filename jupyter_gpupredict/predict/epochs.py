"""What each epoch and phase of a run used, and how long the rest takes, in bounded memory.

The rest comes with an interval: from whole epochs, or from steps alone. `Course` holds what is
known of the loop's progress together with the rule that learns from it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.progress import OTHER, Authority, EpochGate, Phase, Remaining
from jupyter_gpupredict.predict.windows import Counter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jupyter_gpupredict.core.progress import Mark, Progress
    from jupyter_gpupredict.core.recommendation import Estimate
    from jupyter_gpupredict.predict import ProgressPredictor

MAX_PHASES = 32
"""More names than this count as `other`: a loop that makes them up must not make us grow."""
STUDENT_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t at 97.5 %, 1 to 10 degrees of freedom."""
NORMAL_975 = 1.960
MAX_MARKS = 256
LAST_SHARE = 0.2
"""Steps are timed over the last fifth: the beginning is slow (loading, compiling)."""


@dataclass(slots=True)
class PhaseUsage:
    """What one phase used, and for how long it ran."""

    counter: Counter = field(default_factory=Counter)
    """Usage, weighted by the seconds that have readings."""
    seconds: float = 0.0
    """Time by the clock, from mark to mark: holes in the readings do not shorten a phase."""


class PhaseLedger:
    """Books readings to the current epoch and phase, and closes epochs.

    The first epoch, which is cold or was not seen from its beginning, is closed but not learned.
    """

    def __init__(self, coverage: float, before: Counter | None = None) -> None:
        self._coverage = coverage
        self._before = before or Counter()
        """Everything that the open epoch does not hold."""
        self.learned: dict[str, PhaseUsage] = {}
        """Each phase over all complete epochs but the first."""
        self.first: dict[str, PhaseUsage] = {}
        """Each phase in the first epoch: better than nothing while it is the only one."""
        self.learned_epochs = 0
        self.durations_s = Spread()
        self.recent: deque[tuple[float, float]] = deque(maxlen=3)
        """(covering usage, mean) of the last three learned epochs."""
        self.complete = 0
        """Epochs closed since the ledger was opened, the first one included."""
        self.phase = OTHER
        self.seen: set[str] = set()
        """Every phase that ever ran."""
        self.current: dict[str, PhaseUsage] = {}
        """The open epoch."""
        self._epoch_began_s: float | None = None
        self._phase_began_s: float | None = None

    def add(self, value: float, weight_s: float) -> None:
        """Book one reading to the phase that is running."""
        self._running().counter.add(value, weight_s)

    def whole(self) -> Counter:
        """Return everything, what was used before the ledger was opened included."""
        return Counter.total((self._before, *(usage.counter for usage in self.current.values())))

    def enter(self, name: str, time_s: float) -> None:
        """Begin a phase; what ran before it ends."""
        self._book_time(time_s)
        known = name in self.seen or len(self.seen) < MAX_PHASES
        self.phase = name if known else OTHER
        if self.phase != OTHER:
            self.seen.add(self.phase)

    def begin_epochs(self, time_s: float) -> None:
        """Begin the first epoch: what was before belongs to none."""
        self._before, self.current = self.whole(), {}
        self._epoch_began_s = self._phase_began_s = time_s

    def close_epoch(self, time_s: float, count: int = 1) -> None:
        """End an epoch (or several with nothing between them) and begin the next."""
        self._book_time(time_s)
        began_s, self._epoch_began_s = self._epoch_began_s, time_s
        self._before = self.whole()
        current, self.current = self.current, {}
        first = self.complete == 0
        self.complete += count
        if first or began_s is None:
            self.first = current
            return
        self.learned_epochs += count
        for name, usage in current.items():
            learned = self.learned.setdefault(name, PhaseUsage())
            learned.counter.merge(usage.counter)
            learned.seconds += usage.seconds
        whole = Counter.total(usage.counter for usage in current.values())
        for _ in range(count):
            self.durations_s.add((time_s - began_s) / count)
            if whole.seconds > 0.0:
                self.recent.append(whole.figures(self._coverage))

    def _usages(self) -> dict[str, PhaseUsage]:
        """Return what each phase used, of the first epoch while no other is known."""
        return self.learned or self.first

    def usual_s(self) -> dict[str, float]:
        """Return how long each phase of an epoch lasts."""
        epochs = self.learned_epochs if self.learned else 1
        return {name: usage.seconds / epochs for name, usage in self._usages().items()}

    def open_s(self, now_s: float) -> dict[str, float]:
        """Return how much of each phase is still to come in the open epoch."""
        usual_s = self.usual_s().items()
        return {name: max(0.0, each_s - self.elapsed_s(name, now_s)) for name, each_s in usual_s}

    def mix(self, phases_s: Mapping[str, float]) -> Counter:
        """Return what phases use in so many seconds each."""
        pool = Counter()
        for name, usage in self._usages().items():
            if usage.counter.seconds > 0.0:
                pool.merge(usage.counter, phases_s[name] / usage.counter.seconds)
        return pool

    def nearly(self, share: float, now_s: float) -> tuple[float, float] | None:
        """Return the figures of the open epoch as if it ended as the learned ones did.

        They are (covering usage, mean), as `recent`; None before so large a share of an epoch's
        usual time was seen of it.
        """
        usual_s, open_s = sum(self.usual_s().values()), self.open_s(now_s)
        seen_s = usual_s - sum(open_s.values())
        if not self.learned or seen_s <= 0.0 or seen_s < share * usual_s:
            return None
        whole = Counter.total(usage.counter for usage in self.current.values())
        whole.merge(self.mix(open_s))
        return whole.figures(self._coverage) if whole.seconds > 0.0 else None

    def elapsed_s(self, name: str, now_s: float) -> float:
        """Return how long a phase has run in the open epoch."""
        usage = self.current.get(name)
        booked_s = usage.seconds if usage else 0.0
        if name != self.phase or self._phase_began_s is None:
            return booked_s
        return booked_s + now_s - self._phase_began_s

    def _running(self) -> PhaseUsage:
        found = self.current.get(self.phase)
        if found is None:
            found = self.current[self.phase] = PhaseUsage()
        return found

    def _book_time(self, time_s: float) -> None:
        if self._phase_began_s is not None and time_s > self._phase_began_s:
            self._running().seconds += time_s - self._phase_began_s
        self._phase_began_s = time_s


class Spread:
    """Count, mean and variance of numbers that are not kept (Welford)."""

    __slots__ = ("_squares", "count", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, value: float) -> None:
        """Take one number."""
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self._squares += step * (value - self.mean)

    def variance(self) -> float:
        """Return the sample variance; 0 for fewer than two numbers."""
        return self._squares / (self.count - 1) if self.count > 1 else 0.0


def rest_of_epochs(expected_s: float, epochs_left: float, durations_s: Spread) -> Remaining:
    """Return the rest with a prediction interval for the sum of the epochs to come.

    `epochs_left`, at least 0, are not complete; `durations_s` are those of the learned epochs.
    """
    count = durations_s.count
    if count < 2:
        return Remaining(expected_s, None, None)
    freedom = count - 1
    if freedom <= len(STUDENT_975):
        student = STUDENT_975[freedom - 1]
    else:  # first Cornish-Fisher term
        student = NORMAL_975 + (NORMAL_975**3 + NORMAL_975) / (4 * freedom)
    variance = durations_s.variance() * (epochs_left + epochs_left**2 / count)
    half_s = student * math.sqrt(variance)
    return Remaining(expected_s, max(0.0, expected_s - half_s), expected_s + half_s)


class StepPace:
    """Times steps from marks (time, steps done) of any spacing, in bounded memory."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []
        self._total = math.nan

    def update(self, time_s: float, done: float, total: float | None) -> None:
        """Take a mark; a count that falls begins a new loop."""
        if self._marks and done < self._marks[-1][1]:
            self._marks = []
        if self._marks and done == self._marks[-1][1]:
            return
        self._total = math.nan if total is None else total
        self._marks.append((time_s, done))
        if len(self._marks) > MAX_MARKS:
            self._marks = self._marks[::2] if len(self._marks) % 2 else self._marks[1::2]

    def remaining(self, now_s: float) -> Remaining | None:
        """Return the rest; None while the total is not known or too few steps were seen."""
        if math.isnan(self._total) or len(self._marks) < 3:
            return None
        last_s, done = self._marks[-1]
        from_step = done - max(LAST_SHARE * (done - self._marks[0][1]), 1.0)
        first = next(i for i, (_, step) in enumerate(self._marks) if step >= from_step)
        used = self._marks[max(0, min(first, len(self._marks) - 3)) :]
        per_step_s = sorted((b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(used))
        left, since_s = max(0.0, self._total - done), now_s - last_s

        def rest_s(share: float) -> float:
            """Return the rest at the pace that this share of the steps kept."""
            each_s = per_step_s[min(len(per_step_s) - 1, int(share * len(per_step_s)))]
            return max(0.0, left * each_s - since_s)

        if len(per_step_s) < 5:
            return Remaining(rest_s(0.5), None, None)
        return Remaining(rest_s(0.5), rest_s(0.05), rest_s(0.95))


class Course:
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
        self.waiting: deque[Mark] = deque()
        """Marks that no reading has passed yet, oldest first."""
        self._last: dict[str, Progress] = {}

    def expect(self, mark: Mark) -> None:
        """Queue a mark, if its hint is the one to believe."""
        if self._authority.accepts(mark):
            self.waiting.append(mark)

    def pass_marks(self, time_s: float) -> Iterator[tuple[float, Estimate | None]]:
        """Let the marks before a time take effect; yields when, and what the rule fires with it."""
        while self.waiting and self.waiting[0].time_s < time_s:
            mark = self.waiting.popleft()
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
