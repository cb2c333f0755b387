"""`jupyter gpupredict backtest DIR`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.frontends.cli.batch import Bar, spreading
from jupyter_gpupredict.frontends.terminal import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from jupyter_gpupredict.backtest.cases import Case
    from jupyter_gpupredict.backtest.run import Report

RULES = "default,accurate,quick"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    add = parser.add_argument
    add("folder", nargs="?", metavar="DIR", help="traces, grouped by an INDEX.tsv if any")
    add("--rules", default=RULES, metavar="NAME,...", help=f"ours and baselines; default: {RULES}")
    add("--where", action="append", default=[], metavar="COL=VAL", help="rows of the index to use")
    add("--synthetic", metavar="FROM:TO", help="every scenario with these seeds, both included")
    spreading(parser)
    add("--out", metavar="FILE", help="write one row for each run and rule: .parquet or .jsonl")
    add("--plots", metavar="DIR", help="write the figures there, as HTML and SVG")
    add("--json", action="store_true", help="one JSON object on stdout")


def main(options: argparse.Namespace) -> int:
    """Score the rules and print the tables."""
    from jupyter_gpupredict.backtest import plots, run, tables
    from jupyter_gpupredict.backtest.files import row_file

    rules = [name.strip() for name in options.rules.split(",") if name.strip()]
    run.check_rules(rules)
    cases, missing = _cases(options)
    folder = plots.prepare(options.plots) if options.plots else None
    bar = Bar(sys.stderr.isatty())
    try:
        report = run.backtest(
            cases, rules, jobs=options.jobs, scheduler=options.scheduler, progress=bar.show
        )
    finally:
        bar.end()
    if not report.runs:
        raise InvalidOption("no trace could be scored", _why(report))
    if folder is not None:
        ours = next((rule for rule in rules if rule not in run.BASELINES), "default")
        written = plots.write(folder, report, cases, ours)
        say(f"{len(written)} files written to {folder}", error=True)
    if options.out:
        with row_file(options.out, tables.ROW_KINDS) as write:
            write(tables.as_rows(report))
    if options.json:
        told = {"missing": list(missing), **tables.as_json(report)}
        say(json.dumps(told, allow_nan=False))
    else:
        _print(report, missing)
    return 0


def _cases(options: argparse.Namespace) -> tuple[Sequence[Case], tuple[str, ...]]:
    from jupyter_gpupredict.backtest import cases

    if (options.folder is None) == (options.synthetic is None):
        raise InvalidOption("what is to be run?", "a folder of traces, or --synthetic FROM:TO")
    where = [_pair(text) for text in options.where]
    if options.folder is not None:
        found = cases.folder(options.folder, where)
        return found.cases, found.missing
    return cases.simulated(_seeds(options.synthetic), where), ()


def _pair(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not equals or not column:
        raise InvalidOption(f"--where {text!r} says nothing", "--where kind=training")
    return column, value


def _seeds(text: str) -> range:
    first, _, last = text.partition(":")
    try:
        found = range(int(first), int(last or first) + 1)
    except ValueError:
        raise InvalidOption(f"--synthetic {text!r} names no seeds", "--synthetic 0:19") from None
    if not found or found.start < 0:
        raise InvalidOption(f"--synthetic {text!r} names no seeds", "--synthetic 0:19")
    return found


def _why(report: Report) -> str:
    if report.unreadable:
        return "; ".join(f"{name}: {reason}" for name, reason in report.unreadable[:1])
    return "the device was never used in any of them"


def _print(report: Report, missing: tuple[str, ...]) -> None:
    from jupyter_gpupredict.backtest import tables

    summaries = tables.summaries(report)
    some = next(iter(summaries.values()))
    hours = sum(one.active_s for one in report.runs) / 3600
    parts = [
        f"{len(report.runs)} runs, {len(some.groups)} groups, {len(some.families)} families, "
        f"{hours:.1f} h active; mean over groups",
        tables.by_rule(summaries),
        tables.by_group(summaries, ["watched_ratio", "fc"]),
        tables.LEGEND,
    ]
    for title, lines in (
        ("not readable, left out", [f"{name}: {why}" for name, why in report.unreadable]),
        ("never used the device, left out", list(report.idle)),
        ("in the index without a file", list(missing)),
        (
            "no answer, scored as abstained",
            [
                f"{rule}, {one.scored.id}: {one.error}"
                for rule in report.rules
                for one in report.outcomes(rule)
                if one.error
            ],
        ),
    ):
        if lines:
            parts.append("\n".join([f"{len(lines)} {title}:", *(f"  {line}" for line in lines)]))
    say("\n\n".join(parts))
