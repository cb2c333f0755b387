"""What all handlers share: what a client sends, who may ask, errors, and where work is done."""

from __future__ import annotations

import inspect
import json
import re
from functools import cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar, cast

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.exceptions import best_match
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from jupyter_gpupredict.core import plain
from jupyter_gpupredict.core.errors import (
    CodeRefused,
    ConfigError,
    ExportError,
    GpuPredictError,
    InvalidOption,
    MissingExtra,
    NoAnswer,
    OutputExists,
    SecretFound,
    TraceError,
    UnknownName,
)
from jupyter_gpupredict.export import CodeRequest, in_order, notebook_cell
from jupyter_gpupredict.frontends.server.schemas import COMPONENTS, QUERIES, Schema, ref
from jupyter_gpupredict.frontends.server.state import Busy, TooSlow
from jupyter_gpupredict.run import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from jupyter_gpupredict.core.events import SessionStarted
    from jupyter_gpupredict.frontends.server.state import ServerState, Worker


_BEFORE = r"(?<![\w./~$}\])*-])"
"""Not within a relative path or a URL."""
_PLACE = re.compile(rf"""{_BEFORE}/(?!/)[^\s"'`\\,;:()<>|]*[^\s"'`\\,;:()<>|/.]""")
HINT = "name a folder below the one the server was started in, such as exports/train"


def folder_below(root: str, wanted: str) -> Path:
    """Return the folder that a client names, relative and with `/`, every link above it followed.

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


def body_of(text: bytes, component: str) -> dict[str, Any]:
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


def query_of(operation: str, name: str, text: str | None) -> Any:
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


def code_of(
    started: SessionStarted,
    cells: Sequence[Mapping[str, Any]],
    root: str,
    notebook: str,
    **options: Any,
) -> CodeRequest:
    """Return what an export takes: `cells` as the schema says, `notebook` as a path below the root.

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


# ---- handlers ----------------------------------------------------------------------------------


_Value = TypeVar("_Value")

_REASONS = {
    400: "bad_request",
    403: "not_allowed",
    404: "not_found",
    405: "not_allowed",
    409: "conflict",
    422: "refused",
    501: "not_installed",
    503: "busy",
    504: "timed_out",
}


class Problem(web.HTTPError):
    """An error as a client sees it."""

    obstacles: Sequence[GpuPredictError] = ()
    """All that is in the way, where that is known to be more than this."""

    def __init__(self, status: int, message: str, hint: str = "", reason: str = "") -> None:
        super().__init__(status)
        self.text = message
        self.hint = hint
        self.reason_word = reason or _REASONS.get(status, "error")


class ApiHandler(APIHandler):
    """A route of ours. No request counts as activity: an open panel keeps no server alive."""

    auth_resource = "gpupredict"
    _track_activity = False

    @property
    def state(self) -> ServerState:
        """What all routes share."""
        return cast("ServerState", self.settings["gpupredict"])

    @property
    def root(self) -> str:
        """The server's root directory."""
        return str(self.settings["server_root_dir"])

    def reply(self, text: str, status: int = 200, media: str = "application/json") -> None:
        """Send a text that is of this media type already."""
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(text, set_content_type=media)

    def send(self, text: str, status: int = 200) -> None:
        """Send JSON whose texts may name files of this machine: as a client may know them."""
        self.reply(without_places(text, self.root), status)

    async def on(
        self,
        worker: Worker,
        work: Callable[..., _Value],
        *arguments: Any,
        limit_s: float | None = None,
    ) -> _Value:
        """Return what `work(*arguments)` returns, done on another thread; as `Worker.do`.

        Raises:
            Problem: It failed, in words.
        """
        try:
            return await worker.do(work, *arguments, limit_s=limit_s)
        except Busy as error:
            raise Problem(503, "too many requests wait already", "ask again in a second") from error
        except TooSlow as error:
            raise Problem(504, "it took too long", "is the disk or the driver stuck?") from error
        except GpuPredictError as error:
            raise problem_of(error) from error

    async def may(self, action: str, resource: str) -> bool:
        """Return whether the user may do something more than the route itself asks for."""
        allowed = self.authorizer.is_authorized(self, self.current_user, action, resource)
        return bool(await allowed) if inspect.isawaitable(allowed) else bool(allowed)

    def query(self, operation: str) -> dict[str, Any]:
        """Return the query arguments that the document lists for an operation.

        Raises:
            Problem: One is not as it says.
        """
        try:
            return {
                name: query_of(operation, name, self.get_query_argument(name, None))
                for name in QUERIES[operation]
            }
        except InvalidOption as error:
            raise Problem(400, error.message, error.hint) from error

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send an error as JSON: what happened and what to do."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        message, hint = f"HTTP {status_code}", ""
        reason = _REASONS.get(status_code, "error")
        if isinstance(error, Problem):
            message, hint, reason = error.text, error.hint, error.reason_word
        elif isinstance(error, web.HTTPError):
            message = error.log_message or message
            if status_code == 403:
                hint = "are you signed in, and may you do this?"
        elif error is not None:
            message, hint = "an error in jupyter_gpupredict", "see the server's log"
        if status_code == 503:
            self.set_header("Retry-After", "1")
        if status_code == 405:
            self.set_header("Allow", ", ".join(allowed(type(self))))
        body: dict[str, Any] = {"message": message, "hint": hint, "reason": reason}
        if isinstance(error, Problem) and error.obstacles:
            body["obstacles"] = [
                {
                    "message": one.message,
                    "hint": one.hint,
                    "fixes": [
                        {"label": fix.label, "options": fix.options, "asks": fix.asks}
                        for fix in one.fixes
                    ],
                }
                for one in error.obstacles
            ]
        self.send(json.dumps(body, ensure_ascii=False), status_code)


class UnknownRouteHandler(ApiHandler):
    """Whatever else is asked for below our prefix: a 404 that a program can read."""

    @web.authenticated
    @authorized
    def get(self) -> None:
        """Refuse: there is no such route."""
        raise self._unknown()

    @web.authenticated
    @authorized
    def post(self) -> None:
        """Refuse: there is no such route."""
        raise self._unknown()

    def _unknown(self) -> Problem:
        return Problem(404, "no such route, or an id has another form", "see openapi.json")


def allowed(handler: type[APIHandler]) -> list[str]:
    """Return the verbs that a handler answers: those with a guard."""
    verbs = ("get", "post", "put", "patch", "delete", "head")
    return [verb.upper() for verb in verbs if hasattr(getattr(handler, verb), "__wrapped__")]


def problem_of(error: GpuPredictError) -> Problem:
    """Return an error of ours as a client sees it."""
    return Problem(status_of(error), error.message, error.hint, _reason_of(error))


def _reason_of(error: GpuPredictError) -> str:
    """Return what a client can act on; empty: the status says it."""
    if isinstance(error, SecretFound):
        return "secrets"
    return "code" if isinstance(error, CodeRefused) else ""


def status_of(error: GpuPredictError) -> int:
    """Return the HTTP status that fits an error of ours."""
    if isinstance(error, UnknownName) and error.message.startswith("unknown session"):
        return 404
    if isinstance(error, OutputExists):
        return 409
    if isinstance(error, MissingExtra):
        return 501
    if isinstance(error, ConfigError):
        return 400
    if isinstance(error, NoAnswer):
        return 503
    if isinstance(error, ExportError | TraceError):
        return 422
    return 500
