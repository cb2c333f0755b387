"""The routes with their handlers, but for those of a kernel's runs and the metrics."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from tornado import web

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.errors import CodeRefused, ExportError, Fix, InvalidOption
from jupyter_gpupredict.core.options import options_of
from jupyter_gpupredict.core.summary import run_of
from jupyter_gpupredict.export import CodeRequest, ExportRequest, export_run, obstacles, targets
from jupyter_gpupredict.frontends import doctor
from jupyter_gpupredict.frontends.server import base, openapi, replies, runs
from jupyter_gpupredict.frontends.server.base import (
    ApiHandler,
    Problem,
    UnknownRouteHandler,
    folder_below,
    problem_of,
    require_inside,
    without_places,
)
from jupyter_gpupredict.frontends.server.recordings import RecordingsHandler
from jupyter_gpupredict.frontends.server.replies import MetricsHandler
from jupyter_gpupredict.frontends.server.runs import (
    ChartHandler,
    DeleteHandler,
    LabelHandler,
    ReadingsHandler,
    RestoreHandler,
    RunsHandler,
    StopHandler,
)
from jupyter_gpupredict.frontends.server.schemas import KERNEL_ID, SESSION_ID
from jupyter_gpupredict.frontends.server.state import GLANCE_S, Busy, TooSlow
from jupyter_gpupredict.mps import mps_daemon
from jupyter_gpupredict.run import store_problem, with_verified

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.frontends.server.state import ServerState
    from jupyter_gpupredict.mps import MpsDaemon

CORE = "server/static/js/bokeh.min.js"


class BokehJsHandler(JupyterHandler):
    """Serves one file, to those who are signed in; never counts as activity."""

    auth_resource = "gpupredict"
    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self, version: str) -> None:
        """Write BokehJS of exactly this version; 404 with the reason where it is another."""
        state = cast("ServerState", self.settings["gpupredict"])
        try:
            script, reason = await state.files.do(_read, version)
        except (Busy, TooSlow):
            script, reason = b"", "the disk does not answer"
        if reason:
            self.set_status(404)
            self.set_header("Content-Type", "application/json")
            self.finish(json.dumps({"reason": reason}))
            return
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", "private, max-age=86400")
        self.finish(script)


def _read(version: str) -> tuple[bytes, str]:
    """Return the script, or why there is none; a megabyte, so not on the event loop."""
    try:
        installed = metadata.version("bokeh")
    except metadata.PackageNotFoundError:
        return b"", f"Bokeh is not installed beside the server, so not {version}"
    if installed != version:
        return b"", f"Bokeh {installed} is installed beside the server, not {version}"
    spec = util.find_spec("bokeh")
    assert spec is not None  # noqa: S101 - its metadata is there
    try:
        return (Path(spec.origin or "").parent / CORE).read_bytes(), ""
    except OSError as error:
        return b"", f"Bokeh's script cannot be read: {error.strerror}"


API = 1
"""The routes' version; raised when one takes or gives something else."""


DOCTOR_S = 20.0
"""It opens the driver anew, which takes seconds where nothing else keeps it loaded."""


class StatusHandler(ApiHandler):
    """`GET status`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write versions, host, and the state of driver, MPS and store."""
        reading = await self.state.devices.now(GLANCE_S)
        mps, problem, targets = await self.on(self.state.reading, _surroundings)
        self.send(
            replies.dumps(
                {
                    "version": __version__,
                    "api": API,
                    "host": self.state.host,
                    "pid": os.getpid(),
                    "nvml": {
                        "works": not reading.reason,
                        "reason": reading.reason,
                        "message": reading.message,
                        "hint": reading.hint,
                        "driver_version": reading.table.driver_version if reading.table else "",
                        "stuck_threads": int(self.state.devices.hangs),
                    },
                    "mps": asdict(mps),
                    "store": {
                        "works": not problem,
                        "message": problem,
                        "stuck": self.state.runs.stuck(),
                    },
                    "workers_replaced": self.state.replaced,
                    "targets": targets,
                }
            )
        )


class DevicesHandler(ApiHandler):
    """`GET devices`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write the server's own devices."""
        reading = await self.state.devices.now()
        self.send(replies.dumps(replies.devices(reading, self.state.host)))


class DoctorHandler(ApiHandler):
    """`GET doctor`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write what works here and what does not."""
        lines = await self.on(self.state.doctor, doctor.examine, limit_s=DOCTOR_S)
        works = all(line.level != "fails" for line in lines)
        self.send(replies.dumps({"works": works, "lines": [asdict(line) for line in lines]}))


class OpenApiHandler(ApiHandler):
    """`GET openapi.json`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write the OpenAPI document."""
        self.reply(replies.dumps(openapi.document(self.base_url)))


def _surroundings() -> tuple[MpsDaemon, str, list[dict[str, Any]]]:
    return mps_daemon(), store_problem(), targets()


class SessionsHandler(ApiHandler):
    """`GET sessions`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write one page of runs."""
        asked = self.query("sessions")
        words = tuple(asked.pop("q").lower().split())

        def page() -> str:
            return replies.page(self.state.runs.page(**asked, words=words), self.state.host)

        self.send(await self.on(self.state.files, page))


class SessionHandler(ApiHandler):
    """`GET sessions/{id}`."""

    @web.authenticated
    @authorized
    async def get(self, session_id: str) -> None:
        """Write one run."""
        self.send(await self.on(self.state.files, self._session, session_id))

    def _session(self, session_id: str) -> str:
        runs = self.state.runs
        run = runs.summary(session_id)
        ends = runs.ends(session_id)
        whole = with_verified(run_of(ends, run.outcome))
        return replies.session(run, ends, runs.stop_requested(session_id), self.state.host, whole)


