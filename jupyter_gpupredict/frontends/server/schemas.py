"""What the routes take and give, as JSON Schema: the components of the OpenAPI document."""

from __future__ import annotations

from typing import Any

from jupyter_gpupredict.core.cells import CodeRequest
from jupyter_gpupredict.core.deployment import ExportRequest
from jupyter_gpupredict.core.events import EVENTS
from jupyter_gpupredict.core.metrics import METRICS, REASONS
from jupyter_gpupredict.core.options import options_of, schema

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
KERNEL_ID = r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}"
SESSION_ID = r"[0-9]{8}T[0-9]{6}Z-[A-Za-z0-9.-]{1,63}-[0-9]{1,10}-[0-9a-f]{4}"
"""The session store's form of an id, which holds no slash and so leads to no other folder."""

_PLACE = "[0-9A-Za-z.-]{1,128}:(-1|[0-9]{1,12})!?"
CURSOR = f"^(-|{_PLACE}(,{_PLACE})*)$"
"""The form of `core.following`: places in runs."""


def ref(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def listed(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def closed(**properties: Schema) -> Schema:
    """Return the schema of an object that has these properties, all of them and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def between(low: int, high: int, default: int, told: str, kind: str = "integer") -> Schema:
    """Return the schema of a number in a range."""
    bounds = {"minimum": low, "maximum": high, "default": default}
    return {"type": kind, **bounds, "description": told}


def one_of(*words: str) -> Schema:
    """Return the schema of a string that is one of these."""
    return {"type": "string", "enum": list(words)}


_REASON = one_of("", *REASONS)
_SESSION: Schema = {"type": "string", "pattern": f"^{SESSION_ID}$"}
_KERNEL: Schema = {"type": "string", "pattern": f"^{KERNEL_ID}$"}
_OUTCOME = one_of("running", "completed", "failed", "interrupted", "stopped", "lost")
_STATE = one_of("warming", "watching", "converged", "stale", "abstained")
_BASIS = maybe(one_of("time_share", "sm_share"))

QUERIES: dict[str, dict[str, Schema]] = {
    "runs": {
        "since": {
            "type": "string",
            "maxLength": 4000,
            "pattern": CURSOR,
            "description": "The cursor of the last reply",
        },
        "wait": between(0, 10, 10, "Seconds to hold the request", "number"),
        "limit": between(1, 5000, 1000, "Events in one reply"),
        "stream": between(
            0,
            300,
            0,
            "With a cursor: seconds to go on for, one line of JSON for each news",
            "number",
        ),
        "devices": between(
            0, 1, 0, "With a stream: 1 adds what `GET devices` tells to a line, once a second"
        ),
    },
    "sessions": {
        "limit": between(1, 200, 50, "Runs in one reply"),
        "before": {**_SESSION, "description": "Only runs older than this one"},
        "q": {
            "type": "string",
            "maxLength": 200,
            "default": "",
            "description": "Words that must all occur",
        },
    },
    "series": {"width": between(10, 4000, 600, "Rows of a series, at most")},
}
"""Operation -> query argument -> its schema."""

EXPORT_OPTIONS = {
    one.name: schema(one) for owner in (ExportRequest, CodeRequest) for one in options_of(owner)
}
"""What an export takes, as everywhere; `preview`, cells and notebook are this route's own."""

COMPONENTS: dict[str, Schema] = {
    "Error": closed(message=TEXT, hint=TEXT, reason=TEXT),
    "Event": {
        "type": "object",
        "description": "One event as it lies in the trace; docs/events.md lists the fields.",
        "properties": {"event": one_of(*EVENTS), "seq": COUNT, "t_s": NUMBER},
        "required": ["event", "seq", "t_s"],
    },
    "Recommendation": {
        "type": "object",
        "properties": {
            "state": _STATE,
            "reason": TEXT,
            "metric": one_of(*METRICS),
            "target_ratio": maybe(NUMBER),
            "capped": FLAG,
        },
        "required": ["state", "reason", "metric", "target_ratio"],
    },
    "Summary": closed(
        session_id=_SESSION,
        kernel_id=maybe(TEXT),
        host=TEXT,
        pid=COUNT,
        remote=FLAG,
        started_at=TEXT,
        source=TEXT,
        origin=TEXT,
        simulated=FLAG,
        scope=TEXT,
        metric=TEXT,
        label=TEXT,
        basis=_BASIS,
        devices=listed(closed(uuid=TEXT, name=TEXT)),
        code_hash=maybe(TEXT),
        outcome=_OUTCOME,
        state=_STATE,
        reason=TEXT,
        target_ratio=maybe(NUMBER),
        mean_ratio=maybe(NUMBER),
        coverage_target_ratio=maybe(NUMBER),
        coverage_ratio=maybe(NUMBER),
        memory_peak_bytes=maybe(NUMBER),
        memory_target_bytes=maybe(NUMBER),
        memory_basis=maybe(TEXT),
        duration_s=NUMBER,
        samples=maybe(COUNT),
        last_time=TEXT,
        size_bytes=COUNT,
        problem=TEXT,
    ),
    "Target": closed(
        workload=TEXT,
        sharing=TEXT,
        supported=FLAG,
        reason=TEXT,
        expresses=listed(TEXT),
        default=FLAG,
    ),
    "Status": closed(
        version=TEXT,
        api={"const": 1},
        host=TEXT,
        pid=COUNT,
        nvml=closed(
            works=FLAG,
            reason=_REASON,
            message=TEXT,
            hint=TEXT,
            driver_version=TEXT,
            stuck_threads=COUNT,
        ),
        mps=closed(running=FLAG, pipe_directory=TEXT, message=TEXT),
        store=closed(works=FLAG, message=TEXT, stuck=listed(TEXT)),
        workers_replaced=COUNT,
        targets=listed(ref("Target")),
    ),
    "Process": closed(pid=COUNT, name=TEXT, memory_bytes=maybe(NUMBER), mps=FLAG),
    "Device": closed(
        uuid=TEXT,
        name=TEXT,
        index=COUNT,
        utilization_ratio=maybe({"type": "number", "minimum": 0, "maximum": 1}),
        memory_used_bytes=maybe(NUMBER),
        memory_total_bytes=maybe(NUMBER),
        power_watts=maybe(NUMBER),
        processes=maybe(listed(ref("Process"))),
        mps_clients=maybe(COUNT),
        reasons={"type": "object", "additionalProperties": one_of(*REASONS)},
    ),
    "Devices": closed(
        host=TEXT,
        read_at=maybe(TEXT),
        age_s=maybe(NUMBER),
        reason=_REASON,
        message=TEXT,
        hint=TEXT,
        driver_version=TEXT,
        devices=listed(ref("Device")),
    ),
    "Runs": closed(
        kernel_id=_KERNEL,
        host=TEXT,
        cursor=TEXT,
        more=FLAG,
        reason=TEXT,
        runs=listed(closed(run=ref("Summary"), events=listed(ref("Event")))),
    ),
    "Stopping": closed(session_id=_SESSION, stopping={"const": True}),
    "Sessions": closed(
        sessions=listed(ref("Summary")), total=COUNT, searched=COUNT, before=maybe(_SESSION)
    ),
    "Session": closed(
        session=ref("Summary"),
        started=ref("Event"),
        finished=maybe(ref("Event")),
        recommendation=maybe(ref("Recommendation")),
        others=listed(ref("Recommendation")),
        verified=maybe(ref("Verified")),
        stop_requested=FLAG,
    ),
    "Verified": closed(
        percent={"type": "integer", "minimum": 1, "maximum": 100},
        speed_ratio=NUMBER,
        low_ratio=NUMBER,
        high_ratio=NUMBER,
        method={"enum": ["verify", "sweep"]},
        at=TEXT,
        text=TEXT,
    ),
    "Series": closed(
        session_id=_SESSION,
        outcome=_OUTCOME,
        seq={"type": "integer", "minimum": -1},
        complete=FLAG,
        duration_s=NUMBER,
        series=listed(
            closed(
                metric=TEXT,
                device=TEXT,
                rank=maybe({"type": "integer"}),
                label=TEXT,
                basis=_BASIS,
                samples=COUNT,
                reason=_REASON,
                times_s=listed(NUMBER),
                low=listed(maybe(NUMBER)),
                high=listed(maybe(NUMBER)),
            )
        ),
        marks=listed(ref("Event")),
    ),
    "Words": closed(
        label=TEXT,
        prediction=TEXT,
        certified=TEXT,
        bounds=TEXT,
        memory=TEXT,
        time_left=TEXT,
        progress=TEXT,
        reason=TEXT,
    ),
    "Recommended": closed(
        session_id=_SESSION,
        outcome=_OUTCOME,
        recommendation=maybe(ref("Recommendation")),
        others=listed(ref("Recommendation")),
        words=ref("Words"),
    ),
    "Cell": closed(
        source={"type": "string", "maxLength": 4 << 20},
        execution_count=maybe({"type": "integer", "minimum": 0, "maximum": 1 << 31}),
        tags={"type": "array", "items": {"type": "string", "maxLength": 200}, "maxItems": 50},
        failed=FLAG,
    ),
    "ExportRequest": {
        "type": "object",
        "properties": {
            "preview": {"type": "boolean", "default": False},
            **EXPORT_OPTIONS,
            "output": {**EXPORT_OPTIONS["output"], "default": ""},
            "name": {**EXPORT_OPTIONS["name"], "minLength": 1},
            "cells": {"type": "array", "maxItems": 2000, "items": ref("Cell")},
            "notebook": {"type": "string", "minLength": 1, "maxLength": 1000},
        },
        "required": ["name"],
        "dependentRequired": {"cells": ["notebook"], "notebook": ["cells"]},
        "anyOf": [
            {"properties": {"preview": {"const": True}}, "required": ["preview"]},
            {"properties": {"output": {"minLength": 1}}, "required": ["output"]},
        ],
        "additionalProperties": False,
    },
    "Exported": closed(
        preview=FLAG,
        output=TEXT,
        paths=listed(TEXT),
        texts={"type": "object", "additionalProperties": TEXT},
        warnings=listed(TEXT),
    ),
    "Doctor": closed(works=FLAG, lines=listed(closed(name=TEXT, works=FLAG, found=TEXT, fix=TEXT))),
}
