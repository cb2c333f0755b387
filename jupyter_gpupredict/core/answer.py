"""What a person sees first of a run: what it needs, and how sure that is. Every view shows this.

Made of a `Run` alone, so that live, stored, replayed and distributed runs answer alike. Views lay
it out and add nothing.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.card import (
    OBSERVED,
    SIGNS,
    STATED,
    Action,
    Answer,
    Brief,
    Details,
    Figure,
    Row,
    Word,
    active_s_of,
    device_rows,
    is_cpu,
    is_profile,
    judge,
    need_of,
    ratio_of,
    simulated_as,
    speed_points,
    watched_s,
    where,
)
from jupyter_gpupredict.core.events import RECORDING
from jupyter_gpupredict.core.metrics import METRICS, sm_percent
from jupyter_gpupredict.core.plain import one_line
from jupyter_gpupredict.core.recommendation import LEAST_ACTIVE_S
from jupyter_gpupredict.core.words import gib, percent, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.core.recommendation import MemoryEstimate, Recommendation
    from jupyter_gpupredict.core.run import Run

_DONE = re.compile(r"(\d+(?: of \d+)?) (epoch|step)s complete")
_NO_MEMORY = re.compile(r"OutOfMemory|MemoryError")
OFTEN_RATIO = 0.05
"""Throttling and gaps that take more of the time than this change what the figure means."""


# ---- the card ----------------------------------------------------------------------------------


def brief(run: Run) -> Brief:
    """Return a run's answer in one line."""
    counted = run.each_gpu()
    word = _word(run, counted)
    figure = _figure(run, counted, stated=_predicts(run, word))
    return _brief(run, word, figure, _fullest(counted))


def answer(run: Run) -> Answer:
    """Return what a run's views say first."""
    counted = run.each_gpu()
    word = _word(run, counted)
    predicted = _predicts(run, word)
    figure = _figure(run, counted, stated=predicted)
    memory = _fullest(counted)
    line = _brief(run, word, figure, memory)
    return Answer(
        session_id=run.session_id,
        headline=line.headline,
        word=word,
        sign=line.sign,
        tone=line.tone,
        meaning=_meaning(run, word, figure, memory),
        evidence=_evidence(run, word, figure),
        notes=tuple(map(one_line, _notes(run))),
        actions=_actions(run, word, figure),
        devices=device_rows(run),
        details=_details(run),
        figure=figure,
        predicted=predicted,
        memory_bytes=_memory_bytes(memory),
        simulated=simulated_as(run),
        device=where(run),
        need=need_of(run),
        points=speed_points(run),
    )


def _brief(run: Run, word: Word, figure: Figure | None, memory: MemoryEstimate | None) -> Brief:
    sign, tone = SIGNS[word]
    return Brief(_headline(run, word, figure, memory), word, sign, tone, where(run))


def _predicts(run: Run, word: Word) -> bool:
    """Return whether the figure is a prediction: the CPU's has no word of its own for that."""
    main = run.recommendation
    converged = main is not None and main.state == "converged"
    return word in STATED[:3] or (word == "no GPU" and converged)


_ORDER: tuple[Word, ...] = (
    "changed", "observed", "settling", "provisional", "settled", "no GPU", "not used yet",
    "too short",
)  # fmt: skip


def _word(run: Run, counted: Sequence[Recommendation]) -> Word:
    """Return the word for a run; a share from too few windows of its kernels is not settled."""
    if not counted:
        return judge(run, None)
    word = min((judge(run, one) for one in counted), key=_ORDER.index)  # the least sure one's
    by_kernels = run.verified_sm_ratio is None and counted[0].basis == "time_share"
    few = by_kernels and any(one.geometry and not one.geometry.settled for one in counted)
    return "settling" if few and word in ("settled", "provisional") else word


def _figure(run: Run, counted: Sequence[Recommendation], *, stated: bool) -> Figure | None:
    main = run.recommendation
    if main is None:
        return None
    verified = run.verified_sm_ratio
    if verified is not None and stated:
        return Figure(verified, verified, "sm_share", "verified")
    ratios = [ratio for one in counted if (ratio := ratio_of(one)) is not None]
    needs = [one.geometry for one in counted if one.geometry is not None and not one.capped]
    if needs and len(needs) == len(counted) and main.basis == "time_share" and ratios:
        low, high = max(n.low_ratio for n in needs), max(n.high_ratio for n in needs)
        return Figure(low, high, "sm_share", "geometry")
    if not ratios:
        return None
    share = max(ratios)
    return Figure(share, share, main.basis, "gpm" if main.basis == "sm_share" else "time")


