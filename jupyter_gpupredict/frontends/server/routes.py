"""Every route with its handler, in the order of the OpenAPI document."""

from __future__ import annotations

from jupyter_gpupredict.frontends.server.about import (
    DevicesHandler,
    DoctorHandler,
    OpenApiHandler,
    StatusHandler,
)
from jupyter_gpupredict.frontends.server.base import ApiHandler, UnknownRouteHandler
from jupyter_gpupredict.frontends.server.exports import ExportHandler
from jupyter_gpupredict.frontends.server.kernels import RunsHandler, StopHandler
from jupyter_gpupredict.frontends.server.metrics import MetricsHandler
from jupyter_gpupredict.frontends.server.schemas import KERNEL_ID, SESSION_ID
from jupyter_gpupredict.frontends.server.sessions import (
    RecommendationHandler,
    SeriesHandler,
    SessionHandler,
    SessionsHandler,
)

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
    "/metrics": MetricsHandler,
    "/doctor": DoctorHandler,
    "/openapi.json": OpenApiHandler,
}
_IDS = {"{kernel}": KERNEL_ID, "{run}": SESSION_ID, "{session}": SESSION_ID}


def patterns() -> list[tuple[str, type[ApiHandler]]]:
    """Return (pattern below the base URL, handler); the last one takes what no route does."""
    found = []
    for path, handler in ROUTES.items():
        pattern = path.replace(".", r"\.")
        for name, form in _IDS.items():
            pattern = pattern.replace(name, f"({form})")
        found.append((PREFIX + pattern, handler))
    return [*found, (PREFIX + "/.*", UnknownRouteHandler)]
