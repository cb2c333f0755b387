"""The verbs about stored runs as such: `history` lists them, `label` says what one is called."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Protocol

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.frontends import report
from jupyter_gpupredict.frontends.terminal import from_store, say
from jupyter_gpupredict.run import Runs, build_store

if TYPE_CHECKING:
    import argparse

    from jupyter_gpupredict.core.summary import Summary


class Knows(Protocol):
    """Of a `Place`: which run is meant."""

    in_notebook: bool

    def session_id(self, wanted: str) -> str:
        """Return the id of a run that may still be going on."""


def history_options(parser: argparse.ArgumentParser, place: Knows) -> None:
    """Add what a list of runs can be asked."""
    limit = 10 if place.in_notebook else 20
    parser.add_argument(
        "--limit", type=int, default=limit, help=f"how many, newest first (default: {limit})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def history(arguments: argparse.Namespace, _: Knows) -> None:
    """List the stored runs."""
    found = from_store(lambda: Runs().page(arguments.limit, None, limit_s=math.inf).found)
    if arguments.json:
        say(json.dumps([report.row_dict(one) for one in found], allow_nan=False))
    else:
        say(report.history_text(found))


def label_options(parser: argparse.ArgumentParser, place: Knows) -> None:
    """Add what can be said of a run."""
    add = parser.add_argument
    some = {"nargs": "?", "default": "last"} if place.in_notebook else {}
    add("id", help="a session id, a unique part of one, or last", **some)  # type: ignore[arg-type]
    add("--name", metavar="TEXT", help="what lists call it; empty: its headline again")
    add("--note", metavar="TEXT", help="what you want to remember of it")
    pin = parser.add_mutually_exclusive_group()
    pin.add_argument(
        "--pin", dest="pinned", action="store_const", const=True, help="keep it whatever its age"
    )
    pin.add_argument(
        "--unpin", dest="pinned", action="store_const", const=False, help="let it go with its age"
    )
    gone = parser.add_mutually_exclusive_group()
    gone.add_argument("--delete", action="store_true", help="into the trash, for a week")
    gone.add_argument("--restore", action="store_true", help="back from there, by its whole id")


def label(arguments: argparse.Namespace, place: Knows) -> None:
    """Name, note, pin, delete or bring back a run, and print its row."""
    say(report.history_text([from_store(_labelled, arguments, place.session_id(arguments.id))]))
    if arguments.delete:
        say("deleted; for a week `label ID --restore` brings it back")


def _labelled(arguments: argparse.Namespace, wanted: str) -> Summary:
    runs = Runs()
    given = {name: getattr(arguments, name) for name in ("name", "note", "pinned")}
    changed = {name: value for name, value in given.items() if value is not None}
    if not (changed or arguments.delete or arguments.restore):
        raise InvalidOption("what is to be said of the run?", "--name TEXT, --pin, --delete, ...")
    try:
        if arguments.restore:
            runs.restore(wanted)
        session_id = wanted if arguments.restore else build_store().resolve(wanted)
        found = runs.label(session_id, changed) if changed else runs.summary(session_id)
        if arguments.delete and not found.over:
            raise InvalidOption("the run is still measured", "stop it first")
        if arguments.delete:
            runs.discard(session_id)
    except OSError as error:
        said = f"the session store cannot be written: {error.strerror}"
        raise InvalidOption(said, "is its disk full?") from error
    return found
