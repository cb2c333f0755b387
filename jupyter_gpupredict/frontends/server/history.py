"""What a user does with one stored run: name, pin, delete, bring back, and take its readings."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from tornado import iostream, web

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.events import SamplesTaken, SessionStarted
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.summary import run_of
from jupyter_gpupredict.frontends.charts import figures, png
from jupyter_gpupredict.frontends.server import replies, requests
from jupyter_gpupredict.frontends.server.base import ApiHandler, Problem
from jupyter_gpupredict.run import with_verified

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.run import Row, Run
    from jupyter_gpupredict.core.series import Series
    from jupyter_gpupredict.run import Drawing, Picture

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
            changed = requests.body(self.request.body, "LabelRequest")
        except InvalidOption as error:
            raise Problem(400, error.message, error.hint) from error
        found = await self.change(self.state.runs.label, session_id, changed)
        self.tell(replies.dumps(replies.summary(found, self.state.host)))


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
        self.tell(replies.dumps(replies.summary(found, self.state.host)))


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
            return png.of_svg(text) if form == "png" else text.encode()

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
