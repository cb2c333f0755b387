"""Options as words: the parsers of `%%gpupredict`, `%gpupredict` and `jupyter gpupredict`.

The options themselves are described in `SessionConfig`, `ExportRequest` and `CodeRequest`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.options import Option, options_of
from jupyter_gpupredict.export import CodeRequest, ExportRequest
from jupyter_gpupredict.frontends.terminal import Parser
from jupyter_gpupredict.run import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class MagicOptions:
    """What one `%%gpupredict` line asks for."""

    config: SessionConfig
    output: str | None
    quiet: bool
    dry_run: bool
    isolation: Isolation | None = None
    """Run the cell in a process of its own; None: in this kernel."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """How a cell runs in a process of its own."""

    returns: tuple[str, ...] = ()
    """Names to bring back into the notebook."""
    setup: tuple[str, ...] = ()
    """Tags, or numbers, of cells that run again before it."""


# ---- from tables to parsers and back ----------------------------------------------------------


def add_options(
    parser: argparse.ArgumentParser, owner: type[Any], only: Sequence[str] = ()
) -> None:
    """Add the options that a dataclass describes, or some; those that are not given stay None."""
    for one in options_of(owner):
        if only and one.name not in only:
            continue
        again = "; may be repeated" if one.several and "," not in one.metavar else ""
        help_ = f"{one.described}{again}".replace("%", "%%")
        how: dict[str, Any] = {"help": help_, "required": one.required}
        if one.kind is bool and one.default is True:
            how |= {"action": argparse.BooleanOptionalAction}
        elif one.kind is bool:
            how |= {"action": "store_const", "const": True}
        else:
            how |= {"type": one.kind, "metavar": one.metavar or None}
        if one.choices:
            how |= {"choices": one.choices, "metavar": None}
        if one.several:
            how |= {"action": "append"}
        parser.add_argument(*one.short, one.flag, dest=one.name, default=None, **how)


def given_options(
    arguments: argparse.Namespace, owner: type[Any], only: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what was given of the options that a dataclass describes, or of some, ready for it.

    Raises:
        InvalidOption: A label is not KEY=VALUE.
    """
    found = {}
    for one in options_of(owner):
        value = getattr(arguments, one.name, None)
        if value is not None and (not only or one.name in only):
            found[one.name] = _several(one, value) if one.several else value
    return found


def _several(one: Option, words: Sequence[str]) -> Any:
    if one.several == "pairs":
        return dict(_pair(one, text) for text in words)
    separated = "," in one.metavar
    return tuple(
        part.strip()
        for text in words
        for part in (text.split(",") if separated else [text])
        if part
    )


def _pair(one: Option, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidOption(f"{one.flag} {text!r}", f"write {one.metavar}")
    return key, value


# ---- a run ------------------------------------------------------------------------------------


def session_config(
    arguments: argparse.Namespace, defaults: Mapping[str, Any] | None = None
) -> SessionConfig:
    """Return the configuration that parsed options ask for.

    Args:
        arguments: From a parser with the options of `SessionConfig`.
        defaults: Option name -> value where the line does not say; None values are ignored.

    Raises:
        InvalidOption, UnknownName: A value is wrong.
    """
    known = {one.name for one in options_of(SessionConfig)}
    usual = {
        name: value
        for name, value in (defaults or {}).items()
        if name in known and value is not None
    }
    return SessionConfig(**usual | given_options(arguments, SessionConfig))


class _Parser(Parser):
    ask = "%%gpupredict -h lists the options"


def magic_parser() -> argparse.ArgumentParser:
    """Return the parser of `%%gpupredict`; it raises `InvalidOption` instead of exiting."""
    parser = _Parser(
        prog="%%gpupredict",
        add_help=False,
        allow_abbrev=False,
        description="Measure this cell and predict the share of the GPU and the memory it needs.",
    )
    add = parser.add_argument
    add("-h", "--help", action="store_true", help="show this and do nothing")
    add("-o", dest="output", metavar="NAME", help="bind the result to this name")
    add("-q", "--quiet", action="store_true", help="show nothing")
    add("--dry-run", action="store_true", help="say what would be measured, and do not run")
    add_options(parser, SessionConfig)
    add(
        "--isolate",
        action="store_true",
        help="run the cell as the function that an export would write, in a process of its own",
    )
    add(
        "--return",
        dest="returns",
        action="append",
        default=[],
        metavar="NAME",
        help="bring this name back from an isolated cell; may be repeated",
    )
    add(
        "--setup",
        action="append",
        default=[],
        metavar="TAG",
        help="cells with this tag, or number, run again before an isolated one; may be repeated",
    )
    return parser


def _isolation(arguments: argparse.Namespace) -> Isolation | None:
    """Return how parsed options want the cell isolated; None: not at all.

    An isolated cell asks for MPS by itself: nothing of this kernel is changed by it.

    Raises:
        InvalidOption: A value is wrong, or makes no sense without `--isolate`.
    """
    for name in arguments.returns:
        if not name.isidentifier():
            raise InvalidOption(f"--return {name!r} is not a Python name", "--return model")
    if arguments.isolate:
        limited = arguments.mps_percentage, arguments.memory_limit_mib
        arguments.mps = True if limited != (None, None) else None
        return Isolation(tuple(dict.fromkeys(arguments.returns)), tuple(arguments.setup))
    for option, given in (("--return", arguments.returns), ("--setup", arguments.setup)):
        if given:
            raise InvalidOption(f"{option} needs --isolate", "add --isolate")
    return None


def parse_magic(words: Sequence[str], defaults: Mapping[str, Any] | None = None) -> MagicOptions:
    """Return what the words after `%%gpupredict` ask for.

    Raises:
        InvalidOption, UnknownName: One clear line.
    """
    arguments = magic_parser().parse_args(list(words))
    if arguments.output is not None and not arguments.output.isidentifier():
        raise InvalidOption(f"-o {arguments.output!r} is not a Python name", "-o result")
    quiet = arguments.quiet or bool(defaults and defaults.get("quiet"))
    isolated = _isolation(arguments)
    if isolated is not None and (arguments.cluster or (defaults or {}).get("cluster")):
        raise InvalidOption(
            "--isolate measures one process of its own, and --cluster those of others",
            "leave one of them out",
        )
    config = session_config(arguments, defaults)
    return MagicOptions(config, arguments.output, quiet, arguments.dry_run, isolated)


# ---- an export --------------------------------------------------------------------------------


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of an export."""
    add_options(parser, ExportRequest)
    parser.add_argument(
        "--notebook", metavar="FILE", help="where the cell stands that was measured"
    )
    add_options(parser, CodeRequest)
    parser.add_argument("--dry-run", action="store_true", help="print the files, write nothing")


def notebook_code(arguments: argparse.Namespace) -> CodeRequest | None:
    """Return the cells of `--notebook`; None where there is none.

    Raises:
        InvalidOption: It is not a notebook.
    """
    if arguments.notebook is None:
        return None
    from jupyter_gpupredict.export import read_notebook

    cells, notes = read_notebook(arguments.notebook)
    folder = Path(arguments.notebook).resolve().parent
    return CodeRequest(cells, folder, notes=notes, **given_options(arguments, CodeRequest))
