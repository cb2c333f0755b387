"""What each epoch and phase of a run used and how long it took, in memory that does not grow."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from jupyter_gpupredict.core.progress import OTHER
from jupyter_gpupredict.predict.counter import Counter

MAX_PHASES = 32
"""More names than this count as `other`: a loop that makes them up must not make us grow."""


@dataclass(slots=True)
class Law:
    """What one phase used, and for how long it ran."""

    counter: Counter = field(default_factory=Counter)
    """Usage, weighted by the seconds that have readings."""
    seconds: float = 0.0
    """Time by the clock, from mark to mark: holes in the readings do not shorten a phase."""

    def merge(self, other: Law) -> None:
        """Add another law of the same phase."""
        self.counter.merge(other.counter)
        self.seconds += other.seconds


@dataclass(frozen=True, slots=True)
class EpochFigures:
    """One complete epoch in three numbers."""

    covering_ratio: float
    mean_ratio: float
    seconds: float


class PhaseLedger:
    """Books readings to the current epoch and phase, and closes epochs.

    The first epoch, which is cold or was not seen from its beginning, is closed but not learned.
    """

    def __init__(self, coverage: float) -> None:
        self._coverage = coverage
        self.whole = Counter()
        """Everything since the ledger was opened."""
        self.learned: dict[str, Law] = {}
        """Each phase over all complete epochs but the first."""
        self.first: dict[str, Law] = {}
        """Each phase in the first epoch: better than nothing while it is the only one."""
        self.learned_epochs = 0
        self.durations_s = Spread()
        self.recent: deque[EpochFigures] = deque(maxlen=2)
        """The last two learned epochs."""
        self.complete = 0
        """Epochs closed since the ledger was opened, the first one included."""
        self.phase = OTHER
        self.seen: set[str] = set()
        """Every phase that ever ran."""
        self.current: dict[str, Law] = {}
        """The open epoch."""
        self._epoch_began_s: float | None = None
        self._phase_began_s: float | None = None

    def add(self, value: float, weight_s: float) -> None:
        """Book one reading to the phase that is running."""
        self.whole.add(value, weight_s)
        self._law().counter.add(value, weight_s)

    def enter(self, name: str, time_s: float) -> None:
        """Begin a phase; what ran before it ends."""
        self._book_time(time_s)
        known = name in self.seen or len(self.seen) < MAX_PHASES
        self.phase = name if known else OTHER
        if self.phase != OTHER:
            self.seen.add(self.phase)

    def begin_epochs(self, time_s: float) -> None:
        """Begin the first epoch: what was before belongs to none."""
        self.current = {}
        self._epoch_began_s = self._phase_began_s = time_s

    def close_epoch(self, time_s: float, count: int = 1) -> None:
        """End an epoch (or several that nobody told apart) and begin the next."""
        self._book_time(time_s)
        began_s, self._epoch_began_s = self._epoch_began_s, time_s
        current, self.current = self.current, {}
        first = self.complete == 0
        self.complete += count
        if first or began_s is None:
            self.first = current
            return
        self.learned_epochs += count
        whole = Counter()
        for name, law in current.items():
            self.learned.setdefault(name, Law()).merge(law)
            whole.merge(law.counter)
        for _ in range(count):
            self.durations_s.add((time_s - began_s) / count)
            if whole.seconds > 0.0:
                figures = EpochFigures(
                    whole.covering_ratio(self._coverage),
                    whole.mean_ratio(),
                    (time_s - began_s) / count,
                )
                self.recent.append(figures)

    def elapsed_s(self, name: str, now_s: float) -> float:
        """Return how long a phase has run in the open epoch."""
        law = self.current.get(name)
        booked_s = law.seconds if law else 0.0
        if name != self.phase or self._phase_began_s is None:
            return booked_s
        return booked_s + now_s - self._phase_began_s

    def _law(self) -> Law:
        return self.current.setdefault(self.phase, Law())

    def _book_time(self, time_s: float) -> None:
        if self._phase_began_s is not None and time_s > self._phase_began_s:
            self._law().seconds += time_s - self._phase_began_s
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
