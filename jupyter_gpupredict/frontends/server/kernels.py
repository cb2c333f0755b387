"""The runs of a kernel: news as they come, a request to stop, and reports to administrators."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from tornado import iostream, web

from jupyter_gpupredict.core.errors import TraceError, UnknownName
from jupyter_gpupredict.core.summary import parse_cursor
from jupyter_gpupredict.frontends.server import replies
from jupyter_gpupredict.frontends.server.base import ApiHandler, Problem, status_of
from jupyter_gpupredict.frontends.server.requests import without_places
from jupyter_gpupredict.frontends.server.state import GLANCE_S, KEEP_S
from jupyter_gpupredict.frontends.server.worker import Busy, TooSlow

if TYPE_CHECKING:
    from jupyter_events import EventLogger

    from jupyter_gpupredict.core.summary import Cursor, News, Summary

SCHEMA_ID = "https://events.jupyter.org/jupyter_gpupredict/run/v1"
SCHEMA = {
    "$id": SCHEMA_ID,
    "version": "1",
    "title": "A measured run",
    "personal-data": True,
    "description": "A run was first seen live, was asked to stop, or was exported.",
    "type": "object",
    "properties": {
        "action": {
            "type": "string",
            "enum": ["start", "stop", "export"],
            "description": "What happened.",
        },
        "session_id": {"type": "string", "description": "The run's id: start, host, process."},
    },
    "required": ["action", "session_id"],
    "additionalProperties": False,
}


def register(logger: EventLogger) -> None:
    """Make the schema known; once a server."""
    if SCHEMA_ID not in logger.schemas:
        logger.register_event_schema(SCHEMA)


def emit(logger: EventLogger, action: str, session_id: str) -> None:
    """Tell that something happened to a run."""
    logger.emit(schema_id=SCHEMA_ID, data={"action": action, "session_id": session_id})


MAX_WAIT_S = 10.0
NO_RUN = (
    "no run of this kernel is stored on this machine: it measured nothing yet, or it runs on "
    "another machine, where its runs are stored"
)


class _GoneError(Exception):
    """The client has closed its connection."""


class _KernelHandler(ApiHandler):
    def require(self, kernel_id: str) -> None:
        """Let only kernels of this server pass.

        Raises:
            Problem: It is none.
        """
        if not self.state.serves(kernel_id, lambda one: one in self.kernel_manager):
            raise Problem(404, "this server has no such kernel", "was it restarted under a new id?")


class RunsHandler(_KernelHandler):
    """`GET kernels/{id}/runs`."""

    _held: asyncio.Future[News] | None = None
    _gone = False

    @web.authenticated
    @authorized
    async def get(self, kernel_id: str) -> None:
        """Write runs and events; with a cursor, as soon as there are some it does not know."""
        self.require(kernel_id)
        asked = self.query("runs")
        limit, since = asked["limit"], asked["since"]
        if since is None:
            found = await self.on(self.state.files, self.state.runs.first, kernel_id)
        else:
            cursor = parse_cursor(since)
            if asked["stream"] > 0:
                devices = asked["devices"] == 1
                await self._stream(kernel_id, cursor, limit, asked["stream"], devices=devices)
                return
            try:
                found = await self._news(kernel_id, cursor, limit, asked["wait"])
            except _GoneError:
                return
        self.tell(self._line(kernel_id, found))

    def on_connection_close(self) -> None:
        """Hold nothing for a client that has gone."""
        self._gone = True
        if self._held is not None:
            self._held.cancel()
        super().on_connection_close()

    async def _stream(
        self, kernel_id: str, cursor: Cursor, limit: int, stream_s: float, *, devices: bool
    ) -> None:
        """Write one line for each news, each with its cursor, until the time is over.

        A line is written when the one before has gone out: who reads slowly is sent fewer, longer
        ones. An empty one after `MAX_WAIT_S` of silence keeps proxies from giving up. The devices
        come along once a second where they are wanted: a request of their own would cost as much
        as all lines of that second.
        """
        self.set_header("Content-Type", "application/x-ndjson")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Accel-Buffering", "no")  # nginx would keep the lines
        until_s = time.monotonic() + stream_s
        due_s = time.monotonic() if devices else math.inf
        longest_s = KEEP_S if devices else MAX_WAIT_S
        try:
            found = await self._news(kernel_id, cursor, limit, 0.0)
            while True:
                line = self._line(kernel_id, found)
                if time.monotonic() >= due_s:
                    due_s = time.monotonic() + KEEP_S
                    line = f'{line[:-1]},"devices":{await self._devices()}}}'
                self.write(without_places(line, self.root) + "\n")
                await self.flush()
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    break
                wait_s = min(left_s, longest_s)
                found = await self._news(
                    kernel_id, found.cursor, limit, wait_s, look_first=found.more
                )
        except (iostream.StreamClosedError, _GoneError):
            return
        except Problem:
            if not self._headers_written:
                raise
        self.finish(set_content_type="application/x-ndjson")  # it comes back with its cursor

    async def _news(
        self, kernel_id: str, cursor: Cursor, limit: int, wait_s: float, *, look_first: bool = True
    ) -> News:
        ask = self.state.poller.news if look_first else self.state.poller.next
        self._held = asyncio.ensure_future(ask(kernel_id, cursor, limit, wait_s))
        try:
            return await self._held
        except asyncio.CancelledError:
            if self._gone:
                raise _GoneError from None
            raise
        except Busy as error:
            raise Problem(503, "too many requests wait already", "ask again in a second") from error
        except TraceError as error:
            raise Problem(status_of(error), error.message, error.hint) from error
        except TooSlow as error:
            raise Problem(504, "the session store does not answer", "is its disk stuck?") from error
        finally:
            self._held = None

    async def _devices(self) -> str:
        reading = await self.state.devices.now(GLANCE_S)
        return replies.dumps(replies.devices(reading, self.state.host))

    def _line(self, kernel_id: str, found: News) -> str:
        for run in found.runs:
            if run.summary.outcome == "running" and self.state.is_new(run.summary.session_id):
                emit(self.event_logger, "start", run.summary.session_id)
        reason = "" if found.runs or found.cursor else NO_RUN
        return replies.news(kernel_id, found, self.state.host, reason)


class StopHandler(_KernelHandler):
    """`POST kernels/{id}/runs/{run}/stop`."""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str, session_id: str) -> None:
        """Ask the run to end its measuring."""
        self.require(kernel_id)
        await self.on(self.state.files, self._stop, kernel_id, session_id)
        emit(self.event_logger, "stop", session_id)
        self.reply(replies.dumps({"session_id": session_id, "stopping": True}), 202)

    def _stop(self, kernel_id: str, session_id: str) -> None:
        run: Summary = self.state.runs.summary(session_id)
        if run.kernel_id != kernel_id:
            raise UnknownName("session", session_id, self.state.runs.of_kernel(kernel_id)[:5])
        if run.over:
            raise Problem(409, f"the run is over: {run.outcome}", "there is nothing to stop")
        self.state.runs.stop(session_id)
