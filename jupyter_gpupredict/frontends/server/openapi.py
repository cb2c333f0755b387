"""The OpenAPI document of the routes; a test holds it and the handlers to one another.

`python -m` with this module's name prints it, and with `--panel` the schemas that the panel reads
when it runs; `make types` makes the panel's types of both.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.metrics import METRICS, REASONS
from jupyter_gpupredict.frontends.server.schemas import (
    COMPONENTS,
    KERNEL_ID,
    QUERIES,
    RECORDED,
    SESSION_ID,
    Schema,
    ref,
)

_ERRORS = {
    "400": "A value is wrong",
    "403": "Not signed in, not allowed, or without the XSRF header",
    "404": "Not found",
    "409": "Not now: it is over, or is there already",
    "422": "Refused, with what to insist on",
    "501": "A library is missing; the hint names the extra",
    "503": "Busy; Retry-After says when to ask again",
    "504": "It took too long",
}
_KERNEL = {
    "name": "kernel",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{KERNEL_ID}$"},
}
_ID: Schema = {"type": "string", "pattern": f"^{SESSION_ID}$"}
_SESSION = {"name": "session", "in": "path", "required": True, "schema": _ID}
_RUN = {**_SESSION, "name": "run"}
_FORM = {
    "name": "form",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "enum": ["png", "svg"]},
}


def document(base_url: str) -> dict[str, Any]:
    """Return the whole document for a server at this base URL."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "jupyter_gpupredict", "version": __version__},
        "servers": [{"url": base_url.rstrip("/") + "/gpupredict/v1"}],
        "security": [{"token": []}],
        "paths": PATHS,
        "components": {
            "schemas": COMPONENTS,
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "Authorization"}
            },
        },
    }


def _operation(
    name: str,
    summary: str,
    gives: Schema,
    *parameters: Schema,
    errors: tuple[str, ...] = (),
    status: str = "200",
    takes: Schema | None = None,
    media: str = "application/json",
    sent: str = "application/json",
) -> Schema:
    made: Schema = {
        "operationId": name,
        "summary": summary,
        "parameters": [
            *parameters,
            *(
                {"name": query, "in": "query", "required": False, "schema": schema}
                for query, schema in QUERIES.get(name, {}).items()
            ),
        ],
        "responses": {
            status: {"description": summary, "content": {media: {"schema": gives}}},
            **{
                code: {
                    "description": _ERRORS[code],
                    "content": {"application/json": {"schema": ref("Error")}},
                }
                for code in ("403", "503", "504", *errors)
            },
        },
    }
    if takes is not None:
        required = sent == "application/json"
        made["requestBody"] = {"required": required, "content": {sent: {"schema": takes}}}
    return made


PATHS: dict[str, dict[str, Schema]] = {
    "/status": {
        "get": _operation("status", "Versions, host, driver, MPS, store, targets", ref("Status"))
    },
    "/devices": {"get": _operation("devices", "The server's own GPUs now", ref("Devices"))},
    "/kernels/{kernel}/runs": {
        "get": _operation(
            "runs",
            "Runs of a kernel and their events since a cursor, held until there are some",
            ref("Runs"),
            _KERNEL,
            errors=("400", "404"),
        )
    },
    "/kernels/{kernel}/runs/{run}/stop": {
        "post": _operation(
            "stop",
            "The measuring ends soon; the cell goes on",
            ref("Stopping"),
            _KERNEL,
            _RUN,
            errors=("404", "409"),
            status="202",
        )
    },
    "/sessions": {
        "get": _operation(
            "sessions",
            "Stored and live runs, newest first",
            ref("Sessions"),
            errors=("400",),
        )
    },
    "/sessions/{session}": {
        "get": _operation("session", "One run", ref("Session"), _SESSION, errors=("404", "422"))
    },
    "/sessions/{session}/series": {
        "get": _operation(
            "series",
            "The readings of a run, decimated with the extremes kept",
            ref("Drawing"),
            _SESSION,
            errors=("400", "404", "422"),
        )
    },
    "/sessions/{session}/recommendation": {
        "get": _operation(
            "recommendation",
            "What was predicted, in figures and in words",
            ref("Recommended"),
            _SESSION,
            errors=("404", "422"),
        )
    },
    "/sessions/{session}/export": {
        "post": _operation(
            "export",
            "Preview or write the function folder",
            ref("Exported"),
            _SESSION,
            errors=("400", "404", "409", "422"),
            takes=ref("ExportRequest"),
        )
    },
    "/sessions/{session}/label": {
        "post": _operation(
            "label",
            "Name, note or pin a run",
            ref("Summary"),
            _SESSION,
            errors=("400", "404"),
            takes=ref("LabelRequest"),
        )
    },
    "/sessions/{session}/delete": {
        "post": _operation(
            "delete",
            "Move a run to the trash, which keeps it for a week",
            ref("Deleted"),
            _SESSION,
            errors=("400", "404", "409"),
        )
    },
    "/sessions/{session}/restore": {
        "post": _operation(
            "restore",
            "Bring a deleted run back",
            ref("Summary"),
            _SESSION,
            errors=("400", "404"),
        )
    },
    "/sessions/{session}/readings.csv": {
        "get": _operation(
            "readings",
            "All readings of a run as a table",
            {"type": "string"},
            _SESSION,
            errors=("404", "422"),
            media="text/csv",
        )
    },
    "/sessions/{session}/chart/{form}": {
        "get": _operation(
            "chart",
            "The chart of a whole run as a file",
            {"type": "string", "format": "binary"},
            _SESSION,
            _FORM,
            errors=("404", "422"),
            media="image/*",
        )
    },
    "/recordings": {
        "post": _operation(
            "recordings",
            "Keep a recording, named by its path or sent, as a run of each device",
            ref("Kept"),
            errors=("400", "404", "422"),
            takes=ref("Recording"),
            sent="application/octet-stream",
        )
    },
    "/metrics": {
        "get": _operation(
            "metrics",
            "Live and lately ended runs, in Prometheus's text format",
            {"type": "string"},
            errors=("501",),
            media="text/plain",
        )
    },
    "/doctor": {"get": _operation("doctor", "What works here and what does not", ref("Doctor"))},
    "/openapi.json": {"get": _operation("openapi", "This document", {"type": "object"})},
}


def panel() -> dict[str, Schema]:
    """Return what the panel reads: events, options it asks for, words of metrics and reasons."""
    asked = ("ExportRequest", "ReadOptions", "Recording")
    names = ["Event", *(kind.__name__ for kind in RECORDED), *asked]
    labels = {"Metric": {one.name: one.label for one in METRICS.values()}, "Reason": REASONS}
    words = {name: {"type": "string", "x-labels": known} for name, known in labels.items()}
    return {**{name: COMPONENTS[name] for name in names}, **words}


if __name__ == "__main__":
    asked = panel() if "--panel" in sys.argv else document("/")
    sys.stdout.write(json.dumps(asked, indent=1) + "\n")
