"""What a rule would have predicted from a recording, read causally as a live run is."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.errors import Malformed, UnknownName
from jupyter_gpupredict.core.events import RECORDING, SessionFinished, SessionStarted
from jupyter_gpupredict.core.metrics import BY_CSV, METRICS, MIB, whole_percent
from jupyter_gpupredict.core.options import check
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.recommendation import Confidence
from jupyter_gpupredict.core.run import RunFold
from jupyter_gpupredict.core.series import Readings, ReadOptions, SourceInfo, SourceOptions
from jupyter_gpupredict.core.trace import without_nan
from jupyter_gpupredict.predict.geometry import SPEED_GOAL, need_of
from jupyter_gpupredict.run.adapters import make_mix, make_rule
from jupyter_gpupredict.run.options import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jupyter_gpupredict.core.card import Answer
    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.recommendation import Profile, Recommendation, SmNeed
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.predict import Predictor
    from jupyter_gpupredict.predict.geometry import Geometry
    from jupyter_gpupredict.run.analysis import Analysis, Change
    from jupyter_gpupredict.sources.recording import Trace

LOOKS = 400
"""How often `watch` is called over a trace, at the least: as many points as a plot is wide."""


def fetch_recording(
    url: str, from_s: float, to_s: float, *, match: str | None = None, device: str | None = None
) -> Trace:
    """Return what a Prometheus server recorded of one GPU.

    Args:
        url: The server; credentials come from the environment alone.
        from_s: Where it begins, seconds since 1970.
        to_s: Where it ends.
        match: Label matchers that say which GPU.
        device: Its UUID, a unique prefix of one, or its index.

    Raises:
        TelemetryError: The server cannot be asked, or holds no such series.
        InvalidOption: An option is wrong.
    """
    options = SourceOptions(url=url, match=match, device=device)
    source = registry.load("sources", "prometheus")(options, SystemClock())
    recorded: Trace = source.record(from_s, to_s)
    return recorded


def check_recording_options(options: dict[str, Any]) -> None:
    """Raise where arguments of `predict_recording` are wrong whatever the trace.

    Raises:
        InvalidOption, UnknownName: One is.
    """
    names = ("rule", "epochs", "window_s", "agree", "tolerance_points")
    SessionConfig(**{name: options[name] for name in names})
    metric = options.get("metric")
    if metric is not None and metric not in METRICS and metric not in BY_CSV:
        raise UnknownName("metric", metric, BY_CSV)


def predict_recordings(
    path: str,
    options: ReadOptions | None = None,
    *,
    progress: Callable[[float], None] | None = None,
    **rule: Any,
) -> dict[str, Any]:
    """Return what a rule would have predicted of a recording.

    Args:
        path: Of the file; `-` is the standard input.
        options: What the recording does not say, and which devices are asked for.
        progress: Called with the share of the recording that is done, 0..1, and then an interrupt
            ends the work early: the answer is of what was read until then, and says so.
        rule: Further arguments of `predict_recording`.

    Returns:
        The JSON object of `jupyter gpupredict predict --json`; of several devices that of the
        first, with all of them under `devices`.

    Raises:
        TraceError: The file is unreadable, or does not hold the metric, in one line.
        InvalidOption, UnknownName: It holds no such device, or an option is wrong.
    """
    from jupyter_gpupredict.sources.reading import open_traces

    given = options or ReadOptions()
    check(given)
    traces = open_traces(path, given)
    found = [
        predict_recording(trace, **rule, speed=given.speed, progress=progress) for trace in traces
    ]
    return found[0] | ({"devices": found} if len(found) > 1 else {})


def predict_recording(
    trace: Trace | str,
    *,
    rule: str | Callable[[float], Predictor] = "default",
    metric: str | None = None,
    guard: bool = True,
    floors: bool = True,
    epochs: int | None = None,
    window_s: float | None = None,
    agree: int | None = None,
    tolerance_points: float | None = None,
    coverage: float = 0.95,
    prior: Profile | None = None,
    marks: Sequence[Mark] | None = None,
    watch: Callable[[float, Recommendation], None] | None = None,
    speed: float = SPEED_GOAL,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Return what a rule would have predicted from a trace.

    Args:
        trace: The trace, or the path of a recording, whose first device is read.
        rule: A preset or predictor name, or what makes a rule from the nominal period in seconds.
        metric: Name of a share metric, ours or the CSV's; None: the trace's best.
        guard: Whether to watch for a stale prediction after convergence.
        floors: Whether nothing converges before the least evidence was seen.
        epochs: Total number of epochs, when known.
        window_s: Overrides the rule's own window, in seconds.
        agree: Overrides how many windows must agree.
        tolerance_points: Overrides how far they may lie apart, in percentage points.
        coverage: Share of the time to cover, 0..1.
        prior: What an earlier run of the same code used.
        marks: What hints said during the run, in order of time; None: what the trace holds.
        watch: Called with the time and what is recommended, at each change of state or window and
            `LOOKS` times in between.
        speed: Share of its full speed that a profiled run is to keep.
        progress: As in `predict_recordings`.

    Returns:
        The JSON object of `jupyter gpupredict predict --json`, of one device.

    Raises:
        TraceError: The file is unreadable, or does not hold the metric, in one line.
        InvalidOption, UnknownName: An option is wrong.
    """
    from jupyter_gpupredict.run.analysis import Analysis
    from jupyter_gpupredict.sources.reading import open_trace

    config = SessionConfig(
        rule=rule if isinstance(rule, str) else "default",
        epochs=epochs,
        window_s=window_s,
        agree=agree,
        tolerance_points=tolerance_points,
        coverage=coverage,
    )
    trace = open_trace(trace) if isinstance(trace, str) else trace
    info = source_info(trace, metric)
    period_s = info.period_s
    analysis = Analysis(
        info,
        partial(make_rule, config, period_s) if isinstance(rule, str) else partial(rule, period_s),
        partial(make_mix, config, period_s),
        coverage,
        guard=guard,
        floors=floors,
        prior=prior,
    )
    try:
        _follow(analysis, trace, info, trace.marks if marks is None else marks, watch, progress)
    except KeyboardInterrupt:
        if progress is None:
            raise
        trace = trace.noted("interrupted: this is the answer of what was read until then")
    analysis.finish()
    final = recommended(analysis, trace, speed)
    found = _result(analysis, final, trace, coverage, guard)
    kernels = _kernels(trace)
    if kernels is not None:
        found |= _geometry(kernels, final.geometry, speed)
    return found | {"answer": without_nan(_answer(final, trace, info).as_dict())}


