"""`jupyter gpupredict predict TRACE`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import config

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    add = parser.add_argument
    add("trace", help="our own .jsonl, a CSV with a column t_s, or a log of nvidia-smi")
    add("--rule", default="default", help="default, quick or accurate")
    add("--metric", help="such as gpu_util_pct; default: the trace's best")
    add("--no-guard", action="store_true", help="do not watch after convergence")
    add("--epochs", type=int, metavar="N", help="total number of epochs, when known")
    add("--window", type=float, metavar="SECONDS")
    add("--agree", type=int, metavar="K")
    add("--tolerance", type=float, metavar="POINTS")
    add("--json", action="store_true", help="one JSON object on stdout")


def main(options: argparse.Namespace) -> int:
    """Print the prediction; converged and abstained are both success."""
    found = config.predict_trace(
        options.trace,
        rule=options.rule,
        metric=options.metric,
        guard=not options.no_guard,
        epochs=options.epochs,
        window_s=options.window,
        agree=options.agree,
        tolerance_points=options.tolerance,
    )
    if options.json:
        print(json.dumps(found, allow_nan=False))  # noqa: T201 - command line
        return 0
    print("\n".join(_words(found)))  # noqa: T201 - command line
    return 0


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