def _fullest(counted: Sequence[Recommendation]) -> MemoryEstimate | None:
    """Return the memory estimate of the GPU that needs most."""
    known = [one.memory for one in counted if one.memory and not math.isnan(one.memory.peak_bytes)]
    return max(known, key=lambda one: one.target_bytes or one.peak_bytes, default=None)


def _memory_bytes(memory: MemoryEstimate | None) -> float | None:
    if memory is None:
        return None
    return memory.peak_bytes if memory.target_bytes is None else memory.target_bytes


def _share_words(figure: Figure | None, run: Run) -> str:
    if figure is None:
        return "busy 0 % of the time"
    low, high = percent(figure.low_ratio), percent(figure.high_ratio)
    if figure.basis == "sm_share":
        both = high if low == high else f"{low[:-2]} to {high}"
        return f"needs {both} of the GPU's SMs"
    if is_cpu(run):
        count = next((one.cpu_count for one in run.started.devices if one.cpu_count), None)
        return f"uses {high} of {'the CPU' if count is None else f'{count} CPU cores'}"
    return f"busy {high} of the time"


def _memory_words(memory: MemoryEstimate | None, word: Word, share: str) -> str:
    """Return the headline's second part; empty where no memory was read."""
    if memory is None:
        return ""
    kind = {"rss": " of host memory", "device-wide": " (whole GPU)"}.get(memory.basis, "")
    if memory.target_bytes is not None and word in STATED:
        joint = " and " if share.startswith("needs") else ", needs "
        return f"{joint}{gib(memory.target_bytes)}{kind}"
    if word in (*STATED, "not used yet"):
        return f", at least {gib(memory.peak_bytes)}{kind} so far"
    return f", peak {gib(memory.peak_bytes)}{kind}"


def _headline(run: Run, word: Word, figure: Figure | None, memory: MemoryEstimate | None) -> str:
    share = _share_words(figure, run)
    by_kernels = figure is not None and figure.method == "geometry"
    if word in ("observed", "changed") and not by_kernels:
        share = share.replace("needs", "used", 1)
    held = _memory_words(memory, word, share)
    running = run.outcome == "running"
    if word == "too short" and running:
        text = f"watched {span(run.duration_s)} so far"
    elif word == "too short":
        error = f" by {run.error}" if run.error else ""
        text = f"too short to say: {run.outcome}{error} after {span(run.duration_s)}"
        text += _why_nothing(run)
    elif run.recommendation is None:
        text = f"nothing was read in {span(run.duration_s)}"
    elif run.outcome == "failed":
        text = f"stopped by {run.error or 'an error'}{_full(run, memory)}; {share}{held}"
    elif word == "not used yet":
        text = f"the GPU was not used{' yet' if running else ''}: {share}{held}"
    elif word in ("observed", "changed") and not is_profile(run, run.recommendation):
        text = f"{share}{held}: observed, not predicted"
    else:
        text = share + held
    if run.gpus > 1:
        text += f", the largest of {run.gpus} GPUs"
    elif not run.ranks and len(run.started.devices) > 1 and run.recommendation is not None:
        text += f", on {words.device(run.started.share, run.started)}"
    begin = simulated_as(run).capitalize() or ("CPU" if is_cpu(run) else "")
    return one_line(f"{begin}: {text}" if begin else text[:1].upper() + text[1:])


def _why_nothing(run: Run) -> str:
    """Return why nothing was read of the share; empty where something was, or nobody knows."""
    share = run.started.share
    missing = next((one for one in run.unavailable if one.series == share), None)
    if run.samples or missing is None:
        return ""
    return f": {missing.detail or missing.reason.replace('_', ' ')}"


def _full(run: Run, memory: MemoryEstimate | None) -> str:
    """Return how full the memory was when it ran out; empty where something else went wrong."""
    if memory is None or not _NO_MEMORY.search(run.error):
        return ""
    total = max((one.memory_total_bytes or 0 for one in run.started.devices), default=0)
    peak = gib(memory.peak_bytes)
    return f" at {peak[:-4]} of {gib(total)}" if total and peak.endswith(" GiB") else f" at {peak}"


