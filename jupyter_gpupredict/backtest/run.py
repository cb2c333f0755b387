"""Takes many traces through many rules.

Every rule goes through a trace as `jupyter gpupredict predict` does. A trace that cannot be read is
named and left out; it never ends the others.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.backtest.baselines import BASELINES
from jupyter_gpupredict.backtest.score import Answer, Scored, score, truth
from jupyter_gpupredict.backtest.spread import Where, spread
from jupyter_gpupredict.core.errors import (
    GpuPredictError,
    InvalidOption,
    PredictionError,
    TraceError,
    UnknownName,
)
from jupyter_gpupredict.run import predict_recording, rule_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.backtest.cases import Case
    from jupyter_gpupredict.backtest.score import Truth
    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.sources.recording import Trace

HINTED = "+hints"
"""Ending of a rule's name: the run's progress is told to it, where it is known."""


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


def known_rules() -> tuple[str, ...]:
    """Return every name that `backtest` takes: our rules, then the baselines."""
    return (*rule_names(), *BASELINES)


def backtest(
    cases: Sequence[Case],
    rules: Sequence[str],
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Return how every rule fares on every run.

    Args:
        cases: The runs.
        rules: Names of `known_rules()`; ours may end in `+hints`.
        jobs: Worker processes; 1: none, in this one; None: one for each core.
        scheduler: As `spread.Where`.
        progress: Called with (done, all) at the start and after each run or some of them.

    Raises:
        UnknownName: No such rule.
        InvalidOption: No rule, `jobs` is below 1, or no scheduler.
        GpuPredictError: As `spread`.
    """
    chosen = tuple(dict.fromkeys(rules))
    check_rules(chosen)
    taken: list[Taken | None] = [None] * len(cases)
    done = 0
    tell = progress or (lambda done, every: None)
    tell(0, len(cases))
    work = functools.partial(take_some, rules=chosen)
    where = Where(jobs, scheduler)
    for place, some in spread(work, cases, where, _lost, weigh=lambda case: case.weight):
        taken[place : place + len(some)] = some
        done += len(some)
        tell(done, len(cases))
    return Report(chosen, tuple(one for one in taken if one is not None))


def check_rules(rules: Sequence[str]) -> None:
    """Raise where a name is no rule's.

    Raises:
        UnknownName: No such rule.
        InvalidOption: There is none.
    """
    if not rules:
        raise InvalidOption("no rule was named", "--rules default,accurate")
    for rule in rules:
        if rule.removesuffix(HINTED) not in rule_names() and rule not in BASELINES:
            raise UnknownName("rule", rule, known_rules())


def predict(rule: str, trace: Trace, marks: Sequence[Mark], run: Truth) -> Answer:
    """Return what one rule says of one trace, reading it causally.

    Raises:
        GpuPredictError: It gives no answer.
    """
    if rule in BASELINES:
        baseline = BASELINES[rule]
        found = predict_recording(
            trace, rule=lambda period_s: baseline.make(run, period_s), guard=False
        )
    else:
        told = marks if rule.endswith(HINTED) else ()
        found = predict_recording(trace, rule=rule.removesuffix(HINTED), marks=told)
    return Answer.of(found)


def take_some(cases: Sequence[Case], rules: Sequence[str]) -> list[Taken]:
    """Return how the rules fare on some runs."""
    return [take(case, rules) for case in cases]


def _lost(case: Case, why: str) -> Taken:
    return Taken(case.id, problem=why)


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
