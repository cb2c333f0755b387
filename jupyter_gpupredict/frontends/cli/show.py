"""`jupyter gpupredict show ID`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict import config
from jupyter_gpupredict.frontends.report import Result
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.frontends.waiting import from_store

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("id", help="a session id, a unique part of one, or last")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def main(options: argparse.Namespace) -> int:
    """Print the run."""
    result = Result(from_store(config.read_run, options.id))
    say(result.to_json() if options.json else result.to_text())
    return 0
