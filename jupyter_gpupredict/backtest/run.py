"""Takes many traces through rules: one prediction for each trace, or every rule's score on it.

Every rule goes through a trace as `jupyter gpupredict predict` does. A trace that cannot be read is
named and left out; it never ends the others.

Beside our rules stand baselines: rules of other systems and of thumb, which the backtest compares
ours with. They go through a trace the same way, without a guard: none of them has one. They count
seconds in the counter of 101 bins and leave out leading idle, as ours do.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.backtest.score import Answer, Scored, score, truth
from jupyter_gpupredict.backtest.spread import Where, spread
from jupyter_gpupredict.core.errors import (
    GpuPredictError,
    InvalidOption,
    PredictionError,
    TraceError,
    UnknownName,
)
from jupyter_gpupredict.core.recommendation import Estimate
from jupyter_gpupredict.predict.windows import Counter
from jupyter_gpupredict.run import predict_recording, rule_names

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from jupyter_gpupredict.backtest.cases import Case, Recorded
    from jupyter_gpupredict.backtest.score import Truth
    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.recommendation import Recommendation
    from jupyter_gpupredict.predict import Predictor
    from jupyter_gpupredict.predict.windows import ClosedWindow
    from jupyter_gpupredict.sources.recording import Trace

    Row = dict[str, Any]

HINTED = "+hints"
"""Ending of a rule's name: it hears of the run's progress, where that is known."""
PREDICTION_KINDS = {
    "trace": "text",
    "file": "text",
    "problem": "text",
    "state": "text",
    "converged_at_s": "number",
    "metric": "text",
    "basis": "text",
    "target_pct": "whole",
    "mean_pct": "number",
    "mem_target_mib": "number",
    "mem_basis": "text",
    "mem_reason": "text",
    "preallocated": "flag",
    "coverage_target": "number",
    "confidence_n_eff": "number",
    "confidence_g_s": "number",
    "confidence_certified_pct": "whole",
    "confidence_certified": "flag",
    "confidence_required_pct": "whole",
    "confidence_level": "number",
    "confidence_lower_pct": "whole",
    "confidence_upper_pct": "whole",
    "guard_alarms": "[number]",
    "guard_relearned": "[[number]]",
    "guard_uncapped_fraction": "number",
    "geometry_sms": "whole",
    "geometry_need_low_pct": "number",
    "geometry_need_high_pct": "number",
    "recommended_pct": "number",
    "reason": "text",
    "source": "text",
    "device": "text",
    "notes": "[text]",
}
"""Column of a prediction's row -> what is in it. `problem`: why there is nothing else; the rest is
the JSON object of one trace, its inner objects with their names before those of their fields."""
AT_ONCE = 20
"""Traces of one task without Dask; a few hundred bytes of answer each."""
FEW = 20
"""So many are predicted sooner in this process than others start."""
_SLACK = 1e-9


# ---- baselines ---------------------------------------------------------------------------------


class _Baseline:
    """The usage so far, which covers a share of the time, with a margin."""

    COVERAGE = 0.95
    MARGIN = 1.0

    def __init__(self) -> None:
        self._seen = Counter()
        self._start_s: float | None = None
        self._last_s = 0.0

    def predict(self) -> Estimate | None:
        if self._seen.seconds <= 0.0:
            return None
        covering = self._seen.covering_ratio(self.COVERAGE) * self.MARGIN
        whole = -(-(100.0 * covering - _SLACK) // 1) / 100.0  # up to a whole percent
        target = min(1.0, max(0.01, whole))
        return Estimate(self._last_s, target, self._seen.mean_ratio(), (), ())

    def windows(self) -> Sequence[ClosedWindow]:
        return ()


class _FirstReadings(_Baseline):
    """The covering usage of the run's beginning: so many readings, or so many seconds.

    Source: Robusta KRR asks for 100 points and takes their 95th percentile.
    """

    def __init__(self, *, readings: float = math.inf, seconds: float = math.inf) -> None:
        super().__init__()
        self._readings = readings
        self._seconds = seconds
        self._count = 0
        self._fired = False

    def update(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> Estimate | None:
        if self._start_s is None:
            self._start_s = time_s - weight_s
        over = self._count >= self._readings or time_s - self._start_s > self._seconds + _SLACK
        if over and not self._fired and self._count:
            self._fired = True
            return self.predict()
        self._seen.add(value, weight_s)
        self._count += 1
        self._last_s = time_s
        return None


class _VpaLiteral(_Baseline):
    """The CPU recommender of the Kubernetes Vertical Pod Autoscaler, with an agreement to stop at.

    A histogram that halves in 24 h, its 90th percentile times 1.15. The autoscaler itself never
    stops; here three checks in a row, a minute apart, must lie within five points.

    Source: kubernetes/autoscaler, vertical-pod-autoscaler, `logic/recommender.go` and
    `model/aggregations_config.go`.
    """

    HALF_LIFE_S = 86_400.0
    COVERAGE = 0.90
    MARGIN = 1.15
    EVERY_S = 60.0
    CHECKS = 3
    POINTS = 5.0

    def __init__(self, period_s: float) -> None:
        super().__init__()
        self._every_s = max(self.EVERY_S, 10 * period_s)  # a slow log: ten readings a check
        self._figures: deque[tuple[float, float]] = deque(maxlen=self.CHECKS)
        self._checked = 0

    def update(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> Estimate | None:
        if self._start_s is None:
            self._start_s = time_s - weight_s
        fired = None
        if time_s - self._start_s > (self._checked + 1) * self._every_s + _SLACK:
            self._checked = int((time_s - self._start_s) / self._every_s)
            fired = self._check()
        # Weights grow instead of fading: the same percentiles, and O(1) a reading.
        self._seen.add(value, weight_s * 2.0 ** ((time_s - self._start_s) / self.HALF_LIFE_S))
        self._last_s = time_s
        return fired

    def _check(self) -> Estimate | None:
        found = self.predict()
        if found is None:
            return None
        covering = self._seen.covering_ratio(self.COVERAGE) * self.MARGIN
        self._figures.append((covering, found.mean_ratio))
        apart = max(max(one) - min(one) for one in zip(*self._figures, strict=True))
        settled = len(self._figures) == self.CHECKS and apart <= self.POINTS / 100 + _SLACK
        return found if settled else None


@dataclass(frozen=True, slots=True)
class Baseline:
    """A rule to compare with."""

    summary: str
    make: Callable[[Truth, float], Predictor]
    """From the run and the nominal period in seconds."""
    knows_length: bool = False
    """It uses the run's length, which nobody has before the end: there for scale only."""


