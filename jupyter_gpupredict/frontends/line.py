"""`%gpupredict`: what can be asked about runs after, or between, their cells."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jupyter_gpupredict import config
from jupyter_gpupredict.core.cells import CodeRequest
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.frontends import executed, mps, report, verifying
from jupyter_gpupredict.frontends.options import (
    code_options,
    export_arguments,
    knative_features,
    node_selector,
    notebook_code,
)
from jupyter_gpupredict.frontends.report import Result
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.frontends.views import draws_bokeh
from jupyter_gpupredict.frontends.waiting import from_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.frontends.cellrun import CellRun


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidOption(message, "%gpupredict -h lists the commands")


def parser() -> argparse.ArgumentParser:
    """Return the parser of `%gpupredict`; it raises `InvalidOption` instead of exiting."""
    top = _Parser(prog="%gpupredict", add_help=False, description="Look at measured runs.")
    top.add_argument("-h", "--help", action="store_true", help="show this")
    verbs = top.add_subparsers(dest="verb", parser_class=_Parser)
    verbs.add_parser("status", add_help=False, help="what is measured now, and the last result")
    for name, words in (("show", "show a run again"), ("stop", "end the measuring of a run")):
        verb = verbs.add_parser(name, add_help=False, help=words)
        verb.add_argument("id", nargs="?", default="last")
    history = verbs.add_parser("history", add_help=False, help="list the stored runs")
    history.add_argument("--limit", type=int, default=10)
    export = verbs.add_parser("export", add_help=False, help="write a run as a function folder")
    export.add_argument("id", nargs="?", default="last")
    export_arguments(export)
    mps_verb = verbs.add_parser("mps", add_help=False, help="this kernel's own MPS daemon")
    mps_verb.add_argument("what", choices=("status", "start", "stop"), nargs="?", default="status")
    mps_verb.add_argument("--device", metavar="UUID|INDEX")
    mps_verb.add_argument("--json", action="store_true")
    for name, words in (
        ("verify", "try the predicted share: run the cell again under it and without it"),
        ("sweep", "run the cell again at several shares, and find where it loses speed"),
    ):
        verb = verbs.add_parser(name, add_help=False, help=words)
        verb.add_argument("id", nargs="?", default="last")
        verb.add_argument("--notebook", metavar="FILE", help="where the cell stands")
        verifying.arguments(verb, sweeps=name == "sweep")
    verbs.add_parser("close", add_help=False, help="close all live views")
    verbs.add_parser("doctor", add_help=False, help="what works here, and what does not")
    return top


def run_line(words: Sequence[str], live: Sequence[CellRun], shell: Any) -> Any:
    """Do what the words after `%gpupredict` ask; returns what the cell shows.

    Raises:
        GpuPredictError: One clear line.
    """
    commands = parser()
    arguments = commands.parse_args(list(words) or ["status"])
    if arguments.help:
        say(commands.format_help())
        return None
    shown = _VERBS[arguments.verb](arguments, live)
    if isinstance(shown, verifying.Found) and shown.to_svg() and draws_bokeh(shell):
        show_chart(shown)
    return shown


def _status(_: argparse.Namespace, live: Sequence[CellRun]) -> None:
    for run in live:
        if run.session is not None:
            told = run.session.recommendation
            words = (
                run.session.waiting or "no reading yet"
                if told is None
                else f"{told.state}: {told.reason}"
            )
            say(f"measuring {run.session.session_id}: {words}")
    result = report.last()
    if result is not None:
        say(result.to_text())
    elif not live:
        say("no run yet: put %%gpupredict on a cell's first line")


def _find(wanted: str) -> Result:
    newest = report.last()
    if newest is not None and wanted in ("last", newest.session_id):
        return newest
    return Result(from_store(config.read_run, wanted))


def _show(arguments: argparse.Namespace, _: Sequence[CellRun]) -> Result:
    return _find(arguments.id)


def _history(arguments: argparse.Namespace, _: Sequence[CellRun]) -> None:
    say(report.history_text(from_store(config.list_runs, arguments.limit)))


def _stop(arguments: argparse.Namespace, live: Sequence[CellRun]) -> None:
    sessions = [run.session for run in live if run.session is not None]
    if arguments.id == "last" and sessions:
        arguments.id = sessions[-1].session_id
    from_store(config.request_stop, arguments.id)
    say(f"asked {arguments.id} to stop measuring; its cell goes on")


def _export(arguments: argparse.Namespace, _: Sequence[CellRun]) -> None:
    run = _find(arguments.id).run
    if arguments.notebook is not None:
        code = notebook_code(arguments)
    else:
        code = executed.code_of(run.session_id, **code_options(arguments))
    outcome = config.export(
        run,
        workload=arguments.workload,
        sharing=arguments.sharing,
        name=arguments.name,
        image=arguments.image,
        output=arguments.output,
        node_selector=node_selector(arguments),
        force=arguments.force,
        overwrite=arguments.overwrite,
        sm_percent=arguments.sm_percent,
        memory_mib=arguments.memory_mib,
        headroom_percent=arguments.headroom_percent,
        per_process=arguments.per_process,
        max_timeout_s=arguments.max_timeout,
        knative_features=knative_features(arguments),
        gpu_uuid=arguments.gpu_uuid,
        accelerator=arguments.accelerator,
        dry_run=arguments.dry_run,
        code=code,
    )
    say(report.export_text(outcome))


def _mps(arguments: argparse.Namespace, _: Sequence[CellRun]) -> None:
    if arguments.what == "start":
        status = config.mps_start(arguments.device)
    elif arguments.what == "stop":
        status = config.mps_stop()
    else:
        status = config.mps_status(arguments.device)
    say(mps.as_json(status) if arguments.json else mps.text(status))


def _verify(arguments: argparse.Namespace, _: Sequence[CellRun]) -> Any:
    result = _find(arguments.id)
    run = result.run
    if arguments.notebook is not None:
        cells, notes = config.read_notebook(arguments.notebook)
        folder = Path(arguments.notebook).resolve().parent
        code: CodeRequest | None = CodeRequest(
            cells, folder, setup=tuple(arguments.setup), notes=notes
        )
    else:
        code = executed.code_of(run.session_id, setup=arguments.setup)
    if code is None:
        raise InvalidOption(
            f"the cell of {run.session_id} is not known in this kernel", "--notebook FILE"
        )
    sweeps = arguments.verb == "sweep"
    found = verifying.run(arguments, config.subject(run, code), run, sweeps=sweeps)
    newest = report.last()
    if newest is not None and newest.session_id == run.session_id:
        newest.run = from_store(config.with_verified, run)  # what is bound to a name knows it, too
    if arguments.json:
        say(found.to_json())
        return None
    return found


def show_chart(found: verifying.Found) -> None:
    """Display a sweep's chart; without Bokeh or the widget the result's own SVG is all there is."""
    try:
        from jupyter_gpupredict.frontends.widget import show_still

        show_still(found.to_item(), found.to_svg(), "speed against share of the SMs")
    except ImportError:
        return
    found.folded = True


def _close(_: argparse.Namespace, __: Sequence[CellRun]) -> None:
    from jupyter_gpupredict.frontends.widget import close_all

    close_all()


def _doctor(_: argparse.Namespace, __: Sequence[CellRun]) -> None:
    from jupyter_gpupredict.frontends.doctor import report as page

    say(page())


_VERBS = {
    "status": _status,
    "show": _show,
    "history": _history,
    "stop": _stop,
    "export": _export,
    "mps": _mps,
    "verify": _verify,
    "sweep": _verify,
    "close": _close,
    "doctor": _doctor,
}
