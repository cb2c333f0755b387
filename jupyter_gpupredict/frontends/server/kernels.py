"""`kernels/{id}/runs` and `.../stop`: a kernel's runs, live, from the server's side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_gpupredict.core.errors import ConfigError, UnknownName
from jupyter_gpupredict.core.following import parse_cursor
from jupyter_gpupredict.frontends.server import records, replies
from jupyter_gpupredict.frontends.server.base import ApiHandler, Problem
from jupyter_gpupredict.frontends.server.worker import Busy, TooSlow

if TYPE_CHECKING:
    from jupyter_gpupredict.core.following import Cursor, News
    from jupyter_gpupredict.core.summary import Summary

MAX_WAIT_S = 10.0
NO_RUN = (
    "no run of this kernel is stored on this machine: it measured nothing yet, or it runs on "
    "another machine, where its runs are stored"
)


class _KernelHandler(ApiHandler):
    def require(self, kernel_id: str) -> None:
        """Let only kernels of this server pass.

        Raises:
            Problem: It is none.
        """
        if not self.desk.serves(kernel_id, lambda one: one in self.kernel_manager):
            raise Problem(404, "this server has no such kernel", "was it restarted under a new id?")


class RunsHandler(_KernelHandler):
    """`GET kernels/{id}/runs`."""

    @web.authenticated
    @authorized
    async def get(self, kernel_id: str) -> None:
        """Write runs and events; with a cursor, as soon as there are some it does not know."""
        self.require(kernel_id)
        wait_s = self.number("wait", 0.0, MAX_WAIT_S, MAX_WAIT_S)
        limit = self.whole("limit", 1, 5000, 1000)
        since = self.words("since", 2000)
        desk = self.desk
        if since:
            try:
                cursor = parse_cursor(since)
            except ConfigError as error:
                raise Problem(400, error.message, error.hint) from error
            found = await self._news(kernel_id, cursor, limit, wait_s)
        else:
            found = await self.on(desk.files, desk.runs.first, kernel_id)
        for run in found.runs:
            if run.summary.outcome == "running" and desk.is_new(run.summary.session_id):
                records.emit(self.event_logger, "start", run.summary.session_id)
        reason = "" if found.runs or found.cursor else NO_RUN
        self.reply(replies.news(kernel_id, found, desk.host, reason))

    async def _news(self, kernel_id: str, cursor: Cursor, limit: int, wait_s: float) -> News:
        try:
            return await self.desk.pulse.news(kernel_id, cursor, limit, wait_s)
        except Busy as error:
            raise Problem(503, "too many requests wait already", "ask again in a second") from error
        except TooSlow as error:
            raise Problem(504, "the session store does not answer", "is its disk stuck?") from error


class StopHandler(_KernelHandler):
    """`POST kernels/{id}/runs/{run}/stop`."""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str, session_id: str) -> None:
        """Ask the run to end its measuring."""
        self.require(kernel_id)
        await self.on(self.desk.files, self._stop, kernel_id, session_id)
        records.emit(self.event_logger, "stop", session_id)
        self.reply(replies.dumps({"session_id": session_id, "stopping": True}), 202)

    def _stop(self, kernel_id: str, session_id: str) -> None:
        run: Summary = self.desk.runs.summary(session_id)
        if run.kernel_id != kernel_id:
            raise UnknownName("session", session_id, self.desk.runs.of_kernel(kernel_id)[:5])
        if run.over:
            raise Problem(409, f"the run is over: {run.outcome}", "there is nothing to stop")
        self.desk.runs.stop(session_id)
