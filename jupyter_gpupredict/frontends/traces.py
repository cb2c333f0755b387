"""`jupyter gpupredict predict` and `backtest`: rules over recorded traces, one or many."""

from __future__ import annotations

import contextlib
import glob
import json
import math
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.frontends.options import add_options, given_options
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.run import (
    SessionConfig,
    check_recording_options,
    fetch_recording,
    predict_recording,
    predict_recordings,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from jupyter_gpupredict.backtest.cases import Case
    from jupyter_gpupredict.backtest.run import Report

RULES = "default,accurate,quick"
BAR_WIDTH = 30
MOST_LISTED = 20
RULE_OPTIONS = ("rule", "epochs", "window_s", "agree", "tolerance_points")


def _spreading(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where many traces are worked on."""
    add = parser.add_argument
    add("--jobs", type=int, metavar="N", help="processes; default: one for each core")
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="a Dask cluster does the work; local: one of --jobs workers for this command",
    )


class _Bar:
    """How far it is, in one line that is written over; silent where nobody looks."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown

    def show(self, done: int, every: int, unit: str = "runs") -> None:
        """Draw it."""
        if self._shown:
            full = BAR_WIDTH * done // every if every else BAR_WIDTH
            bar = "#" * full + "." * (BAR_WIDTH - full)
            sys.stderr.write(f"\r[{bar}] {done}/{every} {unit}")
            sys.stderr.flush()

    def end(self) -> None:
        """Wipe the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


# ---- predict ----------------------------------------------------------------------------------


def predict_options(parser: argparse.ArgumentParser, _: Any = None) -> None:
    """Add this verb's options."""
    add = parser.add_argument
    add(
        "traces",
        nargs="*",
        metavar="TRACE",
        help="our own .jsonl, a log of usage, or a profile of kernels (torch.profiler, Nsight "
        "Systems, XLA); many of them, a folder, a pattern, Parquet or a URL of fsspec's: one row "
        "each; -: the standard input",
    )
    add("--metric", help="such as gpu_util_pct; default: the trace's best")
    add("--no-guard", action="store_true", help="do not watch after convergence")
    add_options(parser, SessionConfig, only=RULE_OPTIONS)
    add("--prometheus", metavar="URL", help="read a DCGM exporter's series there, not a trace")
    add("--from", dest="begin", metavar="TIME", help="with --prometheus: ISO 8601 or Unix seconds")
    add("--to", dest="end", metavar="TIME", help="the same; default: now")
    add("--match", metavar="MATCHERS", help="with --prometheus: which GPU, such as 'gpu=\"0\"'")
    add_options(parser, ReadOptions)
    add("--out", metavar="FILE", help="write one row for each trace there: .parquet or .jsonl")
    _spreading(parser)
    add("--json", action="store_true", help="one JSON object on stdout")


def predict(options: argparse.Namespace, _: Any = None) -> int:
    """Print the prediction; converged and abstained are both success."""
    rule: dict[str, Any] = {
        **dict.fromkeys(RULE_OPTIONS),
        "rule": "default",
        "metric": options.metric,
        "guard": not options.no_guard,
        **given_options(options, SessionConfig, only=RULE_OPTIONS),
    }
    if _many(options):
        return _predict_many(options, rule)
    found = _predict_one(options, rule)
    if options.json:
        say(json.dumps(found, allow_nan=False))
        return 0
    every = found.get("devices", [found])
    for one in every:
        if len(every) > 1:
            say(f"-- device {one['index']}: {one['name']}")
        say("\n".join(_words(one)))
    return 0


def _many(options: argparse.Namespace) -> bool:
    """Return whether rows are asked for: anything but one plain trace."""
    traces = options.traces
    if options.out or options.scheduler or len(traces) > 1:
        return True
    return bool(traces) and (
        "://" in traces[0]
        or traces[0].endswith(".parquet")
        or Path(traces[0]).is_dir()
        or (glob.has_magic(traces[0]) and not Path(traces[0]).exists())
    )


def _predict_many(options: argparse.Namespace, rule: dict[str, Any]) -> int:
    from jupyter_gpupredict.backtest import run
    from jupyter_gpupredict.backtest.cases import found_in
    from jupyter_gpupredict.backtest.files import line, row_file
    from jupyter_gpupredict.backtest.spread import Where

    if options.prometheus is not None:
        raise InvalidOption("--prometheus gives one trace", "leave out --out and --scheduler")
    check_recording_options(rule)
    read = ReadOptions(**given_options(options, ReadOptions))
    found = found_in(options.traces, read)
    cases, done = found.cases, 0
    few = len(cases) < run.FEW and options.jobs is None
    where = Where(1 if few else options.jobs, options.scheduler)
    bar = _Bar(sys.stderr.isatty())
    states: Counter[str] = Counter()
    try:
        with contextlib.ExitStack() as stack:
            write = None
            if options.out:
                write = stack.enter_context(row_file(options.out, run.PREDICTION_KINDS))
            bar.show(0, len(cases))
            # an interrupt ends the work; the rows that are done are kept
            stack.enter_context(contextlib.suppress(KeyboardInterrupt))
            rows_of = stack.enter_context(
                contextlib.closing(run.predictions(cases, {**rule, "speed": read.speed}, where))
            )
            for done, rows in rows_of:
                if write is not None:
                    write(rows)
                else:
                    say("\n".join(map(line, rows)))
                states.update(row["state"] or "not readable" for row in rows)
                bar.show(done, len(cases))
    finally:
        bar.end()
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    say(f"{len(cases)} traces: {counts}", error=True)
    for line_ in _listed("not recordings, skipped", found.skipped):
        say(line_, error=True)
    if done < len(cases):
        say(f"interrupted: the rows of {done} traces are kept", error=True)
        return 130
    return 0


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    """Return some lines under their number; nothing where there are none."""
    if not lines:
        return []
    more = [f"  and {len(lines) - MOST_LISTED} more"] if len(lines) > MOST_LISTED else []
    return [f"{len(lines)} {title}:", *(f"  {one}" for one in lines[:MOST_LISTED]), *more]


def _predict_one(options: argparse.Namespace, rule: dict[str, Any]) -> dict[str, Any]:
    if bool(options.traces) == (options.prometheus is not None):
        raise InvalidOption("what is to be predicted?", "a trace, or --prometheus URL")
    if options.prometheus is None:
        read = ReadOptions(**given_options(options, ReadOptions))
        bar = _Bar(sys.stderr.isatty())
        try:
            path = str(options.traces[0])
            return predict_recordings(
                path, read, progress=lambda part: bar.show(round(100 * part), 100, "%"), **rule
            )
        finally:
            bar.end()
    if options.begin is None:
        raise InvalidOption("--prometheus needs --from", "--from 2026-01-31T08:00:00Z")
    end_s = SystemClock().wall().timestamp() if options.end is None else _time_s(options.end)
    trace = fetch_recording(
        options.prometheus,
        _time_s(options.begin),
        end_s,
        match=options.match,
        device=options.device,
    )
    return predict_recording(trace, **rule)


def _time_s(text: str) -> float:
    """Return a time in seconds since 1970; one without a zone is this machine's."""
    try:
        time_s = float(text)
    except ValueError:
        try:
            time_s = datetime.fromisoformat(text).astimezone().timestamp()
        except (ValueError, OverflowError):
            time_s = math.nan
    if not 0.0 <= time_s <= 1e11:
        raise InvalidOption(f"{text!r} is not a time", "2026-01-31T08:00:00Z or Unix seconds")
    return time_s


def _words(found: dict[str, Any]) -> list[str]:
    """Return the prediction in lines for people."""
    share = f"{found['target_pct']} % of {found['metric']} ({found['basis']})"
    proof, guard, memory = found["confidence"], found["guard"], found["mem_target_mib"]
    answer = found["answer"]
    lines = [
        f"{answer['sign']} {answer['headline']} [{answer['word']}]",
        *(f"  {answer[name]}" for name in ("meaning", "evidence") if answer[name]),
        *(f"  note: {note}" for note in answer["notes"]),
    ]
    if "geometry" in found:
        lines += _sm_words(found["geometry"], found["recommended_pct"])
    if found["state"] == "converged":
        lines.append(f"converged at {found['converged_at_s']:g} s: {share}")
    elif "geometry" not in found:
        lines.append(f"abstained; observed, not predicted: {share}")
    lines += [f"why: {found['reason']}", f"mean: {found['mean_pct']:g} %"]
    if found["state"] == "converged":
        certified = proof["certified_pct"]
        proven = "nothing" if certified is None else f"coverage of {certified} %"
        low, high = proof["lower_pct"] or 0, proof["upper_pct"]
        bounds = f"{low} to {100 if high is None else high} %"
        worth = f"{proof['n_eff']:.0f} independent seconds"
        lines.append(f"certified: {proven} ({worth}); bounds {bounds}")
    lines.append(f"memory: {found['mem_reason'] if memory is None else f'{memory:g} MiB'}")
    if guard is not None:
        times = ", ".join(f"{time_s:g} s" for time_s in guard["alarms"])
        lines.append(f"guard: {f'usage outgrew the prediction at {times}' if times else 'silent'}")
    return lines


def _sm_words(geometry: dict[str, Any], recommended: float | None) -> list[str]:
    """Return what the kernels' geometry says, in lines for people."""
    if recommended is None:
        return []
    low, high = geometry["need_low_pct"], geometry["need_high_pct"]
    speed, curve = 100 * geometry["speed_goal"], geometry["curve"]
    half = next(point for point in curve if point[0] == 50)
    strange = 100 * geometry["not_understood_share"]
    return [
        f"SMs: {low:g} to {high:g} % of the GPU's {geometry['sms']} for {speed:g} % of its full "
        f"speed, by the geometry of {geometry['kernels']} kernels; to be safe {recommended:g} %",
        f"on half of the SMs it takes {half[1]:.2f} to {half[2]:.2f} times as long",
        *([f"{strange:.0f} % of the kernels' time was not understood"] if strange >= 0.5 else []),
    ]


# ---- backtest ---------------------------------------------------------------------------------


def backtest_options(parser: argparse.ArgumentParser, _: Any = None) -> None:
    """Add this verb's options."""
    add = parser.add_argument
    add("folder", nargs="?", metavar="DIR", help="traces, grouped by an INDEX.tsv if any")
    add("--rules", default=RULES, metavar="NAME,...", help=f"ours and baselines; default: {RULES}")
    add("--where", action="append", default=[], metavar="COL=VAL", help="rows of the index to use")
    add("--synthetic", metavar="FROM:TO", help="every scenario with these seeds, both included")
    _spreading(parser)
    add("--out", metavar="FILE", help="write one row for each run and rule: .parquet or .jsonl")
    add("--plots", metavar="DIR", help="write the figures there, as HTML and SVG")
    add("--json", action="store_true", help="one JSON object on stdout")


def backtest(options: argparse.Namespace, _: Any = None) -> int:
    """Score the rules and print the tables."""
    from jupyter_gpupredict.backtest import plots, run, tables
    from jupyter_gpupredict.backtest.files import row_file

    rules = [name.strip() for name in options.rules.split(",") if name.strip()]
    run.check_rules(rules)
    cases, missing, skipped = _cases(options)
    folder = plots.prepare(options.plots) if options.plots else None
    bar = _Bar(sys.stderr.isatty())
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
        scores = {"missing": list(missing), **tables.as_json(report)}
        say(json.dumps(scores, allow_nan=False))
    else:
        _print(report, missing, skipped)
    if len(report.results) < len(cases):
        say(f"interrupted: {len(report.results)} of {len(cases)} runs were done", error=True)
        return 130
    return 0


def _cases(options: argparse.Namespace) -> tuple[Sequence[Case], tuple[str, ...], tuple[str, ...]]:
    from jupyter_gpupredict.backtest import cases

    if (options.folder is None) == (options.synthetic is None):
        raise InvalidOption("what is to be run?", "a folder of traces, or --synthetic FROM:TO")
    where = [_pair(text) for text in options.where]
    if options.folder is not None:
        found = cases.folder(options.folder, where)
        return found.cases, found.missing, found.skipped
    return cases.simulated(_seeds(options.synthetic), where), (), ()


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


def _print(report: Report, missing: Sequence[str], skipped: Sequence[str]) -> None:
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
        ("not recordings, skipped", list(skipped)),
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
            parts.append("\n".join(_listed(title, lines)))
    say("\n\n".join(parts))