def _kernels(trace: Trace) -> Geometry | None:
    return trace.geometry.get(trace.devices[0].uuid) if trace.devices else None


def recommended(analysis: Analysis, trace: Trace, speed: float) -> Recommendation:
    """Return what is recommended at the end of a recording.

    Of a profile it holds what the kernels need for that speed, however short it is.
    """
    final, kernels = analysis.recommendation(), _kernels(trace)
    if kernels is None:
        return final
    need = need_of(kernels, trace.origin, speed)
    if final.state == "converged" or final.withdrawn is not None:
        return replace(final, geometry=need)
    busy = kernels.busy_ratio
    why = f"a profile of {kernels.wall_s:.2g} s is too short to predict the busy time"
    return replace(
        final,
        reason=trace.notes[0] if need is None and trace.notes else why,
        target_ratio=max(busy, final.target_ratio or 0.0),
        mean_ratio=busy,
        watched_s=kernels.wall_s,
        active_s=kernels.wall_s,
        geometry=need,
    )


def _answer(recommendation: Recommendation, trace: Trace, info: SourceInfo) -> Answer:
    """Return the card of a recording: that of a run which ended with it."""
    took_s = trace.rows[-1][0] if trace.rows else 0.0
    fold = RunFold()
    fold.add(
        SessionStarted(
            seq=0,
            t_s=0.0,
            session_id="",
            started_at="",
            source=RECORDING,
            simulated=True,
            share=info.share,
            memory=info.memory,
            period_s=info.period_s,
            devices=info.devices,
            series=info.series,
            config={},
            versions={},
            notes=trace.notes,
            origin=info.origin,
        )
    )
    fold.add(SessionFinished(1, took_s, "completed", recommendation, len(trace.rows), took_s, 0.0))
    return answer(fold.record())


def _follow(
    analysis: Analysis,
    trace: Trace,
    info: SourceInfo,
    marks: Sequence[Mark],
    watch: Callable[[float, Recommendation], None] | None,
    progress: Callable[[float], None] | None,
) -> None:
    """Let a rule watch a recording to its end."""
    first_s, last_s = (trace.rows[0][0], trace.rows[-1][0]) if trace.rows else (0.0, 0.0)
    look_s, shown_s = first_s if watch else math.inf, first_s
    for time_s, _, changes in steps(analysis, trace, info, marks):
        if watch and (changes or time_s >= look_s):
            watch(time_s, analysis.recommendation())
            look_s = time_s + (last_s - first_s) / LOOKS
        if progress and time_s >= shown_s:
            progress((time_s - first_s) / max(last_s - first_s, 1e-9))
            shown_s = time_s + (last_s - first_s) / LOOKS


def steps(
    analysis: Analysis, trace: Trace, info: SourceInfo, marks: Sequence[Mark]
) -> Iterator[tuple[float, Sequence[Mark], Sequence[Change]]]:
    """Yield the time of each row, the marks before it, and what an analysis finds changed by it."""
    waiting = list(reversed(marks))
    for time_s, readings in _batches(trace, info):
        due: list[Mark] = []
        while waiting and waiting[-1].time_s <= time_s:
            due.append(waiting.pop())
        yield time_s, due, analysis.ingest(readings, due)


def source_info(trace: Trace, metric: str | None = None) -> SourceInfo:
    """Return a recording as what a source says of itself; raises as `Trace.share_series`."""
    share = trace.share_series(metric)
    return SourceInfo(
        source=RECORDING,
        devices=trace.devices,
        series=trace.series,
        share=share,
        memory=trace.memory_series(),
        period_s=trace.period_s(share),
        duty=trace.duty_series(share),
        simulated=True,
        origin=trace.origin,
    )