BASELINES = {
    "vpa": Baseline(
        "Kubernetes VPA: half-life 24 h, p90 x 1.15, three checks within 5 points",
        lambda _, period_s: _VpaLiteral(period_s),
    ),
    "krr": Baseline("KRR: p95 of the first 100 readings", lambda *_: _FirstReadings(readings=100)),
    "first-300s": Baseline("the first 300 s", lambda *_: _FirstReadings(seconds=300.0)),
    "first-10pct": Baseline(
        "the first 10 % of the run",
        lambda run, _: _FirstReadings(seconds=0.10 * run.active_s),
        knows_length=True,
    ),
    "first-30pct": Baseline(
        "the first 30 % of the run",
        lambda run, _: _FirstReadings(seconds=0.30 * run.active_s),
        knows_length=True,
    ),
}
"""Name in `--rules` -> the rule."""


# ---- scores ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rule on one run."""

    rule: str
    scored: Scored
    answer: Answer
    error: str = ""
    """Why the rule gave no answer; it is then scored as if it had abstained."""


@dataclass(frozen=True, slots=True)
class CaseResult:
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
    results: tuple[CaseResult, ...]

    def outcomes(self, rule: str) -> tuple[Outcome, ...]:
        """Return one rule's outcomes."""
        return tuple(o for one in self.results for o in one.outcomes if o.rule == rule)

    def scored(self, rule: str) -> tuple[Scored, ...]:
        """Return one rule's scores."""
        return tuple(outcome.scored for outcome in self.outcomes(rule))

    @property
    def runs(self) -> tuple[CaseResult, ...]:
        """The runs that were scored."""
        return tuple(one for one in self.results if one.outcomes)

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """Name and reason of each trace that was left out."""
        return tuple((one.id, one.problem) for one in self.results if one.problem)

    @property
    def idle(self) -> tuple[str, ...]:
        """Names of the traces in which the device was never used."""
        return tuple(one.id for one in self.results if not one.outcomes and not one.problem)


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
        rules: Names of our rules, which may end in `+hints`, or of baselines.
        jobs: As `spread.Where`.
        scheduler: As `spread.Where`.
        progress: Called with (done, all) at the start and after each run or some of them.

    Returns:
        The report; where it was interrupted, of the runs that were done by then.

    Raises:
        UnknownName: No such rule.
        InvalidOption: No rule, `jobs` is below 1, or no scheduler.
        GpuPredictError: As `spread`.
    """
    chosen = tuple(dict.fromkeys(rules))
    check_rules(chosen)
    results: dict[int, list[CaseResult]] = {}
    done = 0
    report = progress or (lambda done, every: None)
    report(0, len(cases))
    work = functools.partial(_score_cases, rules=chosen)
    where = Where(jobs, scheduler)
    scored = spread(work, cases, where, _unscored, weigh=lambda case: case.weight)
    try:
        with contextlib.closing(scored):
            for place, some in scored:
                results[place] = some
                done += len(some)
                report(done, len(cases))
    except KeyboardInterrupt:
        if not results:
            raise
    return Report(chosen, tuple(one for _, some in sorted(results.items()) for one in some))


def check_rules(rules: Sequence[str]) -> None:
    """Raise `UnknownName` for a name that no rule has, and `InvalidOption` without a name."""
    if not rules:
        raise InvalidOption("no rule was named", "--rules default,accurate")
    for rule in rules:
        if rule.removesuffix(HINTED) not in rule_names() and rule not in BASELINES:
            raise UnknownName("rule", rule, (*rule_names(), *BASELINES))


def predict(rule: str, trace: Trace, marks: Sequence[Mark], run: Truth) -> Answer:
    """Return what one rule says of one trace, reading it causally.

    Raises:
        GpuPredictError: The rule gives no answer.
    """
    if rule in BASELINES:
        baseline = BASELINES[rule]
        found = predict_recording(
            trace, rule=lambda period_s: baseline.make(run, period_s), guard=False, floors=False
        )
    else:
        found = predict_with_ours(rule, trace, marks)
    return Answer.of(found)


def predict_with_ours(
    rule: str,
    trace: Trace,
    marks: Sequence[Mark],
    watch: Callable[[float, Recommendation], None] | None = None,
) -> dict[str, Any]:
    """Return what `predict_recording` does for one of our rules, whose name may end in `+hints`."""
    given = marks if rule.endswith(HINTED) else ()
    return predict_recording(trace, rule=rule.removesuffix(HINTED), marks=given, watch=watch)


def _score_cases(cases: Sequence[Case], rules: Sequence[str]) -> list[CaseResult]:
    return [_score_case(case, rules) for case in cases]


def _unscored(case: Case, why: str) -> CaseResult:
    return CaseResult(case.id, problem=why)


def _score_case(case: Case, rules: Sequence[str]) -> CaseResult:
    """Return how the rules fare on one run."""
    try:
        trace, marks = case.load()
        run = truth(trace)
    except (TraceError, PredictionError) as error:
        return _unscored(case, str(error))
    if run.idle:
        return CaseResult(case.id)
    outcomes = []
    for rule in rules:
        why = ""
        try:
            answer = predict(rule, trace, marks, run)
        except GpuPredictError as error:
            answer, why = Answer.none(run), str(error)
        scored = Scored(case.id, case.group, case.family, score(run, answer))
        outcomes.append(Outcome(rule, scored, answer, why))
    return CaseResult(case.id, tuple(outcomes), run.active_s)


# ---- predictions -------------------------------------------------------------------------------


def predictions(
    cases: Sequence[Recorded], options: dict[str, Any], where: Where
) -> Generator[tuple[int, list[Row]], None, None]:
    """Yield rows in the order of their traces, as they come: (how many so far, some rows).

    `options` are further arguments of `predict_recording`; errors as `spread`.
    """
    work = functools.partial(_predict_cases, options=options)
    waiting: dict[int, list[list[Row]]] = {}
    done = 0
    for place, some in spread(work, cases, where, _unpredicted, at_once=AT_ONCE):
        waiting[place] = some
        while done in waiting:
            ready = waiting.pop(done)
            done += len(ready)
            yield done, [row for rows in ready for row in rows]


def _predict_cases(cases: Sequence[Recorded], options: dict[str, Any]) -> list[list[Row]]:
    return [_prediction_rows(case, options) for case in cases]


def _prediction_rows(case: Recorded, options: dict[str, Any]) -> list[Row]:
    """Return a row for each device that is asked for."""
    try:
        return [
            _prediction_row(case, predict_recording(trace, marks=trace.marks, **options))
            for trace in case.load_each()
        ]
    except GpuPredictError as error:
        return _unpredicted(case, str(error))


def _prediction_row(case: Recorded, found: dict[str, Any]) -> Row:
    flat: Row = {"trace": case.id, "file": case.path, "problem": ""}
    for name, value in found.items():
        if name in ("confidence", "guard"):
            flat |= {f"{name}_{inner}": one for inner, one in (value or {}).items()}
        else:
            flat[name] = value
    return {name: flat.get(name) for name in PREDICTION_KINDS}


def _unpredicted(case: Recorded, why: str) -> list[Row]:
    empty = dict.fromkeys(PREDICTION_KINDS)
    return [{**empty, "trace": case.id, "file": case.path, "problem": why}]
