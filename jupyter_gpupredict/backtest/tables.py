"""A report as tables (Markdown, which also reads well in a terminal) and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.backtest.run import BASELINES
from jupyter_gpupredict.backtest.score import (
    COVERAGE,
    LOW_COVERAGE,
    LOW_GUARDED,
    MEASURES,
    MISSED,
    summarise,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_gpupredict.backtest.run import Outcome, Report
    from jupyter_gpupredict.backtest.score import Means, Summary

COLUMNS = (
    ("abstained", "abst", 3),
    ("watched_ratio", "watched", 3),
    ("watched_s", "watched s", 0),
    ("mean_error_points", "mean err", 2),
    ("covering_error_points", "p95 err", 2),
    ("coverage_ratio", "cov", 3),
    (LOW_COVERAGE, "cov p5", 3),
    ("slack_points", "slack", 2),
    ("fccov", "fccov", 3),
    ("fc", "fc", 3),
    ("memory_miss", "mem miss", 3),
    ("memory_over_ratio", "mem over", 3),
)
"""(measure, heading, decimals)."""
GUARD_COLUMNS = (
    ("guarded_coverage_ratio", "guard cov", 3),
    (LOW_GUARDED, "guard p5", 3),
    ("guarded_fccov", "guard fccov", 3),
    ("alarms", "alarms", 3),
    ("false_alarm", "false alarm", 3),
    ("uncapped_ratio", "uncapped", 3),
)
LEGEND = (
    "watched: share of the active run (1 when abstained). mean err, p95 err: points from the whole "
    "run's mean and covering usage. cov, cov p5, slack: of the rest, the part behind convergence. "
    "fccov: converged, and the rest covered less than 90 %; fc: that, or its mean more than 5 "
    "points off; both are shares of all runs. mem miss: memory rose above its target later. guard "
    "cov, its p5 and fccov: with what follows the first alarm taken as covered, over the runs "
    "that converged. *: knows the run's length."
)
"""What the headings mean."""


def by_rule(summaries: Mapping[str, Summary], part: str = "macro") -> str:
    """Return one line for each rule; `part` is `macro`, `by_family` or `pooled`."""
    rows = [(marked(rule), one.runs, getattr(one, part)) for rule, one in summaries.items()]
    return table("rule", rows)


def by_group(
    summaries: Mapping[str, Summary], measures: Sequence[str], part: str = "groups"
) -> str:
    """Return one line for each group (or of `families`) and, side by side, every rule's figures."""
    known = {key: (heading, places) for key, heading, places in COLUMNS + GUARD_COLUMNS}
    held = {rule: getattr(one, part) for rule, one in summaries.items()}
    names = dict.fromkeys(name for means in held.values() for name in means)
    pairs = [(measure, rule) for measure in measures for rule in held]
    return grid(
        [
            "group" if part == "groups" else "family",
            *(f"{marked(rule)} {known[measure][0]}" for measure, rule in pairs),
        ],
        [
            [name, *(_figure(held[rule].get(name, {}).get(m), known[m][1]) for m, rule in pairs)]
            for name in names
        ],
    )


def marked(rule: str) -> str:
    """Return a rule's name, with a star where it knows the run's length."""
    known = rule in BASELINES and BASELINES[rule].knows_length
    return f"{rule} *" if known else rule


def summaries(report: Report) -> dict[str, Summary]:
    """Return the averages of every rule."""
    return {rule: summarise(report.scored(rule)) for rule in report.rules}


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as one JSON object; what a measure does not apply to is null."""
    return {
        "runs": len(report.runs),
        "active_hours": round(sum(one.active_s for one in report.runs) / 3600, 3),
        "unreadable": [{"id": name, "reason": reason} for name, reason in report.unreadable],
        "idle": list(report.idle),
        "coverage_target": COVERAGE,
        "missed_below": round(COVERAGE - MISSED, 9),
        "rules": {
            rule: _rule_as_json(rule, summary, report.outcomes(rule))
            for rule, summary in summaries(report).items()
        },
    }


def _rule_as_json(rule: str, summary: Summary, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "knows_length": marked(rule) != rule,
        "runs": summary.runs,
        "macro": summary.macro,
        "by_family": summary.by_family,
        "pooled": summary.pooled,
        "groups": {
            group: {"runs": summary.group_runs[group], **means}
            for group, means in summary.groups.items()
        },
        "families": summary.families,
        "errors": [{"id": one.scored.id, "error": one.error} for one in outcomes if one.error],
        "answers": [_answer(outcome) for outcome in outcomes],
    }


def _answer(outcome: Outcome) -> dict[str, Any]:
    answer, scored = outcome.answer, outcome.scored
    return {
        "id": scored.id,
        "group": scored.group,
        "family": scored.family,
        "state": "abstained" if answer.converged_at_s is None else "converged",
        "converged_at_s": answer.converged_at_s,
        "target_pct": answer.target_pct,
        "mean_pct": answer.mean_pct,
        "mem_target_mib": answer.mem_target_mib,
        "alarms": None if answer.alarms_s is None else list(answer.alarms_s),
        "score": asdict(scored.score),
    }


ROW_KINDS = {
    **dict.fromkeys(("trace", "rule", "group", "family", "problem", "state"), "text"),
    "converged_at_s": "number",
    "target_pct": "whole",
    "mean_pct": "number",
    "mem_target_mib": "number",
    "alarm_times_s": "[number]",
    **{f"score_{measure}": "number" for measure in MEASURES},
}
"""Column of a row -> what is in it, as `files.row_file` takes it."""


def as_rows(report: Report) -> list[dict[str, Any]]:
    """Return one row for each run and rule, and one for each trace that was left out."""
    rows = []
    for one in report.results:
        if not one.outcomes:
            why = one.problem or "the device was never used"
            rows.append({**dict.fromkeys(ROW_KINDS), "trace": one.id, "problem": why})
        for outcome in one.outcomes:
            row = _answer(outcome)
            row |= {f"score_{name}": value for name, value in row.pop("score").items()}
            row |= {"trace": row.pop("id"), "alarm_times_s": row.pop("alarms")}
            row |= {"rule": outcome.rule, "problem": outcome.error}
            rows.append({name: row[name] for name in ROW_KINDS})
    return rows


def table(first: str, rows: Sequence[tuple[str, int, Means]]) -> str:
    """Return one line for each (name, number of runs, means); `first` heads the names."""
    guarded = any(means.get("alarms") is not None for _, _, means in rows)
    every = COLUMNS + (GUARD_COLUMNS if guarded else ())
    columns = [one for one in every if any(one[0] in means for _, _, means in rows)]
    return grid(
        [first, "n", *(heading for _, heading, _ in columns)],
        [
            [name, str(count), *(_figure(means.get(key), places) for key, _, places in columns)]
            for name, count, means in rows
        ],
    )


def _figure(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns also line up as plain text."""
    first, *others = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = [
        " | ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)])
        for row in (titles, *rows)
    ]
    rule = "|".join(["-" * (first + 2), *("-" * (width + 1) + ":" for width in others)])
    head, *body = [f"| {line} |" for line in lines]
    return "\n".join([head, f"|{rule}|", *body])
