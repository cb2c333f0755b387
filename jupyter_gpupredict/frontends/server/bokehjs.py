"""`GET gpupredict/bokehjs/{version}.js`: BokehJS for the live view, from the Bokeh beside us."""

from __future__ import annotations

import json
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from tornado import web

from jupyter_gpupredict.frontends.server.worker import Busy, TooSlow

if TYPE_CHECKING:
    from jupyter_gpupredict.frontends.server.desk import Desk

CORE = "server/static/js/bokeh.min.js"


class BokehJsHandler(JupyterHandler):
    """Serves one file, to those who are signed in; never counts as activity."""

    auth_resource = "gpupredict"
    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self, version: str) -> None:
        """Write BokehJS of exactly this version; 404 with the reason where it is another."""
        desk = cast("Desk", self.settings["gpupredict"])
        try:
            script, reason = await desk.files.do(_read, version)
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
