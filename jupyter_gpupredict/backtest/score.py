"""How good an answer was: one recording's truth, the measures of one answer, and their averages.

The truth is the whole run. Its readings are held to an even grid (the median step, at least 0.1 s)
and rounded to whole percent; the *active run* reaches from the first to the last of them above 0.
What lies behind the moment of convergence is the *rest*: the part that was predicted.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_gpupredict.core.errors import NotEnoughSamples
from jupyter_gpupredict.core.metrics import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from jupyter_gpupredict.sources.recording import Trace

COVERAGE = 0.95
"""Share of the time that a target is meant to cover."""
MISSED = 0.05
"""A rest covered this much less than it should be counts as falsely converged."""
MEAN_OFF_POINTS = 5.0
"""So does, for `fc`, one whose mean lies further from the predicted one."""
MIN_STEP_S = 0.1
MIN_REST_READINGS = 20
MIN_REST_SHARE = 0.02
"""A shorter rest is nothing that a prediction could still get wrong."""
_SLACK = 1e-9
Means = dict[str, float | None]
"""Measure -> its mean; None where it never applies."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a run really did."""

    times_s: NDArray[np.float64]
    """Grid of the active run, shape (n,), on the trace's own clock."""
    values_pct: NDArray[np.int64]
    """Usage on that grid, shape (n,), whole percent."""
    step_s: float
    memory_times_s: NDArray[np.float64]
    """Stamps of the memory readings, shape (m,)."""
    memory_mib: NDArray[np.float64]
    """Memory readings, shape (m,)."""

    @property
    def idle(self) -> bool:
        """Whether the run never used the device, so that nothing can be judged."""
        return not bool(self.values_pct.any())

    @property
    def active_s(self) -> float:
        """Length of the active run."""
        return len(self.values_pct) * self.step_s

    def memory_peak_mib(self, after_s: float | None = None) -> float | None:
        """Return the largest memory reading of the active run, or after a time; None if none."""
        from_s = self.times_s[0] - self.step_s if after_s is None else after_s
        inside = (self.memory_times_s > from_s) & (
            self.memory_times_s <= self.times_s[-1] + self.step_s
        )
        part = self.memory_mib[inside]
        return float(part.max()) if part.size else None


def truth(trace: Trace, metric: str | None = None) -> Truth:
    """Return what a trace says of its whole run.

    Args:
        trace: The recording.
        metric: Share metric; None for the trace's best, which is also what the rules predict.

    Raises:
        NotEnoughSamples: There are fewer than two readings.
        Malformed: The trace does not hold the metric.
    """
    share, memory = trace.share_series(metric), trace.memory_series()
    column = trace.series.index(share)
    rows = [(time_s, values) for time_s, values in trace.rows if values[column] is not None]
    if len(rows) < 2:
        raise NotEnoughSamples(f"{trace.name} holds fewer than two readings", "")
    stamps_s = np.array([time_s for time_s, _ in rows])
    # Decimals that the ratio added are taken off: 29.5 % must round as it did in the file.
    percent = np.round(100.0 * np.array([v[column] for _, v in rows], dtype=float), 9)
    step_s = max(MIN_STEP_S, float(np.median(np.diff(stamps_s))))
    grid_s = np.arange(stamps_s[0], stamps_s[-1], step_s)
    newest = np.searchsorted(stamps_s, grid_s + _SLACK, side="right") - 1
    held_pct = np.clip(np.rint(percent[np.maximum(newest, 0)]), 0, 100).astype(np.int64)
    busy = np.flatnonzero(held_pct > 0)
    first, end = (int(busy[0]), int(busy[-1]) + 1) if busy.size else (0, len(held_pct))
    pairs = np.array(
        [
            (time_s, used / MIB)
            for time_s, values in rows
            if memory is not None and (used := values[trace.series.index(memory)]) is not None
        ]
    ).reshape(-1, 2)
    return Truth(grid_s[first:end], held_pct[first:end], step_s, pairs[:, 0], pairs[:, 1])