def _meaning(run: Run, word: Word, figure: Figure | None, memory: MemoryEstimate | None) -> str:
    main = run.recommendation
    if main is None:
        return one_line(f"not available: no reading was taken{_why_nothing(run)}")
    parts, profile = [], is_profile(run, main)
    if main.capped:
        parts.append(main.reason)
    elif word == "changed":
        parts.append(_withdrawn(run, main))
    elif word in ("observed", "too short", "not used yet") and not profile:
        ended = {"failed": "the cell failed", "interrupted": "the cell was interrupted"}
        parts.append(f"{ended.get(run.outcome, '')}; {main.reason}".removeprefix("; "))
    elif figure is not None and figure.method == "geometry" and main.geometry is not None:
        parts.append(f"for {percent(main.geometry.speed_ratio)} of full speed, by kernel geometry")
        parts.append(f"busy {percent(main.mean_ratio if profile else ratio_of(main))} of the time")
        parts += [] if profile else [f"exports take {percent(figure.high_ratio)}"]
    elif run.verified is not None and figure is not None and figure.method == "verified":
        parts.append(f"keeps {percent(run.verified.speed_ratio)} of full speed, tried")
    else:
        so_far = "" if word in ("settled", "provisional") else " so far"
        by = ", by SM activity" if figure is not None and figure.method == "gpm" else ""
        parts.append(f"covers {percent(main.coverage_target_ratio)} of the time{so_far}{by}")
    if memory is not None and memory.target_bytes is not None and word not in OBSERVED:
        margin = memory.target_bytes / memory.peak_bytes - 1.0 if memory.peak_bytes else 0.0
        parts.append(f"peak {gib(memory.peak_bytes)} + {percent(margin)}")
    elif memory is not None and memory.preallocated:
        parts.append("the framework took the memory in advance: that is not what it needs")
    return one_line(" · ".join(parts))


def _withdrawn(run: Run, main: Recommendation) -> str:
    """Return when and why the prediction was withdrawn."""
    if main.state == "converged":
        held, aim = percent(main.coverage_ratio), percent(main.coverage_target_ratio)
        return f"the prediction held {held} of the time since, not {aim}"
    if main.withdrawn is None:
        times = [one.t_s for one in run.states if one.new == "stale"]
        at = f" at {words.moment(times[-1])}" if times else ""
        return f"usage rose above the prediction{at}; it was withdrawn"
    ratio, at_s = main.withdrawn
    at = words.moment(at_s)
    return f"usage rose above the predicted {percent(ratio)} at {at}; the prediction was withdrawn"


def _evidence(run: Run, word: Word, figure: Figure | None) -> str:
    main = run.recommendation
    if main is None:
        return ""
    profile = is_profile(run, main)
    whole = "" if main.total_s is None else f" of about {span(main.total_s)}"
    parts = [] if profile else [f"watched {span(watched_s(run))}{whole}"]
    if main.state == "converged" and main.coverage_ratio is not None:
        parts.append(f"held {percent(main.coverage_ratio)} of the time since")
    if run.outcome == "running" and word in ("settling", "changed", "too short", "no GPU"):
        parts += ["learning again"] if word == "changed" else []
        parts.append(_to_be_sure(main))
    elif word in ("no GPU", "observed") and main.state != "converged" and not profile:
        parts.append("no prediction")
    if (of := _DONE.search(main.progress)) is not None:
        parts.append(f"{of[2]}s {of[1]}")
    parts.append(where(run))
    if figure is not None and figure.method == "geometry" and main.geometry is not None:
        parts.append(words.kernels(main.geometry))
    if figure is not None and figure.method == "time":
        parts.append(words.sm_share_hint(run))
    return one_line(" · ".join(part for part in parts if part))


def _to_be_sure(main: Recommendation) -> str:
    """Return how much more would make the figure sure; empty where that is not known."""
    if main.state == "converged":
        left_s = LEAST_ACTIVE_S - active_s_of(main)
        return f"{span(left_s)} more to be sure" if left_s > 0 else "too few readings to be sure"
    return main.reason


def _notes(run: Run) -> Iterator[str]:
    """Yield what changes the figure's meaning; of a recording, what was repaired in it."""
    if run.started.source == RECORDING:
        yield from run.started.notes
    applied = run.applied
    if applied is not None and (applied.capped or not applied.active or applied.reason):
        yield words.mps(applied)
    yield from filter(None, (words.elsewhere(run), words.neighbors(run), run.started.changed))
    slow = [(cause, ratio) for cause, ratio in run.throttled if ratio >= OFTEN_RATIO]
    if slow:
        yield f"the clocks were held down: {words.throttled(slow)}"
    if run.missing_s > OFTEN_RATIO * max(run.duration_s, 1.0):
        yield f"no readings for {span(run.missing_s)} of {span(run.duration_s)}"
    if run.lost_reason:
        yield f"the driver stopped answering: {run.lost_reason}"
    yield from (f"lost: {one}" for one in run.partial)


