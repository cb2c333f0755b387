"""`sessions…`: the stored and live runs of this user."""

from __future__ import annotations

import re

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_gpupredict.frontends.server import replies
from jupyter_gpupredict.frontends.server.base import ApiHandler, Problem
from jupyter_gpupredict.frontends.server.schemas import SESSION_ID

_ID = re.compile(SESSION_ID)


class SessionsHandler(ApiHandler):
    """`GET sessions`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write one page of runs, newest first."""
        limit = self.whole("limit", 1, 200, 50)
        before = self.get_query_argument("before", None)
        if before is not None and not _ID.fullmatch(before):
            raise Problem(400, "before is no session id", "pass the reply's `before` back")
        wanted = tuple(self.words("q", 200).lower().split())
        self.reply(await self.on(self.desk.files, self._page, limit, before, wanted))

    def _page(self, limit: int, before: str | None, wanted: tuple[str, ...]) -> str:
        return replies.page(self.desk.runs.page(limit, before, wanted), self.desk.host)


class SessionHandler(ApiHandler):
    """`GET sessions/{id}`."""

    @web.authenticated
    @authorized
    async def get(self, session_id: str) -> None:
        """Write one run."""
        self.reply(await self.on(self.desk.files, self._session, session_id))

    def _session(self, session_id: str) -> str:
        runs = self.desk.runs
        run = runs.summary(session_id)
        ends = runs.ends(session_id)
        stopping, tried = runs.stop_requested(session_id), runs.verified(ends.started)
        return replies.session(run, ends, stopping, self.desk.host, tried)


class SeriesHandler(ApiHandler):
    """`GET sessions/{id}/series`."""

    @web.authenticated
    @authorized
    async def get(self, session_id: str) -> None:
        """Write a run's readings in so many rows."""
        width = self.whole("width", 10, 4000, 600)
        desk = self.desk
        run = await self.on(desk.files, desk.runs.summary, session_id)
        self.reply(
            await self.on(
                desk.reading, lambda: replies.series(run, desk.runs.draw(session_id, width))
            )
        )


class RecommendationHandler(ApiHandler):
    """`GET sessions/{id}/recommendation`."""

    @web.authenticated
    @authorized
    async def get(self, session_id: str) -> None:
        """Write what was predicted."""
        self.reply(await self.on(self.desk.files, self._recommendation, session_id))

    def _recommendation(self, session_id: str) -> str:
        runs = self.desk.runs
        outcome = runs.summary(session_id).outcome
        return replies.recommendation(runs.run(session_id, outcome), runs.ends(session_id))
