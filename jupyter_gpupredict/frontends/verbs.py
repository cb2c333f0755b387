"""What can be asked about runs: the verbs of `%gpupredict` and of `jupyter gpupredict`.

A verb adds its options to a parser and acts on what was parsed. Where the two places differ, which
run `last` is, where the cell's code comes from, whose MPS daemon it is, the verb asks its `Place`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_gpupredict import mps
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.options import check
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.export import (
    CodeRequest,
    ExportRequest,
    export_run,
    read_notebook,
    targets,
    validate,
)
from jupyter_gpupredict.frontends import comparing, executed, report, stored
from jupyter_gpupredict.frontends.charts import card
from jupyter_gpupredict.frontends.options import (
    add_export_options,
    add_options,
    given_options,
    notebook_code,
)
from jupyter_gpupredict.frontends.report import Result
from jupyter_gpupredict.frontends.terminal import Parser, from_store, say
from jupyter_gpupredict.run import (
    keep_need,
    need_of_profile,
    read_run,
    request_stop,
    with_verified,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.frontends.cellrun import CellRun
    from jupyter_gpupredict.mps import MpsStatus, Subject


class Place:
    """A terminal: runs are the stored ones, code comes from a file, daemons outlive the command."""

    in_notebook = False

    def result(self, wanted: str) -> Result:
        """Return the result of a run."""
        return Result(from_store(read_run, wanted))

    def session_id(self, wanted: str) -> str:
        """Return the id of a run that may still be going on."""
        return wanted

    def code(self, arguments: argparse.Namespace, run: Run | None) -> CodeRequest | None:  # noqa: ARG002
        """Return the cells that a run's function is made of."""
        return notebook_code(arguments)

    def subject(self, arguments: argparse.Namespace) -> tuple[Subject, Run | None]:
        """Return what `verify` and `sweep` run, and the run that predicted its share.

        Raises:
            InvalidOption: It is neither a folder nor a notebook.
        """
        path = Path(arguments.what)
        if path.is_dir():
            return mps.subject_of_folder(path, arguments.device), None
        cells, notes = read_notebook(path)
        code = CodeRequest(cells, path.resolve().parent, setup=tuple(arguments.setup), notes=notes)
        return mps.subject_of_notebook(path, code, arguments.device), None

    def mps(self, what: str, device: str | None) -> tuple[str, MpsStatus]:
        """Start or stop a daemon; returns what to say first, and how things stand then."""
        said = ""
        if what == "start":
            pipe = mps.mps_start_detached(device)
            said = (
                "started. What runs as its client starts with\n"
                f"export CUDA_MPS_PIPE_DIRECTORY={pipe}"
            )
        elif what == "stop":
            stopped, elsewhere = mps.mps_stop_detached()
            said = "\n".join(
                [f"stopped {pipe}" for pipe in stopped]
                + [f"left alone {pipe}: started in another PID namespace" for pipe in elsewhere]
            )
        return said, mps.mps_status(device)


class Notebook(Place):
    """A kernel: runs are the newest ones here, code is what was executed, the daemon its own."""

    in_notebook = True

    def __init__(self, live: Sequence[CellRun]) -> None:
        self.live = live

    def result(self, wanted: str) -> Result:
        """Return the result of a run; `last` is this kernel's."""
        newest = report.last()
        if newest is not None and wanted in ("last", newest.session_id):
            return newest
        return super().result(wanted)

    def session_id(self, wanted: str) -> str:
        """Return the id of a run; `last` is the one that is being measured."""
        sessions = [run.session for run in self.live if run.session is not None]
        return sessions[-1].session_id if wanted == "last" and sessions else wanted

    def code(self, arguments: argparse.Namespace, run: Run | None) -> CodeRequest | None:
        """Return the cells of `--notebook`, or those that this kernel has executed."""
        if arguments.notebook is not None or run is None:
            return notebook_code(arguments)
        return executed.code_of(run.session_id, **given_options(arguments, CodeRequest))

    def subject(self, arguments: argparse.Namespace) -> tuple[Subject, Run | None]:
        """Return the cell of a run, and the run.

        Raises:
            InvalidOption: The cell is not known here.
        """
        run = self.result(arguments.id).run
        code = self.code(arguments, run)
        if code is None:
            raise InvalidOption(
                f"the cell of {run.session_id} is not known in this kernel", "--notebook FILE"
            )
        return mps.subject(run, code), run

    def mps(self, what: str, device: str | None) -> tuple[str, MpsStatus]:
        """Start or stop this kernel's own daemon."""
        if what == "start":
            return "", mps.mps_start(device)
        return "", mps.mps_stop() if what == "stop" else mps.mps_status(device)


# ---- runs -------------------------------------------------------------------------------------


def _id(parser: argparse.ArgumentParser, place: Place) -> None:
    some = {"nargs": "?", "default": "last"} if place.in_notebook else {}
    parser.add_argument("id", help="a session id, a unique part of one, or last", **some)  # type: ignore[arg-type]


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _show_options(parser: argparse.ArgumentParser, place: Place) -> None:
    _id(parser, place)
    _json(parser)


