"""`GET gpupredict/bokehjs/{version}.js`: BokehJS for the live view, from the Bokeh beside us."""

from __future__ import annotations

import json
from importlib import metadata, util
from pathlib import Path

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from tornado import web

CORE = "server/static/js/bokeh.min.js"


class BokehJsHandler(JupyterHandler):
    """Serves one file, to those who are signed in; never counts as activity."""

    auth_resource = "gpupredict"
    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self, version: str) -> None:
        """Write BokehJS of exactly this version; 404 with the reason where it is another."""
        installed = _installed()
        if installed != version:
            self.set_status(404)
            self.set_header("Content-Type", "application/json")
            reason = f"Bokeh {installed} is installed" if installed else "Bokeh is not installed"
            self.finish(json.dumps({"reason": f"{reason} beside the server, not {version}"}))
            return
        spec = util.find_spec("bokeh")
        assert spec is not None  # noqa: S101 - its metadata is there
        file = Path(spec.origin or "").parent / CORE
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", "private, max-age=86400")
        self.finish(file.read_bytes())


def _installed() -> str:
    try:
        return metadata.version("bokeh")
    except metadata.PackageNotFoundError:
        return ""
