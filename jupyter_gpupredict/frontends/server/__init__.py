"""The Jupyter Server extension; enabled by the package's own configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def _load_jupyter_server_extension(app: ServerApp) -> None:
    """Add our routes below the server's base URL. Opens nothing and never raises."""
    try:
        _load(app)
    except Exception as error:  # noqa: BLE001 - border: the server must start whatever happens here
        app.log.warning(f"jupyter_gpupredict has no routes: {type(error).__name__}: {error}")


def _load(app: ServerApp) -> None:
    from jupyter_server.utils import url_path_join

    from jupyter_gpupredict.frontends.server import runs
    from jupyter_gpupredict.frontends.server.handlers import BokehJsHandler, patterns
    from jupyter_gpupredict.frontends.server.state import ServerState

    settings = app.web_app.settings
    if app.event_logger is not None:
        runs.register(app.event_logger)
    settings["gpupredict"] = ServerState()
    routes: list[tuple[str, Any]] = [
        (r"gpupredict/bokehjs/([0-9A-Za-z.+-]{1,40})\.js", BokehJsHandler),
        *patterns(),
    ]
    base = settings["base_url"]
    app.web_app.add_handlers(  # type: ignore[no-untyped-call]
        ".*$", [(url_path_join(base, pattern), handler) for pattern, handler in routes]
    )