def _show(arguments: argparse.Namespace, place: Place) -> Any:
    return _shown(place.result(arguments.id), arguments, place)


def _shown(result: Result, arguments: argparse.Namespace, place: Place) -> Result | None:
    """Return a result for the notebook to show; elsewhere, and as JSON, it is written."""
    if place.in_notebook and not arguments.json:
        return result
    say(result.to_json() if arguments.json else result.to_text(card.IN_TERMINAL))
    return None


def _stop_options(parser: argparse.ArgumentParser, _: Place) -> None:
    parser.add_argument("id", nargs="?", default="last", help="a session id, or last")


def _stop(arguments: argparse.Namespace, place: Place) -> None:
    wanted = place.session_id(arguments.id)
    from_store(request_stop, wanted)
    say(f"asked {wanted} to stop measuring; its cell goes on")


# ---- exports ----------------------------------------------------------------------------------


def _export_options(parser: argparse.ArgumentParser, place: Place) -> None:
    _id(parser, place)
    add_export_options(parser)


def _export(arguments: argparse.Namespace, place: Place) -> None:
    run = place.result(arguments.id).run
    outcome = export_run(
        run,
        **given_options(arguments, ExportRequest),
        dry_run=arguments.dry_run,
        code=place.code(arguments, run),
    )
    say(report.export_text(outcome))
    if "train_fn.py" in outcome.texts and outcome.paths:
        say(f"note: {comparing.offer(arguments, place.in_notebook)}")


def _targets_options(parser: argparse.ArgumentParser, _: Place) -> None:
    _json(parser)


def _targets(arguments: argparse.Namespace, _: Place) -> None:
    pairs = targets()
    if arguments.json:
        say(json.dumps(pairs))
        return
    for pair in pairs:
        words = f"yes, {' '.join(pair['expresses'])}" if pair["supported"] else pair["reason"]
        no = "" if pair["supported"] else "no: "
        say(f"{pair['workload']:<8} {pair['sharing']:<13} {no}{words}")


def _validate_options(parser: argparse.ArgumentParser, _: Place) -> None:
    parser.add_argument("target", metavar="FILE|FOLDER", help="a manifest, or an exported folder")
    add_options(parser, ExportRequest, only=("knative_features", "max_timeout_s"))
    _json(parser)


def _validate(arguments: argparse.Namespace, _: Place) -> int:
    """Print a line for each finding; 1 when one is an error."""
    files = validate(arguments.target, **given_options(arguments, ExportRequest))
    if arguments.json:
        say(json.dumps([dataclasses.asdict(one) for one in files]))
        return int(any(one.failed for one in files))
    for one in files:
        for found in one.findings:
            where = f" {found['where']}" if found["where"] else ""
            say(f"{one.path}: {found['level']} [{found['rule']}]{where}: {found['message']}")
        for kind in one.unchecked:
            say(f"{one.path}: unchecked: nothing is known of {kind}")
        if not one.findings and not one.unchecked:
            say(f"{one.path}: ok")
    return int(any(one.failed for one in files))


# ---- MPS and the machine ----------------------------------------------------------------------


def _mps_options(parser: argparse.ArgumentParser, place: Place) -> None:
    usual: dict[str, Any] = {"nargs": "?", "default": "status"} if place.in_notebook else {}
    parser.add_argument("what", choices=("status", "start", "stop"), **usual)
    parser.add_argument("--device", metavar="UUID|INDEX", help="default: the first visible GPU")
    _json(parser)


def _mps(arguments: argparse.Namespace, place: Place) -> None:
    said, status = place.mps(arguments.what, arguments.device)
    if arguments.json:
        say(json.dumps(dataclasses.asdict(status), indent=2))
    else:
        from jupyter_gpupredict.frontends.doctor import mps_text

        say(said or mps_text(status))


def _verify_options(parser: argparse.ArgumentParser, place: Place, *, sweeps: bool = False) -> None:
    if place.in_notebook:
        _id(parser, place)
        parser.add_argument("--notebook", metavar="FILE", help="where the cell stands")
    else:
        what = "an exported folder, or a notebook with a %%gpupredict cell".replace("%", "%%")
        parser.add_argument("what", help=what)
        parser.add_argument("--device", metavar="UUID|INDEX", help="which GPU")
        if sweeps:
            parser.add_argument("--svg", metavar="FILE", help="write speed against share there")
    from jupyter_gpupredict.frontends import verifying

    verifying.arguments(parser, sweeps=sweeps)


def _sweep_options(parser: argparse.ArgumentParser, place: Place) -> None:
    _verify_options(parser, place, sweeps=True)