class SeriesHandler(ApiHandler):
    """`GET sessions/{id}/series`."""

    @web.authenticated
    @authorized
    async def get(self, session_id: str) -> None:
        """Write a run's readings in so many rows."""
        width = self.query("series")["width"]
        state = self.state
        run = await self.on(state.files, state.runs.summary, session_id)
        self.send(
            await self.on(
                state.reading, lambda: replies.series(run, state.runs.draw(session_id, width))
            )
        )


class RecommendationHandler(ApiHandler):
    """`GET sessions/{id}/recommendation`."""

    @web.authenticated
    @authorized
    async def get(self, session_id: str) -> None:
        """Write what was predicted."""
        self.send(await self.on(self.state.files, self._recommendation, session_id))

    def _recommendation(self, session_id: str) -> str:
        runs = self.state.runs
        outcome = runs.summary(session_id).outcome
        return replies.recommendation(runs.run(session_id, outcome), runs.ends(session_id))


WITHOUT_CODE = Fix("Leave the function's code out: manifests alone", {"cells": None})


class ExportHandler(ApiHandler):
    """`POST sessions/{id}/export`."""

    @web.authenticated
    @authorized
    async def post(self, session_id: str) -> None:
        """Write the folder, or show what it would hold."""
        state = self.state
        run = await self.on(state.files, state.runs.summary, session_id)
        reads = await self.may("read", "contents")
        text, written = await self.on(
            state.reading, self._export, session_id, run.outcome, self.request.body, reads
        )
        if written:
            runs.emit(self.event_logger, "export", session_id)
        self.reply(text)

    def _export(self, session_id: str, outcome: str, body: bytes, reads: bool) -> tuple[str, bool]:
        asked = base.body_of(body, "ExportRequest")
        if asked.get("cells") is not None and not reads:
            raise Problem(403, "modules beside the notebook are read, and you may read no files")
        run = self.state.runs.run(session_id, outcome)
        try:
            return self._made(run, asked)
        except (ExportError, InvalidOption) as error:
            problem = problem_of(error)
            if asked["preview"]:
                problem.obstacles = obstacles(error, asked, partial(self._made, run))
            raise problem from error

    def _made(self, run: Run, asked: dict[str, Any]) -> tuple[str, bool]:
        """Return the reply, and whether anything was written."""
        try:
            return self._rendered(run, asked)
        except CodeRefused as error:
            error.fixes += (WITHOUT_CODE,)
            raise

    def _rendered(self, run: Run, asked: dict[str, Any]) -> tuple[str, bool]:
        root, code = self.root, None
        cells, output, preview = asked.get("cells"), asked["output"], asked["preview"]
        target: Path | None = None
        if output or not preview:
            target = folder_below(root, output)
        if cells is not None:
            names = {one.name for one in options_of(CodeRequest)} & asked.keys()
            of_code = {name: asked[name] for name in names}
            code = base.code_of(run.started, cells, root, asked["notebook"], **of_code)
        options = {one.name: asked.get(one.name) for one in options_of(ExportRequest)}

        def require_below(paths: Iterable[str]) -> None:
            if target is not None:
                require_inside(root, [target / path for path in paths])

        try:
            made = export_run(
                run,
                **options | {"output": target or root},
                dry_run=preview,
                code=code,
                before_write=require_below,
            )
        except OSError as error:
            raise ExportError(f"cannot write: {error.strerror}", "choose another") from error
        shown = {
            "preview": preview,
            "output": output,
            "paths": [f"{output.rstrip('/')}/{path}" for path in made.texts]
            if target is not None
            else [],
            "texts": made.texts,
            "warnings": [without_places(one, root) for one in made.warnings],
        }
        return replies.dumps(shown), not preview


PREFIX = "gpupredict/v1"
ROUTES: dict[str, type[ApiHandler]] = {
    "/status": StatusHandler,
    "/devices": DevicesHandler,
    "/kernels/{kernel}/runs": RunsHandler,
    "/kernels/{kernel}/runs/{run}/stop": StopHandler,
    "/sessions": SessionsHandler,
    "/sessions/{session}": SessionHandler,
    "/sessions/{session}/series": SeriesHandler,
    "/sessions/{session}/recommendation": RecommendationHandler,
    "/sessions/{session}/export": ExportHandler,
    "/sessions/{session}/label": LabelHandler,
    "/sessions/{session}/delete": DeleteHandler,
    "/sessions/{session}/restore": RestoreHandler,
    "/sessions/{session}/readings.csv": ReadingsHandler,
    "/sessions/{session}/chart/{form}": ChartHandler,
    "/recordings": RecordingsHandler,
    "/metrics": MetricsHandler,
    "/doctor": DoctorHandler,
    "/openapi.json": OpenApiHandler,
}
_IDS = {"{kernel}": KERNEL_ID, "{run}": SESSION_ID, "{session}": SESSION_ID, "{form}": "png|svg"}


def patterns() -> list[tuple[str, type[ApiHandler]]]:
    """Return (pattern below the base URL, handler); the last one takes what no route does."""
    found = []
    for path, handler in ROUTES.items():
        pattern = path.replace(".", r"\.")
        for name, form in _IDS.items():
            pattern = pattern.replace(name, f"({form})")
        found.append((PREFIX + pattern, handler))
    return [*found, (PREFIX + "/.*", UnknownRouteHandler)]
