"""`jupyter gpupredict targets`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from jupyter_gpupredict.export import targets
from jupyter_gpupredict.frontends.terminal import say

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--json", action="store_true", help="a JSON list on stdout")


def main(options: argparse.Namespace) -> int:
    """Print every pair of workload and sharing backend."""
    pairs = targets()
    if options.json:
        say(json.dumps(pairs))
        return 0
    for pair in pairs:
        words = "yes, " + " ".join(pair["expresses"]) if pair["supported"] else pair["reason"]
        no = "" if pair["supported"] else "no: "
        say(f"{pair['workload']:<8} {pair['sharing']:<13} {no}{words}")
    return 0
