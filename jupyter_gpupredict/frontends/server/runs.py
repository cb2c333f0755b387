"""The runs of a kernel: news, a request to stop; and what a user does with one stored run."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from tornado import iostream, web

from jupyter_gpupredict.core.errors import InvalidOption, TraceError, UnknownName
from jupyter_gpupredict.core.events import SamplesTaken, SessionStarted
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.summary import parse_cursor, run_of
from jupyter_gpupredict.frontends.charts import card, figures
from jupyter_gpupredict.frontends.server import base, replies
from jupyter_gpupredict.frontends.server.base import ApiHandler, Problem, status_of, without_places
from jupyter_gpupredict.frontends.server.state import GLANCE_S, KEEP_S, Busy, TooSlow
from jupyter_gpupredict.run import with_verified

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jupyter_events import EventLogger

    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.run import Row, Run
    from jupyter_gpupredict.core.series import Series
    from jupyter_gpupredict.core.summary import Cursor, News, Summary
    from jupyter_gpupredict.run import Drawing, Picture


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
    """Report that something happened to a run."""
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
        self.send(self._line(kernel_id, found))

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


# ---- one stored run ----------------------------------------------------------------------------


LATE_S = 30.0
"""A reading comes at most so long after one with a later stamp."""
ROWS = 2000
"""Of the CSV, made and sent at once."""
CHART_ROWS = 600
CHART_S = 5.0
"""Seconds a first reading of a long trace may take before a part of it is drawn."""


class _FileHandler(ApiHandler):
    """Writes files of the store; a disk that refuses makes one clear line."""

    async def change(self, work: Any, *arguments: Any) -> Any:
        """Return what the work returns, done on the store's thread.

        Raises:
            Problem: It failed, in words.
        """

        def done() -> Any:
            try:
                return work(*arguments)
            except OSError as error:
                raise InvalidOption(
                    f"the session store cannot be written: {error.strerror}", "is its disk full?"
                ) from error

        return await self.on(self.state.files, done)


class LabelHandler(_FileHandler):
    """`POST sessions/{id}/label`."""

    @web.authenticated
    @authorized
    async def post(self, session_id: str) -> None:
        """Change name, note or pin; what the body leaves out stays."""
        try:
            changed = base.body_of(self.request.body, "LabelRequest")
        except InvalidOption as error:
            raise Problem(400, error.message, error.hint) from error
        found = await self.change(self.state.runs.label, session_id, changed)
        self.send(replies.dumps(replies.summary(found, self.state.host)))


class DeleteHandler(_FileHandler):
    """`POST sessions/{id}/delete`."""

    @web.authenticated
    @authorized
    async def post(self, session_id: str) -> None:
        """Move a run that is over to the trash."""
        run = await self.on(self.state.files, self.state.runs.summary, session_id)
        if not run.over:
            raise Problem(409, "the run is still measured", "stop it first")
        await self.change(self.state.runs.discard, session_id)
        self.reply(replies.dumps({"session_id": session_id, "deleted": True}))


class RestoreHandler(_FileHandler):
    """`POST sessions/{id}/restore`."""

    @web.authenticated
    @authorized
    async def post(self, session_id: str) -> None:
        """Bring a deleted run back."""
        found = await self.change(self.state.runs.restore, session_id)
        self.send(replies.dumps(replies.summary(found, self.state.host)))


class ReadingsHandler(ApiHandler):
    """`GET sessions/{id}/readings.csv`."""

    @web.authenticated
    @authorized
    async def get(self, session_id: str) -> None:
        """Write all readings as a table, some thousand rows at once."""
        await self.on(self.state.files, self.state.runs.summary, session_id)
        lines = csv_lines(self.state.runs.events(session_id))

        def some() -> str:
            return "".join(islice(lines, ROWS))

        text = await self.on(self.state.reading, some)
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{session_id}.csv"')
        try:
            while text:
                self.write(text)
                await self.flush()
                text = await self.on(self.state.reading, some)
        except (iostream.StreamClosedError, Problem):
            return  # the client has gone, or a part of the trace is damaged
        self.finish(set_content_type="text/csv; charset=utf-8")


class ChartHandler(ApiHandler):
    """`GET sessions/{id}/chart/svg` and `chart/png`."""

    @web.authenticated
    @authorized
    async def get(self, session_id: str, form: str) -> None:
        """Write the whole run's chart as a file."""
        state = self.state
        run = await self.on(state.files, state.runs.summary, session_id)

        def drawn() -> bytes:
            ends = state.runs.ends(session_id)
            whole = with_verified(run_of(ends, run.outcome))
            shown = with_rows(whole, state.runs.draw(session_id, CHART_ROWS, CHART_S))
            text = figures.run_svg(shown)
            return card.png_of_svg(text) if form == "png" else text.encode()

        content = await self.on(state.reading, drawn)
        media = "image/png" if form == "png" else "image/svg+xml"
        self.set_header("Content-Disposition", f'attachment; filename="{session_id}.{form}"')
        self.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.set_header("Cache-Control", "no-store")
        self.finish(content, set_content_type=media)


