"""How the rules fare on recorded training runs and on synthetic ones.

Run: python -m benchmarks.prediction TRACES [--seeds 40], which writes benchmarks/prediction.md

TRACES is a folder of traces with an INDEX.tsv that has the columns id, group, family, kind, repo,
gpu and licence; the runs of kind `training` are scored. The traces stay where they are. Synthetic
runs have the seeds 0 to N-1, which are there to develop with: the rules were chosen with figures on
them in view, so they are no proof. Proof needs seeds that nobody has looked at.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.machine import header
from benchmarks.paired import Difference, paired_difference
from jupyter_gpupredict.backtest import synthetic, tables
from jupyter_gpupredict.backtest.cases import INDEX, folder, simulated
from jupyter_gpupredict.backtest.run import BASELINES, HINTED, Report, backtest
from jupyter_gpupredict.backtest.score import Score, Summary, truth
from jupyter_gpupredict.core.progress import Mark, Progress
from jupyter_gpupredict.core.recommendation import LEAST_ACTIVE_S, LEAST_N_EFF
from jupyter_gpupredict.predict.windows import least_pooled_s

TARGET = Path(__file__).with_suffix(".md")
RULES = ["default", "accurate", "quick", "default+hints", *BASELINES]
DEVELOPMENT_SEEDS = 5000
"""Seeds below are for development; others are left for a single look."""
TRIED = 2800
"""Settings of the stop rules tried on development data: 95 of windows of fixed length and of a
decaying histogram, some 2545 of windows that grow, 80 of periods, 80 of windows that are judged
otherwise. Add every setting tried."""
LENGTHS = (("under 800 s", 0.0, 800.0), ("under an hour", 800.0, 3600.0), ("longer", 3600.0, 1e9))
CHOICE = """## How the presets were chosen

By what the other families say, each family of recordings and each scenario left out in turn: \
[choice.md](choice.md), which `python -m benchmarks.choice` writes, has the held-out figures for \
every budget of watching, and those of the presets on the same runs. `default` and `accurate` lie \
on the line of what is chosen there. Twelve windows from 480 s \
on are as good as the eight of `default`, but have 16 blocks to know their noise by. `quick` is \
the paper's three windows, at the length that leaves a fifth of the runs wrong at most. \
[before.md](before.md) has the presets that these replaced.

What decided which settings are tried there, each on the seeds 0 to 19 and the recordings; \
watched, fc, and fc over an hour where it is given:

- **Growing windows.** Four windows over the last half, 5 points: .423 and .160 from 360 s on, \
.504 and .116 from 600 s; two windows of a fixed 300 s and 2 points: .560 and .117.
- **More windows.** Over two thirds from 600 s on, 5 standard errors: four .546, .095, .160; six \
.585, .079, .140; eight .620, .071, .115. The same from 900 s on: eight .673, .059, .101. More \
windows are a stricter test of a trend, and cost less than a longer horizon.
- **Agreement by noise.** Eight windows from 900 s on: .691 and .055 with 5 standard errors over \
four fifths, .705 and .052 with 3 over two thirds, .726 and .047 with 2.
- **Periods that the readings show** as windows, three that agree within two points: from .620 \
and .071 to .596 and .072 for `default`, from .726 and .047 to .690 and .048 for `accurate`; \
within one point .600 and .071. Two in the place of three: .587, .079 and .125 against .603, \
.069 and .109 (half a point in any case).
- **The highest of the windows' covering usages** instead of the pooled one: `quick`'s fccov .097 \
to .091 for .1 points of slack; two points on top of all: .090 for 1.3 points.
- **Memory within 5 %** over the windows: .586 and .079, and on recordings of several jobs in a \
row fc .111 to 0. **Power within 10 %**, or within 5 %, changes nothing here; it is asked since a \
late phase may show there first.
- **Judged otherwise**, on the seeds 0 to 39: eighths by noise alone, with quarters within 5 and \
halves within 3 points, 3.5 standard errors, .605, .068 and .115, where the rule has .609, .067 \
and .112; the noise from how neighbouring blocks differ, .614 and .066 (median), .616 and .070 \
(mean square). All lie on one line: what one gains in watching it loses in being right.
- **The mean of the windows**, not that of the whole run so far: fc .083 and .267.
- **Memory margins** after none, one and more late rises, missed and over of `default`: 1.15, 1.20 \
and 1.30: .048 and .148; 1.12, 1.20 and 1.30: .048 and .139; 1.10, 1.15 and 1.30: .054 and .121. \
Between 1.05 and 1.15 the first of them changes no run of any family, for any preset: what never \
rose after its first minute and rises later does so by a phase, not by growth.