def _verify(arguments: argparse.Namespace, place: Place, *, sweeps: bool = False) -> Any:
    """Say what was found; a share that does not surely keep the speed is a command's status 1."""
    from jupyter_gpupredict.frontends import verifying

    tried, run = place.subject(arguments)
    found = verifying.run(arguments, tried, run, sweeps=sweeps)
    newest = report.last()
    if run is not None and newest is not None and newest.session_id == run.session_id:
        newest.run = from_store(with_verified, run)  # what is bound to a name knows it, too
    if place.in_notebook and not arguments.json:
        return found
    say(found.to_json() if arguments.json else found.to_text())
    if getattr(arguments, "svg", None):
        Path(arguments.svg).write_text(f"{found.to_svg()}\n", encoding="utf-8")
    record = found.found.record
    return int(record is None or not (sweeps or record.kept))


def _sweep(arguments: argparse.Namespace, place: Place) -> Any:
    return _verify(arguments, place, sweeps=True)


def _kernels_options(parser: argparse.ArgumentParser, place: Place) -> None:
    parser.add_argument("file", metavar="FILE", help="a profile of the same code's kernels")
    _id(parser, place)
    add_options(parser, ReadOptions)
    _json(parser)


def _kernels(arguments: argparse.Namespace, place: Place) -> Any:
    """Keep what a profile says of a run's kernels, for it and for later runs of the same code."""
    result = place.result(arguments.id)
    read = ReadOptions(**given_options(arguments, ReadOptions))
    check(read)
    need = need_of_profile(arguments.file, result.run, read)
    result.run = from_store(keep_need, result.run, need)
    return _shown(result, arguments, place)


def _doctor_options(parser: argparse.ArgumentParser, _: Place) -> None:
    parser.add_argument(
        "--mps", action="store_true", help="start a daemon of MPS, ask it, and remove it again"
    )
    _json(parser)


def _doctor(arguments: argparse.Namespace, _: Place) -> None:
    from jupyter_gpupredict.frontends import doctor

    say((doctor.report_json if arguments.json else doctor.report)(mps=arguments.mps))


# ---- a notebook's alone -----------------------------------------------------------------------


def _status(_: argparse.Namespace, place: Place) -> None:
    live = place.live if isinstance(place, Notebook) else ()
    for run in live:
        if run.session is not None:
            advice = run.session.recommendation
            words = (
                run.session.waiting or "no reading yet"
                if advice is None
                else f"{advice.state}: {advice.reason}"
            )
            say(f"measuring {run.session.session_id}: {words}")
    result = report.last()
    if result is not None:
        say(result.to_text())
    elif not live:
        say("no run yet: put %%gpupredict on a cell's first line")


def _close(_: argparse.Namespace, __: Place) -> None:
    from jupyter_gpupredict.frontends.widget import close_all

    close_all()


class Verb(NamedTuple):
    """One verb."""

    help: str
    act: Callable[[argparse.Namespace, Place], Any]
    """Returns what a notebook shows, or the exit status of a command."""
    options: Callable[[argparse.ArgumentParser, Place], None] = lambda *_: None


class VerbParser(Parser):
    """Of `%gpupredict`."""

    ask = "%gpupredict -h lists the commands"


def verb_parser(name: str, place: Place | None = None) -> argparse.ArgumentParser:
    """Return the parser of one verb in a notebook."""
    verb = IN_NOTEBOOK[name]
    parser = VerbParser(prog=f"%gpupredict {name}", add_help=False, description=verb.help)
    parser.add_argument("-h", "--help", action="store_true", help="show this")
    verb.options(parser, place or Notebook(()))
    return parser


SHARED = {
    "show": Verb("show a stored run", _show, _show_options),
    "history": Verb("list the stored runs", stored.history, stored.history_options),
    "label": Verb("name, note, pin or delete a stored run", stored.label, stored.label_options),
    "stop": Verb("end the measuring of a live run; its cell goes on", _stop, _stop_options),
    "export": Verb("write a run as a function that deploys", _export, _export_options),
    "verify-export": Verb(
        "run a function and the cells it was made of for a while, and compare what they make",
        comparing.verify_export,
        comparing.arguments,
    ),
    "validate": Verb(
        "check a manifest, or all of an exported folder", _validate, _validate_options
    ),
    "targets": Verb(
        "list workloads and sharing backends, and what goes with what", _targets, _targets_options
    ),
    "verify": Verb("try a share: run a function under it and without it", _verify, _verify_options),
    "sweep": Verb(
        "run a function at several shares, and find where it loses speed", _sweep, _sweep_options
    ),
    "kernels": Verb(
        "add what a profile of its kernels says of the SMs to a run", _kernels, _kernels_options
    ),
    "mps": Verb("show, start or stop an NVIDIA MPS daemon of your own", _mps, _mps_options),
    "doctor": Verb(
        "say what works here, what does not, and what would help", _doctor, _doctor_options
    ),
}
IN_NOTEBOOK = {
    "status": Verb("what is measured now, and the last result", _status),
    **SHARED,
    "close": Verb("close all live views", _close),
}
