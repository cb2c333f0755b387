"""A share tried out: the function run again under it and without it, in turn."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.errors import InvalidOption, TraceError, VerifyRefused
from jupyter_gpupredict.core.progress import Authority, Mark, Phase
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.recommendation import Verified
from jupyter_gpupredict.core.threads import within
from jupyter_gpupredict.mps.child import Child
from jupyter_gpupredict.mps.directory import members
from jupyter_gpupredict.mps.lease import Host, hosted
from jupyter_gpupredict.predict import slowdown
from jupyter_gpupredict.run.sidecars import VerifiedStore
from jupyter_gpupredict.run.store import STORE_S, build_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jupyter_gpupredict.core.recommendation import Method, Unit
    from jupyter_gpupredict.mps.isolation import Subject
    from jupyter_gpupredict.mps.states import Fault

PAIRS = 4
SHARES = (100, 70, 50, 35, 25, 15, 10)
"""What a sweep tries (gpu.md, section 3)."""
SECONDS = 30.0
SILENT_S = 60.0
"""A function without progress by then is waited for no longer than its bound."""
LONGEST_S = 600.0
"""For a run that is bounded by steps."""
START_S = 60.0
"""For the process itself to start, on a busy machine or from a cold disk."""
UNWIND_S = 10.0
WARM_RATIO = 0.1
"""This share of the bound is let pass before the clock starts: caches, compilers, clocks."""
FEWEST = 2
"""Steps or epochs that make a speed."""
_UNITS: tuple[Unit, ...] = ("step", "epoch", "run")


@dataclass(frozen=True, slots=True)
class Bound:
    """How far each run goes.

    Raises:
        InvalidOption: A value is out of range.
    """

    steps: int | None = None
    """Steps (or epochs, where nothing reports steps) to count after the warm-up."""
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
        return (self.steps_per_s, self.epochs_per_s, self.runs_per_s)[_UNITS.index(unit)]


@dataclass(frozen=True, slots=True)
class Verification:
    """What the runs said, of one share or of several."""

    record: Verified | None
    """What is kept of it; None: no share kept the speed in a sweep."""
    ratios: Mapping[int, float]
    """Percentage -> speed as a part of the uncapped one; 100 is among them."""
    trials: tuple[Trial, ...]
    unit: Unit
    knee: slowdown.Knee | None = None
    """Of a sweep."""
    stored: str = ""
    """Why it was not stored; empty when it was."""


def verify(
    subject: Subject,
    percent: int,
    bound: Bound,
    pairs: int = PAIRS,
    *,
    on_trial: Callable[[Trial], None] = lambda _: None,
    host: Host | None = None,
) -> Verification:
    """Run a function at a share and without one, in pairs, and say how much speed it keeps.

    Args:
        subject: The function.
        percent: The share, 1..99.
        bound: How far each run goes.
        pairs: How many, at least two.
        on_trial: Called after each run.
        host: Where MPS is; None: what is here.

    Raises:
        InvalidOption: A value is out of range.
        MpsError: There is no MPS.
        VerifyRefused: Its speed is not known, or it failed.
        KeyboardInterrupt: Nothing is stored.
    """
    if not 1 <= percent <= 99:
        raise InvalidOption(f"--at {percent} is out of range", "1 to 99: 100 is not capped")
    if not 2 <= pairs <= 100:
        raise InvalidOption(f"--pairs {pairs} is out of range", "2 to 100: one has no interval")
    with hosted(subject.device, host) as ready:
        runs = _Runs(subject, bound, ready, on_trial)
        speeds = runs.all((100, percent), pairs)
    found = slowdown.compare(speeds[percent], speeds[100])
    kept = found.low >= slowdown.KEPT
    record = runs.record("verify", percent, (found.value, found.low, found.high), kept=kept)
    ratios = {100: 1.0, percent: found.value}
    return Verification(record, ratios, tuple(runs.trials), runs.unit, stored=_store(record))


def sweep(
    subject: Subject,
    shares: Sequence[int],
    bound: Bound,
    *,
    on_trial: Callable[[Trial], None] = lambda _: None,
    host: Host | None = None,
) -> Verification:
    """Run a function at several shares, down and up again, and find where it begins to lose speed.

    The largest share that did not keep the speed is stored, too: it takes back what was kept.
    To `shares`, which are percentages, 100 is added. All else, and the errors, are as for `verify`.
    """
    if not shares or not all(1 <= one <= 100 for one in shares):
        raise InvalidOption(f"--at {','.join(map(str, shares))}", "percentages, 1 to 100")
    chosen = tuple(sorted({100, *shares}, reverse=True))
    if len(chosen) < 2:
        raise InvalidOption("--at 100 compares nothing", "--at 70,50,35")
    with hosted(subject.device, host) as ready:
        runs = _Runs(subject, bound, ready, on_trial)
        speeds = runs.all(chosen, 2)
    means = {p: math.exp(sum(map(math.log, of)) / len(of)) for p, of in speeds.items()}
    ratios = {p: mean / means[100] for p, mean in means.items()}
    knee = slowdown.knee(ratios)

    def found(percent: int, *, kept: bool) -> Verified:
        passes = [a / b for a, b in zip(speeds[percent], speeds[100], strict=True)]
        return runs.record("sweep", percent, (ratios[percent], min(passes), max(passes)), kept=kept)

    failed = max((p for p, ratio in ratios.items() if ratio < slowdown.KEPT), default=None)
    records = [] if failed is None else [found(failed, kept=False)]
    record = None
    if knee.measured is not None and knee.measured < 100:
        record = found(knee.measured, kept=True)
        records.append(record)
    return Verification(record, ratios, tuple(runs.trials), runs.unit, knee, _store(*records))


@dataclass
class _Runs:
    """The runs of one verify or sweep."""

    subject: Subject
    bound: Bound
    host: Host
    on_trial: Callable[[Trial], None]
    trials: list[Trial] = field(default_factory=list)
    unit: Unit = "run"
    rounds: int = 0

    def all(self, shares: Sequence[int], rounds: int) -> dict[int, list[float]]:
        """Run every share once a round; every other round goes backwards.

        Returns:
            Percentage -> its speeds, in `unit`.
        """
        self.rounds = rounds
        for number in range(rounds):
            for percent in shares if number % 2 == 0 else reversed(shares):
                trial = self._run(percent)
                self._refuse(trial)
                self.trials.append(trial)
                self.on_trial(trial)
        for percent in shares:
            counts = sorted({one.sm_count or 0 for one in self.trials if one.percent == percent})
            if len(counts) > 1:
                raise VerifyRefused(
                    f"at {percent} % the runs were given {' and '.join(map(str, counts))} SMs",
                    "something changed the limits in between; try again",
                )
        unit = common_unit(self.trials)
        if unit is None:
            raise VerifyRefused(
                "some runs finished and others reported steps only: they cannot be compared",
                "give each the same work: --steps, or a longer --seconds",
            )
        self.unit = unit
        speeds: dict[int, list[float]] = {}
        for trial in self.trials:
            speed = trial.speed(unit)
            assert speed is not None  # noqa: S101 - the unit is common to all
            speeds.setdefault(trial.percent, []).append(speed)
        return speeds

    def _run(self, percent: int) -> Trial:
        """Run the function until its bound, and end it."""
        lease = self.host.lease(percent, None)  # 100 too: else a cap of the kernel's is inherited
        environ = lease.environment(os.environ)
        if self.host.device_uuid:
            environ["CUDA_VISIBLE_DEVICES"] = self.host.device_uuid  # also at a joined daemon
        bound, count = self.bound, Count(self.bound)
        child = Child(
            self.subject.program,
            environ,
            on_output=lambda _stream, _text: None,
            on_mark=count.take,
            before_signal=lease.before_signal,
        )
        try:
            child.start()
            child.go()
            ended = child.wait(time.monotonic() + START_S, lambda: child.began_s is not None)
            if ended is None:
                ended = child.wait(time.monotonic() + bound.patience_s, lambda: count.begun)
            if ended is None and count.begun:
                longest_s = max(LONGEST_S, 2.0 * bound.limit_s)
                ended = child.wait(time.monotonic() + longest_s, lambda: count.enough)
            seen, _ = lease.attached(members(child.pid))
            if ended is None:
                child.interrupt()
                stopped = child.wait(time.monotonic() + UNWIND_S)
                sm_count = stopped.sm_count if stopped is not None else None
                return Trial(percent, *count.speeds(), None, sm_count, None, seen)
            runs = 1.0 / ended.took_s if ended.outcome == "completed" and ended.took_s > 0 else None
            return Trial(percent, *count.speeds(), runs, ended.sm_count, ended.error, seen)
        finally:
            child.stop()

    def _refuse(self, trial: Trial) -> None:
        """Refuse a run that failed, that has no speed, or whose share may not have been applied.

        A process that does not reach its daemon runs on without a cap, and without a word. So the
        SMs that CUDA gave decide: all of them without a cap, and fewer under one.
        """
        given, whole, at = trial.sm_count, self.host.device_sm_count, f"at {trial.percent} %"
        if trial.fault is not None:
            message = f": {trial.fault.message}" if trial.fault.message else ""
            raised = f"{at} the function raised {trial.fault.name}{message}"[:500]
            raise VerifyRefused(raised, "nothing was verified")
        if trial.attached is False:
            raise VerifyRefused(
                f"{at} the function's process was not seen as a client of MPS: its share may not "
                "have been applied",
                "it has to start CUDA itself, in that process; see %gpupredict mps status",
            )
        if given is None or whole is None:
            what = "CUDA gave" if given is None else "the device has"
            raise VerifyRefused(
                f"{at} it is not known how many SMs {what}: its share may not have been applied",
                "the function has to start CUDA itself, and the driver to be new enough",
            )
        if trial.percent == 100 and given != whole:
            raise VerifyRefused(
                f"the run without a cap was given {given} of {whole} SMs: something else limits it",
                "a default percentage of the daemon, or a partition in CUDA_MPS_SM_PARTITION",
            )
        if trial.percent < 100 and given >= whole:
            raise VerifyRefused(
                f"{at} the function was given all of the {whole} SMs: its share was not applied",
                "see %gpupredict mps status; a share that rounds up to all does not cap",
            )
        if common_unit([trial]) is None:
            raise VerifyRefused(
                f"{at} the function reported no steps, and did not finish in "
                f"{self.bound.patience_s:g} s: its speed is not known",
                "mark its loop with track(), or give it longer: --seconds",
            )

    def record(
        self, method: Method, percent: int, ratios: tuple[float, float, float], *, kept: bool
    ) -> Verified:
        """Return what is kept of one share; `ratios` is the speed's, and the interval's ends."""
        return Verified(
            percent=percent,
            kept=kept,
            speed_ratio=ratios[0],
            low_ratio=ratios[1],
            high_ratio=ratios[2],
            method=method,
            pairs=self.rounds,
            unit=self.unit,
            code_hash=self.subject.code_hash,
            device=self.host.device_name,
            driver=self.host.driver,
            session_id=self.subject.session_id,
            at=SystemClock().wall().isoformat(timespec="seconds"),
            sm_count=next(one.sm_count for one in self.trials if one.percent == percent),
            tool_version=__version__,
        )


def _store(*records: Verified) -> str:
    """Store what was found; returns why it could not be stored."""
    store = build_store()

    def add() -> None:
        store.prepare()
        for record in records:
            VerifiedStore(store.root).add(record)

    try:
        within(STORE_S, add)
    except (OSError, TraceError) as error:
        return str(error)
    return ""


def common_unit(trials: Sequence[Trial]) -> Unit | None:
    """Return what all runs can be counted in, the finest first; None: nothing."""
    for unit in _UNITS:
        if trials and all(trial.speed(unit) is not None for trial in trials):
            return unit
    return None


class Count:
    """Counts steps and epochs of a run from its marks, after a warm-up."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._authority = Authority()
        self._lines: dict[str, _Line] = {"step": _Line(bound), "epoch": _Line(bound)}

    def take(self, mark: Mark) -> None:
        """Take the next mark."""
        if not isinstance(mark, Phase) and self._authority.accepts(mark):
            self._lines[mark.unit].add(mark.time_s, mark.done)

    @property
    def begun(self) -> bool:
        """Whether there is any progress to count."""
        return any(line.first_s is not None for line in self._lines.values())

    @property
    def enough(self) -> bool:
        """Whether the bound is reached: in steps, or in epochs where there are no steps."""
        unit = "epoch" if self._lines["step"].first_s is None else "step"
        took_s, count = self._lines[unit].counted() or (0.0, 0.0)
        if self._bound.steps is not None:
            return count >= self._bound.steps
        return took_s >= self._bound.limit_s and count >= FEWEST

    def speeds(self) -> tuple[float | None, float | None]:
        """Return steps and epochs a second; None where too few were counted."""
        return self._lines["step"].speed(), self._lines["epoch"].speed()


class _Line:
    """How many of one kind were complete when; loops that begin anew are added up."""

    def __init__(self, bound: Bound) -> None:
        self._warm_count = 1.0 if bound.steps is None else max(1.0, WARM_RATIO * bound.steps)
        self._warm_s = WARM_RATIO * bound.limit_s if bound.steps is None else 0.0
        self.first_s: float | None = None
        self._done = 0.0
        self._warm: tuple[float, float] | None = None
        self._last = (0.0, 0.0)

    def add(self, time_s: float, done: float) -> None:
        total = self._last[1] + (done - self._done if done >= self._done else done)
        if self.first_s is None:
            self.first_s, total = time_s, 0.0
        self._done, self._last = done, (time_s, total)
        warm = total >= self._warm_count and time_s - self.first_s >= self._warm_s
        if self._warm is None and warm:
            self._warm = self._last

    def counted(self) -> tuple[float, float] | None:
        """Return seconds and count since the warm-up ended; None: it has not."""
        if self._warm is None:
            return None
        return self._last[0] - self._warm[0], self._last[1] - self._warm[1]

    def speed(self) -> float | None:
        took_s, count = self.counted() or (0.0, 0.0)
        return count / took_s if count >= FEWEST and took_s > 0.0 else None
