"""`jupyter gpupredict validate FILE|FOLDER`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from jupyter_gpupredict.export import validate
from jupyter_gpupredict.frontends.options import knative_features
from jupyter_gpupredict.frontends.terminal import say

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("target", metavar="FILE|FOLDER", help="a manifest, or an exported folder")
    parser.add_argument("--json", action="store_true", help="a JSON list on stdout")
    parser.add_argument(
        "--knative-features", default="", metavar="A,B", help="feature flags that Knative has on"
    )
    parser.add_argument(
        "--max-timeout", type=int, metavar="S", help="longest run that the platform allows"
    )


def main(options: argparse.Namespace) -> int:
    """Print a line for each finding; 1 when one is an error."""
    files = validate(
        options.target,
        knative_features=knative_features(options),
        max_timeout_s=options.max_timeout,
    )
    if options.json:
        say(json.dumps([dataclasses.asdict(one) for one in files]))
        return int(any(one.failed for one in files))
    for one in files:
        for found in one.findings:
            where = f" {found['where']}" if found["where"] else ""
            line = f"{one.path}: {found['level']} [{found['rule']}]{where}: {found['message']}"
            say(line)
        for kind in one.unchecked:
            say(f"{one.path}: unchecked: nothing is known of {kind}")
        if not one.findings and not one.unchecked:
            say(f"{one.path}: ok")
    return int(any(one.failed for one in files))