def covering_pct(values_pct: NDArray[np.int64], coverage: float = COVERAGE) -> int:
    """Return the smallest whole percent that covers this share of the readings, shape (n,)."""
    below = np.cumsum(np.bincount(values_pct, minlength=101))
    return int(np.argmax(below >= math.ceil(coverage * len(values_pct) - _SLACK)))


@dataclass(frozen=True, slots=True)
class Answer:
    """The part of a prediction that is scored."""

    converged_at_s: float | None
    """None: abstained."""
    target_pct: int
    mean_pct: float
    mem_target_mib: float | None = None
    alarms_s: tuple[float, ...] | None = None
    """When the guard withdrew the prediction; None where there was no guard."""
    uncapped_ratio: float = 0.0
    """Share of the time after convergence in which no target stood."""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Answer:
        """Return it from the object that `jupyter gpupredict predict --json` prints."""
        guard = found["guard"]
        return cls(
            converged_at_s=found["converged_at_s"],
            target_pct=found["target_pct"],
            mean_pct=found["mean_pct"],
            mem_target_mib=found["mem_target_mib"],
            alarms_s=None if guard is None else tuple(guard["alarms"]),
            uncapped_ratio=0.0 if guard is None else guard["uncapped_fraction"],
        )

    @classmethod
    def none(cls, run: Truth) -> Answer:
        """Return what a rule that failed is scored as: it watched to the end and said nothing."""
        return cls(None, covering_pct(run.values_pct), float(run.values_pct.mean()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Every measure of one answer; None where it does not apply."""

    abstained: float
    watched_ratio: float
    """Share of the active run that was watched; 1 when abstained."""
    watched_s: float
    mean_error_points: float
    """From the mean of the whole active run."""
    covering_error_points: float
    """Of the target, from the covering usage of the whole active run."""
    fccov: float
    """1: converged, and the rest is covered less than 90 %."""
    fc: float
    """1: that, or the rest's mean lies more than 5 points away."""
    coverage_ratio: float | None = None
    """Share of the rest at or below the target."""
    slack_points: float | None = None
    """How far the target lies above the rest's covering usage."""
    rest_mean_error_points: float | None = None
    memory_miss: float | None = None
    """1: memory rose above its target later."""
    memory_over_ratio: float | None = None
    """The memory target over the run's peak, less 1."""
    guarded_coverage_ratio: float | None = None
    """With all that follows the first alarm taken as covered: an upper bound."""
    guarded_fccov: float | None = None
    alarms: float | None = None
    false_alarm: float | None = None
    """1: an alarm, and the rest is covered after all."""
    uncapped_ratio: float | None = None


MEASURES = tuple(Score.__dataclass_fields__)
"""Names of the measures, as `Score` orders them."""
LOW_COVERAGE = "coverage_p5_ratio"
LOW_GUARDED = "guarded_coverage_p5_ratio"
"""The 5th percentile of coverage over the runs, each group with the same weight in total."""


def score(run: Truth, answer: Answer) -> Score:
    """Return every measure of one answer about one run, which must not be idle."""
    values = run.values_pct
    converged = answer.converged_at_s is not None
    at_s = math.inf if answer.converged_at_s is None else answer.converged_at_s
    watched = int(np.searchsorted(run.times_s, at_s + _SLACK, side="right"))
    rest = values[watched:]
    least = max(MIN_REST_READINGS, MIN_REST_SHARE * len(values))
    coverage = slack = rest_mean_error = None
    missed = wrong = False
    if converged and len(rest) >= least:
        coverage = float((rest <= answer.target_pct).mean())
        slack = float(max(0, answer.target_pct - covering_pct(rest)))
        rest_mean_error = abs(answer.mean_pct - float(rest.mean()))
        missed = coverage < COVERAGE - MISSED
        wrong = missed or rest_mean_error > MEAN_OFF_POINTS
    return Score(
        abstained=float(not converged),
        watched_ratio=watched / len(values),
        watched_s=watched * run.step_s,
        mean_error_points=abs(answer.mean_pct - float(values.mean())),
        covering_error_points=float(abs(answer.target_pct - covering_pct(values))),
        fccov=float(missed),
        fc=float(wrong),
        coverage_ratio=coverage,
        slack_points=slack,
        rest_mean_error_points=rest_mean_error,
        **_memory_measures(run, answer),
        **_guard_measures(run, answer, watched, coverage),
    )


def _memory_measures(run: Truth, answer: Answer) -> Means:
    target, peak = answer.mem_target_mib, run.memory_peak_mib()
    if target is None or not peak:
        return {}
    later = None if answer.converged_at_s is None else run.memory_peak_mib(answer.converged_at_s)
    missed = later is not None and later > target * (1 + 1e-9)
    return {"memory_miss": float(missed), "memory_over_ratio": target / peak - 1}


def _guard_measures(run: Truth, answer: Answer, watched: int, coverage: float | None) -> Means:
    at_s = answer.converged_at_s
    if answer.alarms_s is None:
        return {}
    if at_s is None:
        return {"guarded_fccov": 0.0}
    later = sorted(time_s for time_s in answer.alarms_s if time_s > at_s)
    found: Means = {"alarms": float(len(later)), "uncapped_ratio": answer.uncapped_ratio}
    if coverage is None:
        return {**found, "guarded_fccov": 0.0}
    held = run.values_pct[watched:] <= answer.target_pct
    if later:
        held = held | (run.times_s[watched:] > later[0])
    guarded = float(held.mean())
    return {
        **found,
        "guarded_coverage_ratio": guarded,
        "guarded_fccov": float(guarded < COVERAGE - MISSED),
        "false_alarm": float(bool(later) and coverage >= COVERAGE),
    }


# ---- averages ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scored:
    """One run's measures under one rule, and what it is averaged with."""

    id: str
    group: str
    family: str
    score: Score


@dataclass(frozen=True, slots=True)
class Summary:
    """One rule's averages."""

    runs: int
    macro: Means
    """Mean over the runs of a group, then over groups; with `LOW_COVERAGE`."""
    by_family: Means
    """The same, then over the groups of a family, then over families."""
    pooled: Means
    """Over all runs: a figure about whatever has most of them."""
    groups: dict[str, Means]
    families: dict[str, Means]
    group_runs: dict[str, int]


def summarise(scored: Sequence[Scored]) -> Summary:
    """Return the averages of one rule's scores.

    Runs of one group are repeats of one configuration and not independent: they share one vote.
    """
    rows = [(one.group, asdict(one.score)) for one in scored]
    groups = _means_by(rows)
    family_of = {one.group: one.family for one in reversed(scored)}
    families = _means_by((family_of[group], means) for group, means in groups.items())
    macro = _means(groups.values())
    macro[LOW_COVERAGE] = _low(scored, "coverage_ratio")
    macro[LOW_GUARDED] = _low(scored, "guarded_coverage_ratio")
    return Summary(
        runs=len(scored),
        macro=macro,
        by_family=_means(families.values()),
        pooled=_means(row for _, row in rows),
        groups=groups,
        families=families,
        group_runs=Counter(group for group, _ in rows),
    )


def _means_by(rows: Iterable[tuple[str, Means]]) -> dict[str, Means]:
    held: dict[str, list[Means]] = {}
    for name, row in rows:
        held.setdefault(name, []).append(row)
    return {name: _means(some) for name, some in held.items()}


def _means(rows: Iterable[Means]) -> Means:
    held, means = list(rows), Means()
    for name in MEASURES:
        known = [value for row in held if (value := row[name]) is not None]
        means[name] = float(np.mean(known)) if known else None
    return means


def _low(scored: Sequence[Scored], measure: str, share: float = 0.05) -> float | None:
    """Return the quantile of a measure over runs, every group with the same total weight."""
    judged = [
        (one.group, found) for one in scored if (found := getattr(one.score, measure)) is not None
    ]
    if not judged:
        return None
    count = Counter(group for group, _ in judged)
    ratios = np.array([ratio for _, ratio in judged])
    order = np.argsort(ratios)
    weight = np.cumsum(np.array([1.0 / count[group] for group, _ in judged])[order])
    place = int(np.searchsorted(weight, share * weight[-1] - 1e-12))
    return float(ratios[order][min(place, len(ratios) - 1)])
