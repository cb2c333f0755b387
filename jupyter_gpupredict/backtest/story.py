"""What the plots show: where each rule lies on the frontier, and how one prediction came about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.backtest.baselines import BASELINES
from jupyter_gpupredict.backtest.run import HINTED
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.run import History
from jupyter_gpupredict.run import predict_recording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_gpupredict.backtest.cases import Case
    from jupyter_gpupredict.backtest.score import Summary
    from jupyter_gpupredict.core.recommendation import Recommendation
    from jupyter_gpupredict.core.run import Row

USAGE_ROWS = 400


@dataclass(frozen=True, slots=True)
class Spot:
    """One rule on the frontier."""

    rule: str
    watched_ratio: float
    fc: float
    fccov: float
    kind: str
    """`ours`, `baseline`, or `length`: a baseline that knows the run's length."""


@dataclass(frozen=True, slots=True)
class Step:
    """What was recommended from a moment on; NaN where there was no figure."""

    time_s: float
    target_pct: float
    mean_pct: float
    converged: bool


@dataclass(frozen=True, slots=True)
class Story:
    """One rule's way through one trace."""

    title: str
    metric: str
    """Words for the axis."""
    usage: tuple[Row, ...]
    """(time_s, lowest, highest) in percent."""
    steps: tuple[Step, ...]
    converged_s: tuple[float, ...]
    """First convergence, then each one after an alarm."""
    alarms_s: tuple[float, ...]
    words: str
    """The outcome in a sentence."""

    @property
    def end_s(self) -> float:
        """When the trace ends."""
        return max([*(row[0] for row in self.usage[-1:]), *(one.time_s for one in self.steps[-1:])])

    @property
    def start_s(self) -> float:
        """When it begins, about."""
        return min([0.0, *(row[0] for row in self.usage[:1])])


def spots(summaries: Mapping[str, Summary]) -> tuple[Spot, ...]:
    """Return every rule's place: mean over groups."""
    return tuple(
        Spot(rule, one.macro["watched_ratio"] or 0.0, one.macro["fc"] or 0.0,
             one.macro["fccov"] or 0.0, _kind(rule))
        for rule, one in summaries.items()
    )  # fmt: skip


def frontier(places: Sequence[Spot]) -> tuple[Spot, ...]:
    """Return the rules that no other beats in both, from least to most watched.

    Those that know the run's length do not count.
    """
    left = sorted(
        (one for one in places if one.kind != "length"), key=lambda one: (one.watched_ratio, one.fc)
    )
    best: list[Spot] = []
    for one in left:
        if not best or one.fc < best[-1].fc:
            best.append(one)
    return tuple(best)


def top(places: Sequence[Spot]) -> float:
    """Return where the axis of wrong runs ends: a whole tenth, with room for a name."""
    highest = max((one.fc for one in places), default=0.0)
    return min(1.0, math.ceil(10 * highest + 0.5) / 10)


def follow(case: Case, rule: str) -> Story:
    """Return how one of our rules goes through a run.

    Raises:
        GpuPredictError: It cannot be read, or the rule gives no answer.
    """
    trace, marks = case.load()
    share = trace.share_series()
    history = History(USAGE_ROWS)
    for time_s, value in trace.points(share):
        history.add(time_s, 100.0 * value)
    steps: list[Step] = []

    def note(time_s: float, told: Recommendation) -> None:
        steps.append(
            Step(time_s, _percent(told.target_ratio), _percent(told.mean_ratio),
                 told.state == "converged")
        )  # fmt: skip

    found = predict_recording(
        trace,
        rule=rule.removesuffix(HINTED),
        marks=marks if rule.endswith(HINTED) else (),
        watch=note,
    )
    guard = found["guard"] or {"alarms": [], "relearned": []}
    at_s = found["converged_at_s"]
    words = (
        f"converged at {at_s:g} s: {found['target_pct']} %, mean {found['mean_pct']:g} %"
        if at_s is not None
        else f"abstained; observed {found['target_pct']} %, mean {found['mean_pct']:g} %"
    )
    if guard["alarms"]:
        words += f"; {len(guard['alarms'])} alarms, the first at {guard['alarms'][0]:g} s"
    first = () if at_s is None else (at_s,)
    return Story(
        title=f"{case.id}, rule {rule}",
        metric=f"{METRICS[share.metric].label}, %",
        usage=tuple(history.rows()),
        steps=tuple(steps),
        converged_s=(*first, *(time_s for time_s, _ in guard["relearned"])),
        alarms_s=tuple(guard["alarms"]),
        words=words,
    )


def _percent(ratio: float | None) -> float:
    return math.nan if ratio is None else 100.0 * ratio


def _kind(rule: str) -> str:
    if rule not in BASELINES:
        return "ours"
    return "length" if BASELINES[rule].knows_length else "baseline"
