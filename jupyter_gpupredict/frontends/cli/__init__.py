"""`jupyter gpupredict`: one file a verb."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.errors import GpuPredictError, InvalidOption
from jupyter_gpupredict.frontends.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = {
    "run": "measure a script",
    "predict": "predict from a recorded trace",
    "backtest": "score the rules on many recorded or synthetic traces",
    "sessions": "list the stored runs",
    "show": "show a stored run",
    "export": "write a run as a function that deploys",
    "validate": "check a manifest, or all of an exported folder",
    "targets": "list workloads and sharing backends, and what goes with what",
    "verify": "try a share: run a function under it and without it",
    "sweep": "run a function at several shares, and find where it loses speed",
    "stop": "end the measuring of a live run; its cell goes on",
    "mps": "show, start or stop an NVIDIA MPS daemon of your own",
    "doctor": "say what works here, what does not, and what would help",
}
"""Verb -> what it does; `cli.<verb>` has `arguments(parser)` and `main(arguments)`."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidOption(message, f"{self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 1 for a failed run, 2 for bad input."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except GpuPredictError as error:
        say(f"jupyter gpupredict: {error}", error=True)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more
        return 1
    except KeyboardInterrupt:
        return 130


def _dispatch(words: list[str]) -> int:
    top = _Parser(
        prog="jupyter gpupredict",
        description="How much of a GPU does this training need, and how is it deployed?",
    )
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    for verb, summary in VERBS.items():
        parser = verbs.add_parser(verb, help=summary, description=f"{summary.capitalize()}.")
        if words[:1] == [verb]:  # only the verb that is used is imported
            importlib.import_module(f"{__name__}.{verb}").arguments(parser)
    arguments = top.parse_args(words)
    if arguments.verb is None:
        top.print_help()
        return 0
    status: int = importlib.import_module(f"{__name__}.{arguments.verb}").main(arguments)
    return status