The drift, phase, pause and step scenarios change at a moment that nothing announces: most of what \
is wrong lies there, and only watching longer lowers it."""
LEAST_WATCHED = 0.10
HINTED_S = 600.0
"""Shorter runs are over before hints can help."""
COMPARED: dict[str, tuple[Callable[[Score], float | None], int]] = {
    "watched": (lambda one: one.watched_ratio, 3),
    "fc": (lambda one: one.fc, 3),
    "fccov": (lambda one: one.fccov, 3),
    "mean err": (lambda one: one.mean_error_points, 2),
}
MEASURED: dict[str, Callable[[Score], float | None]] = {
    "watched": lambda one: one.watched_ratio,
    "fc": lambda one: one.fc,
    "fccov": lambda one: one.fccov,
    "guard fccov": lambda one: one.guarded_fccov,
    "uncapped": lambda one: one.uncapped_ratio,
    "mem miss": lambda one: one.memory_miss,
    "mem over": lambda one: one.memory_over_ratio,
}
CROSSED = ("watched_ratio", "fc", "fccov", "guarded_fccov", "uncapped_ratio")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", help="folder with INDEX.tsv")
    parser.add_argument("--seeds", type=int, default=40, metavar="N", help="0 to N-1")
    parser.add_argument("--rules", default=",".join(RULES), metavar="NAME,...")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--output", type=Path, default=TARGET)
    options = parser.parse_args()
    if not 1 <= options.seeds <= DEVELOPMENT_SEEDS:
        parser.error(f"--seeds: 1 to {DEVELOPMENT_SEEDS}; the others are for a single look")
    rules = options.rules.split(",")
    began = time.monotonic()
    recorded = backtest(
        folder(options.traces, [("kind", "training")]).cases, rules, jobs=options.jobs
    )
    recorded_s = time.monotonic() - began
    simulation = backtest(simulated(range(options.seeds)), rules, jobs=options.jobs)
    synthetic_s = time.monotonic() - began - recorded_s
    text = page(recorded, simulation, options.seeds, sources(Path(options.traces), recorded))
    options.output.write_text(text, encoding="utf-8")
    print(f"{options.output}: recorded {recorded_s:.1f} s, synthetic {synthetic_s:.1f} s")
    if recorded.unreadable or simulation.unreadable:
        sys.exit(f"not readable: {[*recorded.unreadable, *simulation.unreadable]}")


def page(recorded: Report, simulation: Report, seeds: int, origin: str) -> str:
    real, made = tables.summaries(recorded), tables.summaries(simulation)
    hours = sum(one.active_s for one in recorded.runs) / 3600
    made_hours = sum(one.active_s for one in simulation.runs) / 3600
    some = next(iter(real.values()))
    ours = {rule: one for rule, one in real.items() if rule not in BASELINES}
    ours_made = {rule: one for rule, one in made.items() if rule not in BASELINES}
    names = "\n".join(
        f"- `{name}`{' *' if one.knows_length else ''}: {one.summary}"
        for name, one in BASELINES.items()
        if name in real
    )
    return "\n\n".join(
        [
            "# Prediction",
            "Written by `python -m benchmarks.prediction`; not by hand.",
            header(),
            f"{tables.LEGEND} The truth of a run is the whole of it.",
            f"Baselines, without a guard:\n\n{names}",
            "These are **development** data: the presets were fixed with figures on them in view, "
            f"and {TRIED} settings of the rules have been tried. Figures on new data will be "
            "somewhat worse; those on seeds that nobody had looked at stand in `clean_looks.md`.",
            CHOICE,
            "## By length of run",
            "Recorded and synthetic runs together; groups and scenarios have one vote each, and "
            "are drawn for the 95 % bootstrap intervals.",
            by_length(recorded, simulation),
            "## With hints",
            "Synthetic runs of 600 s and more whose hints say how many epochs there are, E. The "
            f"bar of a run is the largest of {LEAST_WATCHED}, 3 / E, and the share that "
            f"{LEAST_ACTIVE_S:.0f} s and readings worth {LEAST_N_EFF:.0f} take. The third epoch "
            "ends later than at 3 / E of the run where the first one, which is cold, lasts longer.",
            hinted(simulation),
            "## Recorded training runs",
            f"{len(recorded.runs)} runs, {len(some.groups)} groups, {len(some.families)} families, "
            f"{hours:.1f} h active, on no device under MPS. Runs of a group share one vote.",
            origin,
            "### Mean over groups",
            tables.by_rule(real),
            "### Mean over families",
            tables.by_rule(real, "by_family"),
            f"### Against `{recorded.rules[0]}`, paired",
            "Difference with its 95 % bootstrap interval; groups are drawn.",
            differences(recorded, "groups"),
            "### Each group",
            crossed(ours),
            "### Each family",
            crossed(ours, "families"),
            "## Synthetic runs",
            f"{len(simulation.runs)} runs, {made_hours:.0f} h: {len(some_groups(made))} scenarios "
            f"with the seeds 0 to {seeds - 1}. No rule is told of epochs unless its name says so.",
            "### Mean over scenarios",
            tables.by_rule(made),
            f"### Against `{simulation.rules[0]}`, paired",
            "Difference with its 95 % bootstrap interval; runs are drawn within their scenario.",
            differences(simulation, "runs"),
            "### Each scenario",
            crossed(ours_made),
            *(
                f"#### `{rule}`\n\n{every_group(summary)}"
                for rule, summary in ours_made.items()
            ),
        ]
    ) + "\n"  # fmt: skip


def by_length(*reports: Report) -> str:
    lengths = {one.id: one.active_s for report in reports for one in report.runs}
    rows = []
    for rule in (rule for rule in reports[0].rules if rule not in BASELINES):
        scored = [one for report in reports for one in report.scored(rule)]
        for name, low, high in (("all", 0.0, 1e9), *LENGTHS):
            some = [one for one in scored if low <= lengths[one.id] < high]
            figures = (paired_difference(some, None, measure) for measure in MEASURED.values())
            rows.append([tables.marked(rule), name, str(len(some)), *map(_interval, figures)])
    return tables.grid(["rule", "length", "runs", *MEASURED], rows)


def _interval(found: Difference | None) -> str:
    return "-" if found is None else f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def hinted(report: Report) -> str:
    """Return how much of the runs with epochs was watched with hints, beside the bar of each."""
    rows = []
    groups = dict.fromkeys(one.group for one in report.scored(report.rules[0]))
    for group in groups:
        found = []
        for outcome in report.outcomes("default" + HINTED):
            scored = outcome.scored
            if scored.group != group:
                continue
            made = synthetic.run(group, int(scored.id.rpartition("-")[2]))
            active_s = truth(made.trace).active_s
            if made.epochs_total is None or active_s < HINTED_S:
                continue
            third_s = next((m.time_s for m in made.marks if _ends_third(m)), math.inf)
            least_s = least_pooled_s(made.trace.period_s(made.trace.share_series(None)))
            bar = max(LEAST_WATCHED, 3 / made.epochs_total, least_s / active_s)
            at_s = outcome.answer.converged_at_s
            early = at_s is not None and at_s <= third_s + 2.0
            found.append((scored.score.watched_ratio, min(1.0, bar), scored.score.fc, early))
        if found:
            means = [sum(column) / len(found) for column in zip(*found, strict=True)]
            rows.append([group, str(len(found)), *(f"{mean:.3f}" for mean in means)])
    return tables.grid(["scenario", "runs", "watched", "bar", "fc", "by the third epoch"], rows)


def _ends_third(mark: Mark) -> bool:
    return isinstance(mark, Progress) and mark.unit == "epoch" and mark.done >= 3


def every_group(summary: Summary) -> str:
    rows = [(group, summary.group_runs[group], means) for group, means in summary.groups.items()]
    return tables.table("group", rows)


def some_groups(summaries: Mapping[str, Summary]) -> list[str]:
    return list(next(iter(summaries.values())).groups)


def crossed(summaries: dict[str, Summary], part: str = "groups") -> str:
    return "\n\n".join(tables.by_group(summaries, [measure], part) for measure in CROSSED)


def differences(report: Report, draw: str) -> str:
    first = report.scored(report.rules[0])
    rows = []
    for rule in report.rules[1:]:
        row = [tables.marked(rule)]
        for measure, places in COMPARED.values():
            kind = "groups" if draw == "groups" else "runs"
            found = paired_difference(report.scored(rule), first, measure, draw=kind)
            row.append(
                "-"
                if found is None
                else f"{found.mean:+.{places}f} [{found.low:+.{places}f}, {found.high:+.{places}f}]"
            )
        rows.append(row)
    return tables.grid(["rule", *COMPARED], rows)


def sources(place: Path, report: Report) -> str:
    """Return where the runs of each family come from, as the index says."""
    scored = {one.id for one in report.runs}
    with (place / INDEX).open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["id"] in scored]
    found: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        held = found.setdefault(row["family"], {})
        for column in ("id", "group", "repo", "gpu", "licence"):
            held.setdefault(column, set()).add(row.get(column) or "-")
    return tables.grid(
        ["family", "runs", "groups", "repository", "GPU", "licence"],
        [
            [
                family,
                str(len(held["id"])),
                str(len(held["group"])),
                *("; ".join(sorted(held[column])) for column in ("repo", "gpu", "licence")),
            ]
            for family, held in found.items()
        ],
    )


if __name__ == "__main__":
    main()
