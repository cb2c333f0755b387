"""The Jupyter Server extension; enabled by the package's own configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def _load_jupyter_server_extension(app: ServerApp) -> None:
    """Add our routes below the server's base URL."""
    from jupyter_server.utils import url_path_join

    from jupyter_gpupredict.frontends.server.bokehjs import BokehJsHandler

    base = app.web_app.settings["base_url"]
    route: Any = url_path_join(base, r"gpupredict/bokehjs/([0-9A-Za-z.+-]{1,40})\.js")
    app.web_app.add_handlers(".*$", [(route, BokehJsHandler)])  # type: ignore[no-untyped-call]
