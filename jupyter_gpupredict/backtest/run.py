"""Takes many traces through many rules, on several processes if there are that many cores.

Every rule goes through a trace as `jupyter gpupredict predict` does. A trace that cannot be read is
named and left out; it never ends the others.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict import config
from jupyter_gpupredict.backtest.baselines import BASELINES
from jupyter_gpupredict.backtest.score import Answer, Scored, score, truth
from jupyter_gpupredict.core.errors import (
    GpuPredictError,
    InvalidOption,
    PredictionError,
    TraceError,
    UnknownName,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from jupyter_gpupredict.backtest.cases import Case
    from jupyter_gpupredict.backtest.score import Truth
    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.recording import Trace

HINTED = "+hints"
"""Ending of a rule's name: the run's progress is told to it, where it is known."""
_TASKS_A_WORKER = 1_000_000
"""Never reached; that it is given makes workers start fresh instead of by fork, which is unsafe
in a process that has threads."""
_ORPHAN_CHECK_S = 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rule on one run."""

    rule: str
    scored: Scored
    answer: Answer
    error: str = ""
    """Why the rule gave no answer; it is then scored as if it had abstained."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Everything about one run."""

    id: str
    outcomes: tuple[Outcome, ...] = ()
    active_s: float = 0.0
    problem: str = ""
    """Why it could not be read."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about all runs, in the order they were given."""

    rules: tuple[str, ...]
    taken: tuple[Taken, ...]

    def outcomes(self, rule: str) -> tuple[Outcome, ...]:
        """Return one rule's outcomes."""
        return tuple(o for one in self.taken for o in one.outcomes if o.rule == rule)

    def scored(self, rule: str) -> tuple[Scored, ...]:
        """Return one rule's scores."""
        return tuple(outcome.scored for outcome in self.outcomes(rule))

    @property
    def runs(self) -> tuple[Taken, ...]:
        """The runs that were scored."""
        return tuple(one for one in self.taken if one.outcomes)

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """Name and reason of each trace that was left out."""
        return tuple((one.id, one.problem) for one in self.taken if one.problem)

    @property
    def idle(self) -> tuple[str, ...]:
        """Names of the traces in which the device was never used."""
        return tuple(one.id for one in self.taken if not one.outcomes and not one.problem)


def rule_names() -> tuple[str, ...]:
    """Return every name that `backtest` takes: our rules, then the baselines."""
    return (*config.rule_names(), *BASELINES)


def backtest(
    cases: Sequence[Case],
    rules: Sequence[str],
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Return how every rule fares on every run.

    Args:
        cases: The runs.
        rules: Names of `rule_names()`; ours may end in `+hints`.
        jobs: Worker processes; 1: none, in this one; None: one for each core.
        progress: Called with (done, all) at the start and after each run.

    Raises:
        UnknownName: No such rule.
        InvalidOption: No rule, or `jobs` is below 1.
        GpuPredictError: A worker process was killed.
    """
    chosen = tuple(dict.fromkeys(rules))
    check_rules(chosen)
    if jobs is not None and jobs < 1:
        raise InvalidOption(f"--jobs {jobs} is out of range", "1 or more")
    workers = min(jobs or len(os.sched_getaffinity(0)), len(cases))
    taken: dict[int, Taken] = {}
    tell = progress or (lambda done, every: None)
    tell(0, len(cases))
    results = _in_turn(cases, chosen) if workers <= 1 else _side_by_side(cases, chosen, workers)
    for place, one in results:
        taken[place] = one
        tell(len(taken), len(cases))
    return Report(chosen, tuple(taken[place] for place in range(len(cases))))


def check_rules(rules: Sequence[str]) -> None:
    """Raise where a name is no rule's.

    Raises:
        UnknownName: No such rule.
        InvalidOption: There is none.
    """
    if not rules:
        raise InvalidOption("no rule was named", "--rules default,accurate")
    for rule in rules:
        if rule.removesuffix(HINTED) not in config.rule_names() and rule not in BASELINES:
            raise UnknownName("rule", rule, rule_names())


def predict(rule: str, trace: Trace, marks: Sequence[Mark], run: Truth) -> Answer:
    """Return what one rule says of one trace, reading it causally.

    Raises:
        GpuPredictError: It gives no answer.
    """
    if rule in BASELINES:
        baseline = BASELINES[rule]
        found = config.predict_recording(
            trace, rule=lambda period_s: baseline.make(run, period_s), guard=False
        )
    else:
        told = marks if rule.endswith(HINTED) else ()
        found = config.predict_recording(trace, rule=rule.removesuffix(HINTED), marks=told)
    return Answer.of(found)


def take(case: Case, rules: Sequence[str]) -> Taken:
    """Return how the rules fare on one run."""
    try:
        trace, marks = case.load()
        run = truth(trace)
    except (TraceError, PredictionError) as error:
        return Taken(case.id, problem=str(error))
    if run.idle:
        return Taken(case.id)
    outcomes = []
    for rule in rules:
        why = ""
        try:
            answer = predict(rule, trace, marks, run)
        except GpuPredictError as error:
            answer, why = Answer.none(run), str(error)
        scored = Scored(case.id, case.group, case.family, score(run, answer))
        outcomes.append(Outcome(rule, scored, answer, why))
    return Taken(case.id, tuple(outcomes), run.active_s)


def _in_turn(cases: Sequence[Case], rules: Sequence[str]) -> Iterator[tuple[int, Taken]]:
    for place, case in enumerate(cases):
        yield place, take(case, rules)


def _side_by_side(
    cases: Sequence[Case], rules: Sequence[str], workers: int
) -> Iterator[tuple[int, Taken]]:
    pool = ProcessPoolExecutor(
        workers,
        initializer=_start_worker,
        initargs=(os.getpid(),),
        max_tasks_per_child=_TASKS_A_WORKER,
    )
    try:
        places = {pool.submit(take, case, rules): place for place, case in enumerate(cases)}
        for future in as_completed(places):
            yield places[future], future.result()
    except BrokenProcessPool as error:
        raise GpuPredictError(
            "a worker process was killed", "too little memory? --jobs 1"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone without a word."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def look(_signum: int, _frame: FrameType | None) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _ORPHAN_CHECK_S, _ORPHAN_CHECK_S)
