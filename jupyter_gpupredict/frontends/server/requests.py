"""What a client sends: paths below the root, bodies held to the schemas, a notebook's cells."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.exceptions import best_match

from jupyter_gpupredict.core import plain
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.export import CodeRequest, in_order, notebook_cell
from jupyter_gpupredict.frontends.server.schemas import COMPONENTS, QUERIES, Schema, ref
from jupyter_gpupredict.run import environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jupyter_gpupredict.core.events import SessionStarted

_BEFORE = r"(?<![\w./~$}\])*-])"
"""Not within a relative path or a URL."""
_PLACE = re.compile(rf"""{_BEFORE}/(?!/)[^\s"'`\\,;:()<>|]*[^\s"'`\\,;:()<>|/.]""")
HINT = "name a folder below the one the server was started in, such as exports/train"


def folder_below(root: str, wanted: str) -> Path:
    """Return the folder that a client names, with every link above it followed.

    Args:
        root: The server's root directory.
        wanted: Relative, with forward slashes.

    Raises:
        InvalidOption: It is outside, hidden, the root itself, or no path.
    """
    parts = PurePosixPath(wanted).parts
    if not parts or wanted.startswith("/") or "\\" in wanted or "\0" in wanted:
        raise InvalidOption(f"{wanted[:80]!r} is not a folder to write to", HINT)
    if any(part.startswith(".") for part in parts):  # `..` too
        raise InvalidOption(f"{wanted[:80]!r} is hidden or leads outside", HINT)
    named = Path(root, *parts)
    require_inside(root, [named])
    target = named.parent.resolve() / named.name
    require_inside(root, [target])  # as it is written: a link that comes later is not followed
    return target


def require_inside(root: str, paths: Iterable[Path]) -> None:
    """Let only paths pass that lie below the root, whatever links are on the way.

    Raises:
        InvalidOption: One does not.
    """
    base = Path(root).resolve()
    for path in paths:
        try:
            real = path.parent.resolve() / path.name
            outside = not real.is_relative_to(base) or not path.resolve().is_relative_to(base)
        except (OSError, RuntimeError, ValueError):  # a loop of links, a name that is too long
            outside = True
        if outside:
            raise InvalidOption(f"{path.name[:80]!r} leads outside the server's folder", HINT)


def without_places(text: str, root: str) -> str:
    """Return JSON without absolute paths: those below the root relative, of others the last name.

    >>> without_places('{"message": "cannot write /srv/nb/out/a or /etc/x/b"}', "/srv/nb")
    '{"message": "cannot write out/a or b"}'
    """
    for base in {root, str(Path(root).resolve())}:
        below = re.escape(json.dumps(base.rstrip("/"), ensure_ascii=False)[1:-1])
        text = re.sub(rf"{_BEFORE}{below}(/|(?![\w.-]))", lambda at: "" if at[1] else ".", text)
    return _PLACE.sub(lambda found: found[0].rpartition("/")[2], text)


LONGEST_BODY = 8 << 20
DEEPEST, MOST_VALUES = 8, 200_000
SEE_DOCUMENT = "see gpupredict/v1/openapi.json"
_COMPARED = 20
"""Faults among which the reported one is chosen."""


def body(text: bytes, component: str) -> dict[str, Any]:
    """Return the object in a request's body, with the defaults of what it leaves out.

    Raises:
        InvalidOption: It is not what this component of the document says; the fault is named.
    """
    if len(text) > LONGEST_BODY:
        raise InvalidOption(f"the body is longer than {LONGEST_BODY >> 20} MiB", SEE_DOCUMENT)
    try:
        found: dict[str, Any] = plain.parse(text, DEEPEST, MOST_VALUES)
    except ValueError as error:
        raise InvalidOption(f"the body is not JSON as we take it: {error}", SEE_DOCUMENT) from error
    _check(_validator(component), found, "the body")
    fields = COMPONENTS[component]["properties"].items()
    return {name: one["default"] for name, one in fields if "default" in one} | found


def query(operation: str, name: str, text: str | None) -> Any:
    """Return a query argument as the document describes it; its default where it is not given.

    Raises:
        InvalidOption: It does not fit.
    """
    schema = QUERIES[operation][name]
    if text is None:
        return schema.get("default")
    value: Any = text
    if schema["type"] != "string":
        try:
            value = plain.parse(text.encode())
        except ValueError as error:
            raise InvalidOption(f"{name} is not a number", SEE_DOCUMENT) from error
    _check(_Validator(schema), value, name)
    return value


def _check(validator: Any, value: Any, place: str) -> None:
    fault = best_match(islice(validator.iter_errors(value), _COMPARED))
    if fault is not None:
        where = "".join(
            f"[{one}]" if isinstance(one, int) else f".{one}" for one in fault.absolute_path
        )
        raise InvalidOption(
            f"{(where.lstrip('.') or place)[:80]}: {_words(fault)[:160]}", SEE_DOCUMENT
        )


def _words(fault: ValidationError) -> str:
    """Return what a value should be; what it is may be long, and is not repeated."""
    if fault.validator in ("required", "additionalProperties", "dependentRequired"):
        return str(fault.message)  # names of fields
    return f"its {fault.validator} is to be {fault.validator_value}"


def _pattern(_: Any, pattern: str, value: Any, __: Schema) -> Iterator[ValidationError]:
    """Take `$` for the end alone; Python's takes a line break before it, too."""
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield ValidationError("another form")


_Validator: Any = validators.extend(
    Draft202012Validator,
    {"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


@cache
def _validator(component: str) -> Any:
    return _Validator({**ref(component), "components": {"schemas": COMPONENTS}})


UNTRIED = (
    "the folder was not imported for a trial, as the server runs no code of a notebook; "
    "`python -c 'import train_fn'` in it does that"
)
AS_IT_STANDS = "cells were taken as they stand in the notebook: one edited since it ran is in it so"


def code(
    started: SessionStarted,
    cells: Sequence[Mapping[str, Any]],
    root: str,
    notebook: str,
    **options: Any,
) -> CodeRequest:
    """Return what an export takes.

    Args:
        started: The run's first event: what it ran with.
        cells: The notebook's code cells, in its order, as the schema `Cell` says.
        root: The server's root directory.
        notebook: The notebook's path below it, with forward slashes.
        options: What else `CodeRequest` takes.

    Raises:
        InvalidOption: The notebook is not below the root.
    """
    if "\0" in notebook or "\\" in notebook:
        raise InvalidOption(f"{notebook[:80]!r} is not the path of a notebook", "")
    folder = Path(root, *PurePosixPath(notebook.lstrip("/")).parts[:-1])
    require_inside(root, [folder])
    counted = [
        notebook_cell(n, one["source"], one["execution_count"], one["tags"], failed=one["failed"])
        for n, one in enumerate(cells, start=1)
    ]
    ordered, notes = in_order(counted)
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
    }
    return CodeRequest(
        ordered,
        folder,
        notes=(*notes, AS_IT_STANDS, UNTRIED),
        tried=False,
        pinned=started.environment == environment(),
        python=".".join(started.versions.get("python", "").split(".")[:2]),
        **given,
    )
