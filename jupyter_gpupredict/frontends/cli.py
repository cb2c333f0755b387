"""`jupyter gpupredict`, and `python -m jupyter_gpupredict.frontends.cli` off the path."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.errors import GpuPredictError, InvalidOption
from jupyter_gpupredict.frontends import traces
from jupyter_gpupredict.frontends.charts import card
from jupyter_gpupredict.frontends.options import add_options, session_config
from jupyter_gpupredict.frontends.terminal import Parser, say
from jupyter_gpupredict.frontends.verbs import SHARED, Place, Verb
from jupyter_gpupredict.run import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    place = Place()
    top = Parser(
        prog="jupyter gpupredict",
        description="How much of a GPU does this training need, and how is it deployed?",
    )
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    for name, verb in VERBS.items():
        parser = verbs.add_parser(
            name, help=verb.help, description=f"{verb.help[0].upper()}{verb.help[1:]}."
        )
        if words[:1] == [name]:
            verb.options(parser, place)
    arguments = top.parse_args(words)
    if arguments.verb is None:
        top.print_help()
        return 0
    return VERBS[arguments.verb].act(arguments, place) or 0


def _run_options(parser: argparse.ArgumentParser, _: Place) -> None:
    add_options(parser, SessionConfig)
    parser.add_argument("-q", "--quiet", action="store_true", help="report nothing")
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("script", help="a Python file, run as __main__")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="the script's own arguments")


def _run(options: argparse.Namespace, _: Place) -> int:
    """Run the script in this process; its exit status is ours."""
    from jupyter_gpupredict.frontends.measure import measure

    script = Path(options.script)
    if not script.is_file():
        raise InvalidOption(f"no such script: {script}", "give the path of a Python file")
    run = measure(quiet=options.quiet)
    run.config = session_config(options)
    status = 0
    before = sys.argv, sys.path[:]
    sys.argv = [str(script), *options.words]
    sys.path[0] = str(script.resolve().parent)
    try:
        with run:
            runpy.run_path(str(script), run_name="__main__")
    except SystemExit as exit_:
        status = _status(exit_)
    finally:
        sys.argv, sys.path[:] = before
        if run.result is not None:
            if not options.quiet:
                say(run.result.to_text(card.IN_TERMINAL), error=True)
            if options.json:
                Path(options.json).write_text(run.result.to_json() + "\n", encoding="utf-8")
    return status


def _status(exit_: SystemExit) -> int:
    if exit_.code is None:
        return 0
    if isinstance(exit_.code, int):
        return exit_.code
    print(exit_.code, file=sys.stderr)  # noqa: T201 - what Python itself would do
    return 1


VERBS = {
    "run": Verb("measure a script", _run, _run_options),
    "predict": Verb("predict from a recorded trace", traces.predict, traces.predict_options),
    "backtest": Verb(
        "score the rules on many recorded or synthetic traces",
        traces.backtest,
        traces.backtest_options,
    ),
    **SHARED,
}

if __name__ == "__main__":
    sys.exit(main())
