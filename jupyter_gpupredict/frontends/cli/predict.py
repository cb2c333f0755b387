"""`jupyter gpupredict predict TRACE...`, or of what a Prometheus server recorded."""

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

from jupyter_gpupredict.core.clock import SystemClock
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.frontends.cli.batch import Bar, spreading
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.run import (
    check_recording_options,
    fetch_recording,
    open_recording,
    predict_recording,
)

if TYPE_CHECKING:
    import argparse

    from jupyter_gpupredict.core.recording import Trace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    add = parser.add_argument
    add(
        "traces",
        nargs="*",
        metavar="TRACE",
        help="our own .jsonl, a CSV with a column t_s, or a log of nvidia-smi; many of them, a "
        "folder, a pattern, Parquet or a URL of fsspec's: one row each; -: the standard input",
    )
    add("--rule", default="default", help="default, quick or accurate")
    add("--metric", help="such as gpu_util_pct; default: the trace's best")
    add("--no-guard", action="store_true", help="do not watch after convergence")
    add("--epochs", type=int, metavar="N", help="total number of epochs, when known")
    add("--window", type=float, metavar="SECONDS")
    add("--agree", type=int, metavar="K")
    add("--tolerance", type=float, metavar="POINTS")
    add("--prometheus", metavar="URL", help="read a DCGM exporter's series there, not a trace")
    add("--from", dest="begin", metavar="TIME", help="with --prometheus: ISO 8601 or Unix seconds")
    add("--to", dest="end", metavar="TIME", help="the same; default: now")
    add("--match", metavar="MATCHERS", help="with --prometheus: which GPU, such as 'gpu=\"0\"'")
    add("--device", metavar="UUID|INDEX", help="the same")
    add("--out", metavar="FILE", help="write one row for each trace there: .parquet or .jsonl")
    spreading(parser)
    add("--json", action="store_true", help="one JSON object on stdout")


def main(options: argparse.Namespace) -> int:
    """Print the prediction; converged and abstained are both success."""
    rule: dict[str, Any] = {
        "rule": options.rule,
        "metric": options.metric,
        "guard": not options.no_guard,
        "epochs": options.epochs,
        "window_s": options.window,
        "agree": options.agree,
        "tolerance_points": options.tolerance,
    }
    if _many(options):
        return _predict_many(options, rule)
    found = predict_recording(_recording(options), **rule)
    if options.json:
        say(json.dumps(found, allow_nan=False))
        return 0
    say("\n".join(_words(found)))
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
    from jupyter_gpupredict.backtest.cases import recorded
    from jupyter_gpupredict.backtest.files import line, row_file
    from jupyter_gpupredict.backtest.spread import Where

    if options.prometheus is not None:
        raise InvalidOption("--prometheus gives one trace", "leave out --out and --scheduler")
    check_recording_options(rule)
    cases = recorded(options.traces)
    few = len(cases) < run.FEW and options.jobs is None
    where = Where(1 if few else options.jobs, options.scheduler)
    bar = Bar(sys.stderr.isatty())
    states: Counter[str] = Counter()
    try:
        with contextlib.ExitStack() as stack:
            write = None
            if options.out:
                write = stack.enter_context(row_file(options.out, run.PREDICTION_KINDS))
            bar.show(0, len(cases))
            for done, rows in run.predictions(cases, rule, where):
                if write is not None:
                    write(rows)
                else:
                    say("\n".join(map(line, rows)))
                states.update(row["state"] or "not readable" for row in rows)
                bar.show(done, len(cases))
    finally:
        bar.end()
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    say(f"{len(cases)} traces: {told}", error=True)
    return 0


def _recording(options: argparse.Namespace) -> Trace:
    if bool(options.traces) == (options.prometheus is not None):
        raise InvalidOption("what is to be predicted?", "a trace, or --prometheus URL")
    if options.prometheus is None:
        return open_recording(options.traces[0])
    if options.begin is None:
        raise InvalidOption("--prometheus needs --from", "--from 2026-01-31T08:00:00Z")
    end_s = SystemClock().wall().timestamp() if options.end is None else _time_s(options.end)
    return fetch_recording(
        options.prometheus,
        _time_s(options.begin),
        end_s,
        match=options.match,
        device=options.device,
    )


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
        raise InvalidOption(f"{text!r} is no time", "2026-01-31T08:00:00Z or Unix seconds")
    return time_s


def _words(found: dict[str, Any]) -> list[str]:
    """Return the prediction in lines for people."""
    share = f"{found['target_pct']} % of {found['metric']} ({found['basis']})"
    told, guard, memory = found["confidence"], found["guard"], found["mem_target_mib"]
    lines = [
        f"converged at {found['converged_at_s']:g} s: {share}"
        if found["state"] == "converged"
        else f"abstained; observed, not predicted: {share}",
        f"why: {found['reason']}",
        f"mean: {found['mean_pct']:g} %",
    ]
    if found["state"] == "converged":
        certified = told["certified_pct"]
        proven = "nothing" if certified is None else f"coverage of {certified} %"
        low, high = told["lower_pct"] or 0, told["upper_pct"]
        bounds = f"{low} to {100 if high is None else high} %"
        lines.append(f"certified: {proven} (n_eff {told['n_eff']:.0f}); bounds {bounds}")
    lines.append(f"memory: {found['mem_reason'] if memory is None else f'{memory:g} MiB'}")
    if guard is not None:
        times = ", ".join(f"{time_s:g} s" for time_s in guard["alarms"])
        lines.append(f"guard: {f'usage outgrew the prediction at {times}' if times else 'silent'}")
    return [*lines, *(f"note: {note}" for note in found["notes"])]
