"""What all handlers share: who may ask, how an error is reported, and where work is done."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, TypeVar, cast

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

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
from jupyter_gpupredict.frontends.server import requests
from jupyter_gpupredict.frontends.server.requests import without_places
from jupyter_gpupredict.frontends.server.schemas import QUERIES
from jupyter_gpupredict.frontends.server.state import Busy, TooSlow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.frontends.server.state import ServerState, Worker

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
                name: requests.query(operation, name, self.get_query_argument(name, None))
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
