"""One run of a function under a share, for a bounded time, and how fast it was."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.progress import Authority, Mark, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jupyter_gpupredict.core.share import Unit
    from jupyter_gpupredict.mps.child import Child
    from jupyter_gpupredict.mps.states import Fault

SHARES = (100, 70, 50, 35, 25, 15, 10)
"""What a sweep tries (gpu.md, section 3)."""
SECONDS = 30.0
SILENT_S = 60.0
"""A function that has told of no progress by then is waited for no longer than its bound."""
LONGEST_S = 600.0
"""For a run that is bounded by steps."""
START_S = 60.0
"""For the process itself to start, on a busy machine or from a cold disk."""
UNWIND_S = 10.0
WARM_RATIO = 0.1
"""This share of the bound is let pass before the clock starts: caches, compilers, clocks."""
FEWEST = 2
"""Steps or epochs that make a speed."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How far each run goes.

    Raises:
        InvalidOption: A value is out of range.
    """

    steps: int | None = None
    """Steps (or epochs, where nothing tells of steps) to count after the warm-up."""
    seconds: float | None = None
    """Or seconds to count for."""

    def __post_init__(self) -> None:
        """Check both."""
        if self.steps is not None and not FEWEST <= self.steps <= 10_000_000:
            raise InvalidOption(f"--steps {self.steps} is out of range", f"at least {FEWEST}")
        if self.seconds is not None and not 0.5 <= self.seconds <= 86_400.0:
            raise InvalidOption(f"--seconds {self.seconds:g} is out of range", "0.5 to 86400")

    @property
    def limit_s(self) -> float:
        """Seconds that a run may count for."""
        if self.seconds is not None:
            return self.seconds
        return SECONDS if self.steps is None else LONGEST_S

    @property
    def patience_s(self) -> float:
        """Seconds for the first sign of progress, or for the whole of a run that gives none."""
        return max(self.limit_s, SILENT_S) if self.seconds is None else self.limit_s


@dataclass(frozen=True, slots=True)
class Trial:
    """What one run showed."""

    percent: int
    """Its share; 100: not capped."""
    steps_per_s: float | None
    epochs_per_s: float | None
    runs_per_s: float | None
    """One over the time to finish; None: it did not finish, or was stopped at its bound."""
    sm_count: int | None
    fault: Fault | None
    """What it raised; None when it went well, or was stopped at its bound."""
    attached: bool | None
    """Whether it was a client of MPS while it ran; None: that cannot be shown."""

    def speed(self, unit: Unit) -> float | None:
        """Return its speed counted in this unit."""
        speeds: dict[Unit, float | None] = {
            "step": self.steps_per_s,
            "epoch": self.epochs_per_s,
            "run": self.runs_per_s,
        }
        return speeds[unit]


class Count:
    """Counts steps and epochs of a run from its marks, after a warm-up."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._chair = Authority()
        self._lines: dict[str, _Line] = {"step": _Line(), "epoch": _Line()}

    def take(self, mark: Mark) -> None:
        """Take the next mark."""
        if not isinstance(mark, Phase) and self._chair.accepts(mark):
            self._lines[mark.unit].add(mark.time_s, mark.done)

    @property
    def heard(self) -> bool:
        """Whether there is any progress to count."""
        return any(line.points for line in self._lines.values())

    @property
    def enough(self) -> bool:
        """Whether the bound is reached: in steps, or in epochs where there are no steps."""
        line = self._lines["step"] if self._lines["step"].points else self._lines["epoch"]
        found = line.after_warm_up(self._bound)
        if found is None:
            return False
        took_s, count = found
        if self._bound.steps is not None:
            return count >= self._bound.steps
        return took_s >= self._bound.limit_s and count >= FEWEST

    def speeds(self) -> tuple[float | None, float | None]:
        """Return steps and epochs a second; None where too few were counted."""
        return (
            self._lines["step"].speed(self._bound),
            self._lines["epoch"].speed(self._bound),
        )


class _Line:
    """How many of one kind were complete when; loops that begin anew are added up."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self._last = 0.0
        self._warm: tuple[float, float] | None = None

    def add(self, time_s: float, done: float) -> None:
        grown = done - self._last if done >= self._last else done
        total = self.points[-1][1] + grown if self.points else 0.0
        self._last = done
        self.points.append((time_s, total))

    def after_warm_up(self, bound: Bound) -> tuple[float, float] | None:
        """Return seconds and count since the warm-up ended; None: it has not."""
        warm = 1.0 if bound.steps is None else max(1.0, WARM_RATIO * bound.steps)
        warm_s = WARM_RATIO * bound.limit_s if bound.steps is None else 0.0
        if self._warm is None:
            first_s = self.points[0][0] if self.points else 0.0
            past = (p for p in self.points if p[1] >= warm and p[0] - first_s >= warm_s)
            self._warm = next(past, None)
        if self._warm is None:
            return None
        return self.points[-1][0] - self._warm[0], self.points[-1][1] - self._warm[1]

    def speed(self, bound: Bound) -> float | None:
        found = self.after_warm_up(bound)
        if found is None or found[1] < FEWEST or found[0] <= 0.0:
            return None
        return found[1] / found[0]


def run(
    child: Child,
    count: Count,
    bound: Bound,
    percent: int,
    attached: Callable[[int], bool | None],
) -> Trial:
    """Run a child until its bound, and end it.

    Args:
        child: Not started yet; its marks go to `count.take`.
        count: Of this run.
        bound: How far it goes.
        percent: Its share.
        attached: Whether a process group is a client of MPS; asked while it runs.

    Raises:
        ChildFailed: It cannot be started.
        KeyboardInterrupt: The user's; the child has ended then.
    """
    try:
        child.start()
        child.go()
        ended = child.wait(time.monotonic() + START_S, lambda: child.began_s is not None)
        if ended is None:
            ended = child.wait(time.monotonic() + bound.patience_s, lambda: count.heard)
        if ended is None and count.heard:
            longest_s = max(LONGEST_S, 2.0 * bound.limit_s)
            ended = child.wait(time.monotonic() + longest_s, lambda: count.enough)
        seen = attached(child.pid)
        if ended is None:
            child.interrupt()
            stopped = child.wait(time.monotonic() + UNWIND_S)
            sm_count = stopped.sm_count if stopped is not None else None
            return Trial(percent, *count.speeds(), None, sm_count, None, seen)
        runs = 1.0 / ended.took_s if ended.outcome == "completed" and ended.took_s > 0 else None
        return Trial(percent, *count.speeds(), runs, ended.sm_count, ended.error, seen)
    finally:
        child.stop()


def orders(shares: Sequence[int], rounds: int) -> Iterator[tuple[int, ...]]:
    """Yield the shares of each round, every other one backwards.

    >>> list(orders((100, 40), 4))
    [(100, 40), (40, 100), (100, 40), (40, 100)]
    """
    for number in range(rounds):
        yield tuple(shares) if number % 2 == 0 else tuple(reversed(shares))


def common_unit(trials: Sequence[Trial]) -> Unit | None:
    """Return what all runs can be counted in, the finest first; None: nothing."""
    units: tuple[Unit, ...] = ("step", "epoch", "run")
    for unit in units:
        if trials and all(trial.speed(unit) is not None for trial in trials):
            return unit
    return None