def _actions(run: Run, word: Word, figure: Figure | None) -> tuple[Action, ...]:
    if run.recommendation is None or word == "too short":
        return ()
    of = run.session_id
    if not of:
        return ()  # a recording that is not stored
    sure = word in ("settled", "no GPU")
    found = [Action("export", "Export…" if sure else "Export anyway…", f"%gpupredict export {of}")]
    if not is_cpu(run) and not run.started.simulated and not run.capped:
        by_sm = figure is not None and figure.basis == "sm_share"
        found.append(
            Action("verify", "Verify…", f"%gpupredict verify {of}{_ends(figure)}")
            if by_sm
            else Action("sweep", "Sweep…", f"%gpupredict sweep {of}")
        )
    return (
        *found,
        Action("details", "Details", f"%gpupredict show {of}"),
        Action("compare", "Compare", ""),
    )


def _ends(figure: Figure | None) -> str:
    """Return the option that tries the lower end of a bracket; empty where it has one end."""
    if figure is None or figure.low_ratio == figure.high_ratio:
        return ""
    return f" --at {sm_percent(figure.low_ratio, None)}"


# ---- details -----------------------------------------------------------------------------------


def _details(run: Run) -> Details:
    """Return at most twelve rows: what is empty is left out."""
    main = run.recommendation
    usage: list[Row] = []
    memory: list[Row] = []
    if main is not None:
        of = METRICS[main.metric].label
        usage = [
            Row(
                "covers",
                f"{percent(main.target_ratio)} {of} for {percent(main.coverage_target_ratio)} "
                "of the time"
                if main.target_ratio is not None
                else "",
                "The smallest usage that is at or above what was used for that part of the time.",
                "covering usage",
            ),
            Row("mean", f"{percent(main.mean_ratio)} {of}" if main.mean_ratio is not None else ""),
            Row(
                "proven",
                words.certified(main),
                "What the watched seconds prove; neighbouring seconds resemble each other.",
                "certified coverage",
            ),
            Row(
                "between",
                words.bounds(main),
                "Where the figure lies for certain, each side with 95 % confidence.",
                "bounds",
            ),
            Row("beside it", "; ".join(filter(None, (_beside(run, one) for one in run.beside)))),
            Row(
                "kernels",
                words.geometry(main),
                "How many SMs the launches of its kernels can use, and what fewer would cost.",
                "kernel",
            ),
            Row(
                "run time",
                words.slowdown(main),
                "How much longer the same work may take at that share of the SMs.",
                "SM share while busy",
            ),
        ]
        usage += [Row("tried", words.verified(run.verified))] if run.verified is not None else []
        memory = [
            Row("memory", words.memory(main.memory), "The peak with a margin on top.", "target"),
            Row("framework", words.allocator(run.allocator)),
        ]
    measuring = [
        Row("read by", words.label(run.started), "Where the readings come from.", "source"),
        Row("readings", _readings(run), "One value of one metric at one time.", "reading"),
        Row("progress", _progress(main)),
        Row("MPS", words.mps(run.applied), "Lets several processes share a GPU.", "MPS"),
        Row("last time", run.started.last_time),
        Row("clocks", words.throttled(run.throttled)),
    ]
    usage, memory, measuring = (
        [dataclasses.replace(row, value=one_line(row.value)) for row in group if row.value]
        for group in (usage, memory, measuring)
    )
    return Details(
        usage=tuple(usage[:5]),
        memory=tuple(memory),
        measuring=tuple(measuring[: 12 - len(usage[:5]) - len(memory)]),
        problems=tuple(map(one_line, _problems(run))),
        ids=one_line(f"{run.outcome}; session {run.session_id}"),
    )


def _beside(run: Run, one: Recommendation) -> str:
    """Return a further share, such as the time beside the SMs; empty for one of another device."""
    main = run.recommendation
    if main is None or one.metric == main.metric:
        return ""
    return f"{percent(ratio_of(one))} {METRICS[one.metric].label}, {judge(run, one)}"


def _readings(run: Run) -> str:
    every = words.refresh(run)
    return f"{run.samples}, {every}" if every else f"{run.samples}"


def _progress(main: Recommendation | None) -> str:
    if main is None:
        return ""
    return "; ".join(part for part in (main.progress, words.time_left(main)) if part)


def _problems(run: Run) -> Iterator[str]:
    for one in run.unavailable:
        yield f"no {METRICS[one.series.metric].label}: {one.reason} {one.detail}".strip()
    if run.started.source != RECORDING:
        yield from run.started.notes
    yield from run.errors
