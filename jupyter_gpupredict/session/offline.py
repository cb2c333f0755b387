"""A recorded trace through the same analysis as a live run, as the JSON contract wants it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.recommendation import Confidence
from jupyter_gpupredict.core.rounding import MIB
from jupyter_gpupredict.core.series import Readings, SourceInfo
from jupyter_gpupredict.session.analysis import Analysis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.protocols import Predictor
    from jupyter_gpupredict.core.recommendation import Recommendation
    from jupyter_gpupredict.core.tracefile import Trace

LOOKS = 400
"""How often `watch` is called over a trace, at the least: as many points as a plot is wide."""


def predict(
    trace: Trace,
    make_rule: Callable[[float], Predictor],
    *,
    metric: str | None,
    guard: bool,
    coverage: float,
    memory_age_s: float = 300.0,
    marks: Sequence[Mark] = (),
    watch: Callable[[float, Recommendation], None] | None = None,
) -> dict[str, Any]:
    """Return the prediction a rule makes from a trace, reading it causally.

    Args:
        trace: The recording.
        make_rule: Makes a rule from the nominal period in seconds.
        metric: Share metric, ours or the CSV's name; None for the trace's best.
        guard: Whether to watch for a stale prediction.
        coverage: Share of the time to cover.
        memory_age_s: How long a memory peak must stand before it is believed.
        marks: What hints said during the run, in order of time, on the trace's clock.
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
        simulated=True,
        origin=trace.origin,
    )
    analysis = Analysis(
        info, lambda: make_rule(period_s), coverage, guard=guard, memory_age_s=memory_age_s
    )
    at_share = trace.series.index(share)
    at_memory = trace.series.index(memory) if memory else None
    told, told_until = 0, len(marks)
    first_s, last_s = (trace.rows[0][0], trace.rows[-1][0]) if trace.rows else (0.0, 0.0)
    look_s = first_s if watch else math.inf
    for time_s, values in trace.rows:
        batch: list[Readings] = []
        used = None if at_memory is None else values[at_memory]
        if memory is not None and used is not None:
            batch.append(Readings(memory, (time_s,), (used,)))
        ratio = values[at_share]
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
    certified = confidence.certified_ratio
    return {
        "n_eff": round(confidence.n_eff, 3),
        "g_s": round(confidence.g_s, 3),
        "certified_pct": None if certified is None else round(100 * certified),
        "certified": confidence.certified,
        "required_pct": round(100 * confidence.required_ratio),
        "level": confidence.level,
    }
