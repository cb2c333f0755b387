"""`jupyter gpupredict run [OPTIONS] SCRIPT [ARGUMENT...]`."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.frontends.measure import measure
from jupyter_gpupredict.frontends.options import session_arguments, session_config
from jupyter_gpupredict.frontends.terminal import say


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    session_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="report nothing")
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("script", help="a Python file, run as __main__")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="the script's own arguments")


def main(options: argparse.Namespace) -> int:
    """Run the script in this process; its exit status is ours."""
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
                say(run.result.to_text(), error=True)
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
