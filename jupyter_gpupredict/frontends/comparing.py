"""`verify-export`: says what it will run, asks, and tells whether the function does the same."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_gpupredict import export
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.plain import one_line
from jupyter_gpupredict.frontends.terminal import say

if TYPE_CHECKING:
    import argparse

    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.frontends.report import Result


class Knows(Protocol):
    """Of a `Place`: where runs and cells are known."""

    in_notebook: bool

    def result(self, wanted: str) -> Result:
        """Return the result of a run."""

    def code(self, arguments: argparse.Namespace, run: Run | None) -> export.CodeRequest | None:
        """Return the cells that a run's function is made of."""


def arguments(parser: argparse.ArgumentParser, place: Knows) -> None:
    """Add the options of a comparison."""
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="an exported folder")
    if place.in_notebook:
        add("id", help="the run that was exported, or last", nargs="?", default="last")
    add("--notebook", metavar="FILE", help="where the cells stand that it was made of")
    add(
        "--steps",
        type=int,
        default=export.COMPARED_STEPS,
        metavar="N",
        help=f"stop both after so many training steps (default: {export.COMPARED_STEPS})",
    )
    add(
        "--seconds",
        type=float,
        default=export.COMPARED_S,
        metavar="S",
        help=f"or after so long (default: {export.COMPARED_S:g})",
    )
    add(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what the function's caller gives; may be repeated",
    )
    add("--yes", action="store_true", help="run it without asking")


def offer(options: argparse.Namespace, in_notebook: bool) -> str:  # noqa: FBT001 - a fact
    """Return the line that offers a comparison after an export."""
    command = "%gpupredict" if in_notebook else "jupyter gpupredict"
    notebook = f" --notebook {options.notebook}" if options.notebook else ""
    return f"to see that it does the same: {command} verify-export {options.output}{notebook}"


def verify_export(options: argparse.Namespace, place: Knows) -> int:
    """Compare, after asking; returns 1 when the function does something else.

    Raises:
        InvalidOption: Nobody agreed.
        GpuPredictError: One clear line.
    """
    known = place.in_notebook and options.notebook is None
    code = place.code(options, place.result(options.id).run if known else None)
    if code is None:
        raise InvalidOption("the cells that were exported are not known here", "--notebook FILE")
    if options.steps < 1 or not options.seconds > 0:
        raise InvalidOption("--steps and --seconds are at least 1", "leave them out")
    asked = export.comparison(
        options.folder,
        code,
        steps=options.steps,
        limit_s=options.seconds,
        params=dict(map(_param, options.param)),
    )
    say(asked.words())
    if not options.yes:
        if place.in_notebook or not sys.stdin.isatty():
            raise InvalidOption("this runs the notebook's code", "agree with --yes")
        if input("Run this? [y/N] ").strip().lower() not in ("y", "yes"):
            raise InvalidOption("nothing was run", "answer y, or agree with --yes")
    found = export.compare(asked)
    for line in found.words().splitlines():
        say(one_line(line))
    return int(bool(found.differences))


def _param(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InvalidOption(f"--param {text!r}", "write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
