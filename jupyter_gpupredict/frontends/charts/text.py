"""A run in text: one line while it runs, a block at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core import plain, words
from jupyter_gpupredict.core.metrics import METRICS

if TYPE_CHECKING:
    from jupyter_gpupredict.core.run import Run


MAX_RANKS = 16


def facts(run: Run) -> list[tuple[str, str]]:
    """Return the run's figures as (name, words), the same rows for text and table."""
    started, advice = run.started, run.recommendation
    rows = [("measured", words.label(started))]
    if run.verified is not None:
        rows.append(("verified", words.verified(run.verified)))
    if run.applied is not None:
        rows.append(("MPS", words.mps(run.applied)))
    if advice is None:
        rows.append(("prediction", "not available: no reading was taken"))
    else:
        sign = words.STATE_SIGNS[advice.state]
        rows += [
            ("prediction", words.prediction(advice)),
            ("state", f"{sign} {advice.state}: {advice.reason}"),
            ("mean", f"{words.percent(advice.mean_ratio)} {METRICS[advice.metric].label}"),
            (
                "coverage achieved",
                f"{words.percent(advice.coverage_ratio)} of readings not used to choose the figure"
                if advice.coverage_ratio is not None
                else "not available: no readings beyond those that chose the figure",
            ),
            *(("beside it", words.beside(other, started)) for other in run.beside),
            *((words.rank(one), words.of_rank(one)) for one in run.ranks[:MAX_RANKS]),
            ("more ranks", _more(run)),
            ("partial", "; ".join(run.partial)),
            ("at that share", words.slowdown(advice)),
            ("SM share", words.sm_share_hint(run)),
            ("certified", words.certified(advice)),
            ("bounds", words.bounds(advice)),
            ("memory", words.memory(advice.memory)),
            (_framework(run), words.allocator(run.allocator)),
            (
                "watched",
                f"{words.span(advice.watched_s)} active of {words.span(run.duration_s)}, readings "
                f"for {words.percent(advice.sampled_ratio)} of it ({run.samples})",
            ),
            ("readings", words.refresh(run)),
            ("shared", words.neighbors(run)),
            ("elsewhere", words.elsewhere(run)),
            ("throttled", words.throttled(run.throttled)),
            ("progress", advice.progress),
            ("time left", words.time_left(advice)),
            ("alarms", _alarms(run)),
            ("last time", started.last_time),
        ]
        rows = [(name, text) for name, text in rows if text]
    rows += [
        (f"no {METRICS[one.series.metric].label}", f"{one.reason} {one.detail}".strip())
        for one in run.unavailable
    ]
    rows += [("note", note) for note in started.notes]
    rows += [("problem", error) for error in run.errors]
    rows.append(("outcome", f"{run.outcome}; session {run.session_id}"))
    return [(name, plain.one_line(text)) for name, text in rows]


def _framework(run: Run) -> str:
    return f"{run.allocator.framework} allocator" if run.allocator else ""


def _more(run: Run) -> str:
    rest = len(run.ranks) - MAX_RANKS
    return f"{rest}, in the stored trace and the result's JSON" if rest > 0 else ""


def _alarms(run: Run) -> str:
    """Return when a prediction was withdrawn; empty when none was."""
    times = [words.span(change.t_s) for change in run.states if change.new == "stale"]
    return f"usage outgrew the prediction at {', '.join(times)}" if times else ""


def line(run: Run) -> str:
    """Return one line for a terminal, at most 160 characters."""
    advice = run.recommendation
    if advice is None:
        return f"gpupredict {words.span(run.duration_s)}: no reading yet"
    now = words.percent(run.share[-1][2]) if run.share else "-"
    took = words.span(run.duration_s)
    said = f"gpupredict {took}: {now} now, {advice.state}: {words.prediction(advice)}"
    return plain.one_line(said)[:160]


def block(run: Run) -> str:
    """Return the summary, at most some 2 kB."""
    rows = facts(run)
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {text}" for name, text in rows]
    return "\n".join(["gpupredict", *lines])[:2000]
