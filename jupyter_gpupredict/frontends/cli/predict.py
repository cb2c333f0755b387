"""`jupyter gpupredict predict TRACE`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

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
    share = f"{found['target_pct']} % of {found['metric']} ({found['basis']})"
    if found["state"] == "converged":
        print(f"converged at {found['converged_at_s']:g} s: {share}")  # noqa: T201
    else:
        print(f"abstained; observed, not predicted: {share}")  # noqa: T201 - command line
    memory = found["mem_target_mib"]
    print(f"mean {found['mean_pct']:g} %, memory {memory or 'unknown'} MiB")  # noqa: T201
    print(found["reason"])  # noqa: T201 - command line
    for note in found["notes"]:
        print(f"note: {note}")  # noqa: T201 - command line
    return 0