def with_rows(run: Run, drawing: Drawing) -> Run:
    """Return a run with the rows of a drawing of its whole trace."""
    pictures = {one.series: one for one in drawing.pictures}
    started = run.started
    return replace(
        run,
        share=_rows(pictures.get(started.share)),
        memory=_rows(pictures.get(started.memory) if started.memory else None),
        further=tuple(
            (series, _rows(one))
            for series, one in pictures.items()
            if series.metric == started.share.metric and series != started.share
        )[:8],
    )


def _rows(picture: Picture | None) -> tuple[Row, ...]:
    if picture is None:
        return ()
    columns = (picture.times_s, picture.low, picture.high)
    return tuple(zip(*(map(float, one) for one in columns), strict=True))


def csv_lines(events: Iterable[Event]) -> Iterator[str]:
    """Yield a run's readings as lines of CSV, the header first, in order of time.

    Columns are those of a recording, so `jupyter gpupredict predict` reads the file; of a further
    device, they are named `metric@UUID`. An empty cell: nothing was read at that time.
    """
    columns: dict[Series, int] = {}
    scales: list[float] = []
    waiting: dict[float, dict[int, float]] = {}
    last_s = -math.inf
    for event in events:
        if isinstance(event, SessionStarted):
            main = event.share.device
            columns = {one: number for number, one in enumerate(dict.fromkeys(event.series))}
            scales = [METRICS[one.metric].csv_scale for one in columns]
            names = [
                METRICS[one.metric].csv + ("" if one.device == main else f"@{one.device}")
                for one in columns
            ]
            yield ",".join(["t_s", *map(_quoted, names)]) + "\n"
        elif isinstance(event, SamplesTaken):
            for readings in event.readings:
                at = columns.get(readings.series)
                if at is None:
                    continue
                for time_s, value in zip(readings.times_s, readings.values, strict=True):
                    waiting.setdefault(round(time_s, 6), {})[at] = value
            due_s = event.t_s - LATE_S
            for time_s in sorted(one for one in waiting if one < due_s):
                if time_s > last_s:
                    last_s = time_s
                    yield _csv_line(time_s, waiting[time_s], scales)
                del waiting[time_s]
    for time_s in sorted(one for one in waiting if one > last_s):
        yield _csv_line(time_s, waiting[time_s], scales)


def _csv_line(time_s: float, values: dict[int, float], scales: list[float]) -> str:
    cells = [f"{time_s:.6g}" if time_s < 1e5 else f"{time_s:.3f}"]
    for number, scale in enumerate(scales):
        value = values.get(number, math.nan)
        cells.append("" if math.isnan(value) else f"{value * scale:.6g}")
    return ",".join(cells) + "\n"


def _quoted(name: str) -> str:
    """Return a title for CSV: a device's name comes from a driver or a trace."""
    plain = "".join(sign if sign.isprintable() else " " for sign in name)
    return '"' + plain.replace('"', '""') + '"' if set(plain) & set(',"') else plain
