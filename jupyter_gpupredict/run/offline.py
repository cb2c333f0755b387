"""A recorded trace through the same analysis as a live run, as the JSON contract wants it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.recommendation import Confidence
from jupyter_gpupredict.core.rounding import MIB
from jupyter_gpupredict.core.series import Readings, SourceInfo
from jupyter_gpupredict.predict.prior import ProfileBuilder
from jupyter_gpupredict.predict.windows import is_active
from jupyter_gpupredict.run.analysis import Analysis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.recommendation import Profile, Recommendation
    from jupyter_gpupredict.core.recording import Trace
    from jupyter_gpupredict.predict import Predictor, ProgressPredictor

LOOKS = 400
"""How often `watch` is called over a trace, at the least: as many points as a plot is wide."""


def predict(
    trace: Trace,
    make_rule: Callable[[float], Predictor],
    make_mix: Callable[[float], ProgressPredictor],
    *,
    metric: str | None,
    guard: bool,
    coverage: float,
    memory_age_s: float = 300.0,
    prior: Profile | None = None,
    marks: Sequence[Mark] | None = None,
    watch: Callable[[float, Recommendation], None] | None = None,
) -> dict[str, Any]:
    """Return the prediction a rule makes from a trace, reading it causally.

    Args:
        trace: The recording.
        make_rule: Makes a rule from the nominal period in seconds.
        make_mix: The same, of the rule that learns from epochs.
        metric: Share metric, ours or the CSV's name; None for the trace's best.
        guard: Whether to watch for a stale prediction.
        coverage: Share of the time to cover.
        memory_age_s: How long a memory peak must stand before it is believed.
        prior: What an earlier run of the same code used.
        marks: What hints said during the run, in order of time; None: what the trace holds.
        watch: Called with the time and what is recommended, at each change of state or window and
            `LOOKS` times in between.

    Raises:
        Malformed: The trace does not hold the metric.
    """
    share, memory = trace.share_series(metric), trace.memory_series()
    period_s = trace.period_s(share)
    info = SourceInfo(
        source="replay",
        devices=trace.devices,
        series=trace.series,
        share=share,
        memory=memory,
        period_s=period_s,
        duty=trace.duty_series(share),
        simulated=True,
        origin=trace.origin,
    )
    analysis = Analysis(
        info,
        lambda: make_rule(period_s),
        lambda: make_mix(period_s),
        coverage,
        guard=guard,
        memory_age_s=memory_age_s,
        prior=prior,
    )
    marks = trace.marks if marks is None else marks
    at_share = trace.series.index(share)
    at_memory = trace.series.index(memory) if memory else None
    at_duty = trace.series.index(info.duty) if info.duty else None
    told, told_until = 0, len(marks)
    first_s, last_s = (trace.rows[0][0], trace.rows[-1][0]) if trace.rows else (0.0, 0.0)
    look_s = first_s if watch else math.inf
    for time_s, values in trace.rows:
        batch: list[Readings] = []
        used = None if at_memory is None else values[at_memory]
        if memory is not None and used is not None:
            batch.append(Readings(memory, (time_s,), (used,)))
        ratio = values[at_share]
        busy = None if at_duty is None else values[at_duty]
        if info.duty is not None and busy is not None:
            batch.append(Readings(info.duty, (time_s,), (busy,)))
            ratio = math.nan if ratio is None else ratio  # idle: known, and no share while busy
        if ratio is not None:
            batch.append(Readings(share, (time_s,), (ratio,)))
        upto = told
        while upto < told_until and marks[upto].time_s <= time_s:
            upto += 1
        changes = analysis.ingest(batch, marks[told:upto])
        told = upto
        if watch and (changes or time_s >= look_s):
            watch(time_s, analysis.recommendation())
            look_s = time_s + (last_s - first_s) / LOOKS
    analysis.finish()
    return _result(analysis, trace, coverage, guard)


def profile(trace: Trace, coverage: float, metric: str | None = None) -> Profile | None:
    """Return what a recorded run used when; None when it was never active."""
    share = trace.share_series(metric)
    period_s = trace.period_s(share)
    builder: ProfileBuilder | None = None
    last_s = None
    for time_s, value in trace.points(share):
        gap_s = period_s if last_s is None else time_s - last_s
        last_s, weight_s = time_s, min(gap_s, 2.0 * period_s)
        if builder is None and is_active(value):
            builder = ProfileBuilder(time_s - weight_s, period_s, coverage)
        if builder is not None:
            builder.add(time_s, value, weight_s)
    return None if builder is None else builder.profile()


def _result(analysis: Analysis, trace: Trace, coverage: float, guard: bool) -> dict[str, Any]:
    final = analysis.recommendation()
    first = analysis.first
    if first is not None:
        estimate, confidence = first
        target, mean = estimate.target_ratio, estimate.mean_ratio
        at_s: float | None = round(estimate.converged_at_s, 6)
        memory_bytes = analysis.first_memory_bytes
    else:
        target, mean = final.target_ratio or 0.01, final.mean_ratio or 0.0
        at_s, confidence = None, Confidence(0.0, 1.0, None)
        memory_bytes = final.memory.target_bytes if final.memory else None
    metric = METRICS[final.metric]
    return {
        "state": "converged" if first else "abstained",
        "converged_at_s": at_s,
        "metric": metric.csv,
        "basis": final.basis,
        "target_pct": max(1, round(100 * target)),
        "mean_pct": round(100 * mean, 3),
        "mem_target_mib": None if memory_bytes is None else round(memory_bytes / MIB, 1),
        "mem_basis": final.memory.basis if final.memory else None,
        "mem_reason": final.memory.reason if final.memory else "the trace holds no memory",
        "preallocated": bool(final.memory and final.memory.preallocated),
        "coverage_target": coverage,
        "confidence": _confidence(confidence),
        "guard": {
            "alarms": [round(t, 6) for t in analysis.alarms],
            "relearned": [[round(t, 6), round(100 * r)] for t, r in analysis.relearned],
            "uncapped_fraction": round(analysis.uncapped_ratio, 6),
        }
        if first and guard
        else None,
        "reason": final.reason,
        "source": trace.origin,
        "notes": list(trace.notes),
    }


def _confidence(confidence: Confidence) -> dict[str, Any]:
    return {
        "n_eff": round(confidence.n_eff, 3),
        "g_s": round(confidence.g_s, 3),
        "certified_pct": _whole_percent(confidence.certified_ratio),
        "certified": confidence.certified,
        "required_pct": round(100 * confidence.required_ratio),
        "level": confidence.level,
        "lower_pct": _whole_percent(confidence.lower_ratio),
        "upper_pct": _whole_percent(confidence.upper_ratio),
    }


def _whole_percent(ratio: float | None) -> int | None:
    return None if ratio is None else round(100 * ratio)
