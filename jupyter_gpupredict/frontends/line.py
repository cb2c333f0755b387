"""`%gpupredict`: what can be asked about runs after, or between, their cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.frontends import verifying
from jupyter_gpupredict.frontends.terminal import Parser, say
from jupyter_gpupredict.frontends.verbs import IN_NOTEBOOK, Notebook
from jupyter_gpupredict.frontends.views import draws_bokeh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.frontends.cellrun import CellRun


class _Parser(Parser):
    ask = "%gpupredict -h lists the commands"


def run_line(words: Sequence[str], live: Sequence[CellRun], shell: Any) -> Any:
    """Do what the words after `%gpupredict` ask; returns what the cell shows.

    Raises:
        GpuPredictError: One clear line.
    """
    place = Notebook(live)
    top = _Parser(prog="%gpupredict", add_help=False, description="Look at measured runs.")
    top.add_argument("-h", "--help", action="store_true", help="show this")
    verbs = top.add_subparsers(dest="verb", parser_class=_Parser)
    for name, verb in IN_NOTEBOOK.items():
        verb.options(verbs.add_parser(name, add_help=False, help=verb.help), place)
    arguments = top.parse_args(list(words) or ["status"])
    if arguments.help:
        say(top.format_help())
        return None
    shown = IN_NOTEBOOK[arguments.verb].act(arguments, place)
    if isinstance(shown, int):
        return None
    if isinstance(shown, verifying.Found) and shown.to_svg() and draws_bokeh(shell):
        show_chart(shown)
    return shown


def show_chart(found: verifying.Found) -> None:
    """Display a sweep's chart; without Bokeh or the widget the result's own SVG is all there is."""
    try:
        from jupyter_gpupredict.frontends.widget import show_still

        show_still(found.to_item(), found.to_svg(), "speed against share of the SMs")
    except ImportError:
        return
    found.folded = True