def _batches(trace: Trace, info: SourceInfo) -> Iterator[tuple[float, list[Readings]]]:
    """Yield the time of each row with its readings of memory, power, duty and share."""
    power = (one for one in info.series if one.metric == "power_watts")
    others = (info.memory, next(power, None), info.duty, info.share)
    wanted = [one for one in others if one is not None]
    columns = [(one, trace.series.index(one)) for one in wanted]
    at_duty = None if info.duty is None else trace.series.index(info.duty)
    for time_s, values in trace.rows:
        busy = at_duty is not None and values[at_duty] is not None
        batch = []
        for series, column in columns:
            value = values[column]
            if value is None and busy and series == info.share:
                value = math.nan  # idle: known, and no share while busy
            if value is not None:
                batch.append(Readings(series, (time_s,), (value,)))
        yield time_s, batch


def _result(
    analysis: Analysis, final: Recommendation, trace: Trace, coverage: float, guard: bool
) -> dict[str, Any]:
    first, memory = analysis.first, final.memory
    if first is not None:
        estimate, confidence = first
        target, mean = estimate.target_ratio, estimate.mean_ratio
        at_s: float | None = round(estimate.converged_at_s, 6)
        memory_bytes = analysis.first_memory_bytes
    else:
        target, mean = final.target_ratio or 0.01, final.mean_ratio or 0.0
        at_s, confidence = None, Confidence(0.0, 1.0, None)
        memory_bytes = memory.target_bytes if memory else None
    device = next((one for one in trace.devices if one.uuid == final.device), trace.devices[0])
    return {
        "state": "converged" if first else "abstained",
        "converged_at_s": at_s,
        "metric": METRICS[final.metric].csv,
        "basis": final.basis,
        "target_pct": max(1, round(100 * target)),
        "mean_pct": round(100 * mean, 3),
        "mem_target_mib": None if memory_bytes is None else round(memory_bytes / MIB, 1),
        "mem_basis": memory.basis if memory else None,
        "mem_reason": memory.reason if memory else "the trace holds no memory",
        "preallocated": bool(memory and memory.preallocated),
        "coverage_target": coverage,
        "confidence": {
            "n_eff": round(confidence.n_eff, 3),
            "g_s": round(confidence.g_s, 3),
            "certified_pct": whole_percent(confidence.certified_ratio),
            "certified": confidence.certified,
            "required_pct": round(100 * confidence.required_ratio),
            "level": confidence.level,
            "lower_pct": whole_percent(confidence.lower_ratio),
            "upper_pct": whole_percent(confidence.upper_ratio),
        },
        "guard": {
            "alarms": [round(t, 6) for t in analysis.alarms],
            "relearned": [[round(t, 6), round(100 * r)] for t, r in analysis.relearned],
            "uncapped_fraction": round(analysis.uncapped_ratio, 6),
        }
        if first and guard
        else None,
        "reason": final.reason,
        "source": trace.origin,
        "device": device.uuid,
        "index": device.index,
        "name": device.name,
        "notes": list(trace.notes),
    }


def _geometry(found: Geometry, need: SmNeed | None, speed: float) -> dict[str, Any]:
    """Return what the kernels of a trace's device tell of its SMs."""
    return {
        "geometry": {
            "sms": found.sms,
            "busy_share": round(found.busy_ratio, 4),
            "mean_breadth": round(found.breadth_ratio, 4),
            "speed_goal": speed,
            "need_low_pct": None if need is None else round(100 * need.low_sms / need.sms, 1),
            "need_high_pct": None if need is None else round(100 * need.high_sms / need.sms, 1),
            "curve": [list(point) for point in need.curve] if need else [],
            "kernels": found.kernels,
            "not_understood_share": round(found.not_understood_ratio, 4),
            "interval_ms": 1e3 * found.interval_s,
        },
        "recommended_pct": None if need is None else round(100 * need.high_ratio, 1),
    }


def need_of_profile(path: str, run: Run, read: ReadOptions) -> SmNeed:
    """Return what a profile of a run's kernels says of the SMs.

    Args:
        path: A profile of any format that can be read.
        run: The run whose code was profiled, on the same kind of GPU.
        read: What the profile does not say of the GPU, and which of its GPUs is meant.

    Raises:
        TraceError: It cannot be read, holds no kernels, or is of another GPU.
    """
    from jupyter_gpupredict.sources.reading import open_trace

    here = next((d for d in run.started.devices if d.uuid == run.started.share.device), None)
    if read.sms is None and here is not None:
        read = replace(read, sms=here.sm_count)
    trace = open_trace(path, read)
    of = trace.devices[0]
    if here is not None and of.name not in ("GPU", here.name):
        raise Malformed(f"{trace.name} is of a {of.name}, and the run of a {here.name}", "")
    found = trace.geometry.get(of.uuid)
    need = None if found is None else need_of(found, trace.origin, read.speed)
    if need is None:
        why = trace.notes[0] if trace.notes else "its kernels are not understood"
        raise Malformed(f"{trace.name} does not tell what the kernels need", why)
    return need
