"""`sessions…`: the stored and live runs of this user."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_gpupredict.frontends.server import replies
from jupyter_gpupredict.frontends.server.base import ApiHandler


class SessionsHandler(ApiHandler):
    """`GET sessions`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write one page of runs, newest first."""
        asked = self.query("sessions")
        wanted = tuple(asked["q"].lower().split())
        self.tell(
            await self.on(self.desk.files, self._page, asked["limit"], asked["before"], wanted)
        )

    def _page(self, limit: int, before: str | None, wanted: tuple[str, ...]) -> str:
        return replies.page(self.desk.runs.page(limit, before, wanted), self.desk.host)


class SessionHandler(ApiHandler):
    """`GET sessions/{id}`."""

    @web.authenticated
    @authorized
    async def get(self, session_id: str) -> None:
        """Write one run."""
        self.tell(await self.on(self.desk.files, self._session, session_id))

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
        width = self.query("series")["width"]
        desk = self.desk
        run = await self.on(desk.files, desk.runs.summary, session_id)
        self.tell(
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
        self.tell(await self.on(self.desk.files, self._recommendation, session_id))

    def _recommendation(self, session_id: str) -> str:
        runs = self.desk.runs
        outcome = runs.summary(session_id).outcome
        return replies.recommendation(runs.run(session_id, outcome), runs.ends(session_id))
