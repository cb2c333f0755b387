"""What the routes take and give, as JSON Schema: the components of the OpenAPI document.

What mirrors a dataclass is read off its fields; only what those do not say stands here.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any, Literal

from jupyter_gpupredict.core import card as answers
from jupyter_gpupredict.core.card import (
    Action,
    Answer,
    Details,
    DeviceRow,
    Figure,
    Row,
    SpeedPoint,
)
from jupyter_gpupredict.core.devices import DeviceNow, ProcessNow
from jupyter_gpupredict.core.events import (
    EVENTS,
    SCHEMA,
    SessionFinished,
    SessionStarted,
    Surroundings,
)
from jupyter_gpupredict.core.metrics import REASONS, Basis
from jupyter_gpupredict.core.options import options_of, schema
from jupyter_gpupredict.core.recommendation import (
    AllocatorPeak,
    AppliedShare,
    Block,
    Confidence,
    HostPeak,
    MemoryEstimate,
    Profile,
    Recommendation,
    SmNeed,
    State,
    Verified,
)
from jupyter_gpupredict.core.series import Device, Readings, ReadOptions, Series
from jupyter_gpupredict.core.summary import ORDERS, Summary
from jupyter_gpupredict.core.trace import MAY_BE_MISSING, NAMES_OF, NAMESPACE, without_nan
from jupyter_gpupredict.export import CodeRequest, ExportRequest
from jupyter_gpupredict.frontends.doctor import Line
from jupyter_gpupredict.mps import MpsDaemon
from jupyter_gpupredict.run import LONGEST_NAME, LONGEST_NOTE

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
"""The form of `core.summary.cursor_text`: places in runs."""


def ref(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def listed(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def closed(optional: Mapping[str, Schema] | None = None, **properties: Schema) -> Schema:
    """Return the schema of an object with these properties: all but the optional ones, no other."""
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
        "additionalProperties": False,
    }


def between(low: int, high: int, default: int, text: str, kind: str = "integer") -> Schema:
    """Return the schema of a number in a range."""
    bounds = {"minimum": low, "maximum": high, "default": default}
    return {"type": kind, **bounds, "description": text}


def one_of(*words: str) -> Schema:
    """Return the schema of a string that is one of these."""
    return {"type": "string", "enum": list(words)}


def plain(schema: Schema) -> Schema:
    """Return the schema of a value that is left out where it would be null."""
    kinds = schema.get("anyOf", [{}])
    return {**kinds[0], **{name: one for name, one in schema.items() if name != "anyOf"}}


_LEAVES: dict[Any, Schema] = {str: TEXT, bool: FLAG, int: COUNT, float: NUMBER}


def of_type(kind: Any) -> Schema:
    """Return the schema of an annotated type, as its values look in JSON.

    A dataclass is a reference to the component of its name. A float among several may be NaN, and
    so null.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return ref(typing.cast("type", kind).__name__)
    if kind is types.NoneType:
        return {"type": "null"}
    if origin is Literal:
        return one_of(*arguments)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [of_type(one) for one in arguments]}
    items = [maybe(NUMBER) if one is float else of_type(one) for one in arguments if one is not ...]
    if origin is tuple and ... in arguments:
        return listed(items[0])
    if origin is tuple:
        size = len(items)
        return {"type": "array", "prefixItems": items, "minItems": size, "maxItems": size}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": items[1]}
    return _LEAVES[kind]


_STRICTER: dict[tuple[type[Any], str], Schema] = {
    **{of: one_of(*words) for of, words in NAMES_OF.items()},
    (SessionStarted, "schema"): {"const": SCHEMA},
    (Readings, "times_s"): listed(NUMBER),
}
"""Fields of which a reader of traces asks more than their types say."""


def fields_of(kind: type[Any], *names: str) -> dict[str, Schema]:
    """Return the schemas of a dataclass's fields, of all or of those that are named."""
    hints = typing.get_type_hints(kind, localns=NAMESPACE | vars(answers) | {"Mapping": Mapping})
    return {name: _STRICTER.get((kind, name)) or of_type(hints[name]) for name in names or hints}


def recorded(kind: type[Any]) -> Schema:
    """Return the schema of a dataclass as traces hold it, those of older and newer writers too.

    A field that has a default may be left out, and there may be fields that are not known here.
    """
    named = {"event": {"const": kind.__name__}} if kind.__name__ in EVENTS else {}
    properties: dict[str, Schema] = {**named, **fields_of(kind)}
    required = list(named)
    for one in dataclasses.fields(kind):
        found = properties[one.name]
        if found == NUMBER and one.name in MAY_BE_MISSING:
            properties[one.name] = maybe(NUMBER)
        usual = one.default if one.default_factory is MISSING else one.default_factory()
        if usual is MISSING or "const" in found:
            required.append(one.name)
        else:
            properties[one.name] = {**found, "default": without_nan(usual)}
    return {"type": "object", "properties": properties, "required": required}


RECORDING_BYTES = 128 << 20
"""Of a recording that the server reads."""
_PLACE_BELOW: Schema = {"type": "string", "maxLength": 1000, "default": ""}
_REASON = one_of("", *REASONS)
_SESSION: Schema = {"type": "string", "pattern": f"^{SESSION_ID}$"}
_KERNEL: Schema = {"type": "string", "pattern": f"^{KERNEL_ID}$"}
_OUTCOME = one_of("running", *NAMES_OF[SessionFinished, "outcome"], "lost")
_BASIS = maybe(of_type(Basis))

READ_OPTIONS = {one.name: plain(schema(one)) for one in options_of(ReadOptions)}
"""What a recording does not say itself."""

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
            0, 1, 0, "With a stream: 1 adds the reply of `GET devices` to a line, once a second"
        ),
    },
    "sessions": {
        "limit": between(1, 200, 50, "Runs in one reply"),
        "before": {**_SESSION, "description": "Only runs after this one in the order"},
        "order": {**one_of(*ORDERS), "default": "when", "description": "`when`: newest first"},
        "word": {
            **one_of("", *typing.get_args(answers.Word)),
            "default": "",
            "description": "Only runs whose answer has it",
        },
        "q": {
            "type": "string",
            "maxLength": 200,
            "default": "",
            "description": "Words that must all occur",
        },
    },
    "series": {"width": between(10, 4000, 600, "Rows of a series, at most")},
    "recordings": {
        "path": {**_PLACE_BELOW, "description": "The file, below the server's root"},
        "name": {**_PLACE_BELOW, "description": "What a file that is sent is called"},
        **READ_OPTIONS,
    },
}
"""Operation -> query argument -> its schema."""

EXPORT_OPTIONS = {
    **{one.name: schema(one) for one in options_of(ExportRequest)},
    **{
        one.name: schema(one) | {"x-with": "cells"}
        for one in options_of(CodeRequest)
        if not one.name.startswith("trial")
    },
}
"""What an export takes, as everywhere; `preview`, cells and notebook are this route's own.

A server tries nothing, as that runs the notebook's code.

`x-with`: it concerns the function's code, and does nothing without the cells."""

RECORDED: tuple[type[Any], ...] = (
    *EVENTS.values(),
    *(Series, Device, Readings, Recommendation, MemoryEstimate, Confidence, AppliedShare, SmNeed),
    *(AllocatorPeak, HostPeak, Profile, Block, Surroundings),
)
"""The events and what they hold."""

ANSWER: tuple[type[Any], ...] = (
    Answer, Figure, SpeedPoint, Action, DeviceRow, Row, Details,
)  # fmt: skip
"""The card that every view shows."""

COMPONENTS: dict[str, Schema] = {
    "Error": closed(
        message=TEXT, hint=TEXT, reason=TEXT, optional={"obstacles": listed(ref("Obstacle"))}
    ),
    "Obstacle": closed(message=TEXT, hint=TEXT, fixes=listed(ref("Fix"))),
    "Fix": closed(label=TEXT, options={"type": "object", "additionalProperties": True}, asks=FLAG),
    "Event": {
        "description": "One event as it lies in the trace; docs/events.md lists the fields.",
        "oneOf": [ref(name) for name in EVENTS],
        "discriminator": {
            "propertyName": "event",
            "mapping": {name: ref(name)["$ref"] for name in EVENTS},
        },
    },
    **{kind.__name__: recorded(kind) for kind in RECORDED},
    "Summary": closed(
        **fields_of(Summary)
        | {
            "session_id": _SESSION,
            "devices": listed(closed(uuid=TEXT, name=TEXT)),
            "outcome": _OUTCOME,
            "state": of_type(State),
            "remote": FLAG,
            "label": TEXT,
            "basis": _BASIS,
        }
    ),
    "LabelRequest": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": LONGEST_NAME},
            "note": {"type": "string", "maxLength": LONGEST_NOTE},
            "pinned": FLAG,
        },
        "additionalProperties": False,
    },
    "Deleted": closed(session_id=_SESSION, deleted={"const": True}),
    "Target": closed(
        workload=TEXT,
        sharing=TEXT,
        supported=FLAG,
        reason=TEXT,
        expresses=listed(TEXT),
        default=FLAG,
        runs=TEXT,
        divides=TEXT,
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
        mps=ref("MpsDaemon"),
        store=closed(works=FLAG, message=TEXT, stuck=listed(TEXT)),
        workers_replaced=COUNT,
        targets=listed(ref("Target")),
    ),
    "MpsDaemon": closed(**fields_of(MpsDaemon)),
    "ProcessNow": closed(**fields_of(ProcessNow)),
    "DeviceNow": closed(
        **fields_of(DeviceNow)
        | {
            "utilization_ratio": maybe({**NUMBER, "minimum": 0, "maximum": 1}),
            "reasons": {"type": "object", "additionalProperties": one_of(*REASONS)},
        }
    ),
    "Devices": closed(
        host=TEXT,
        read_at=maybe(TEXT),
        age_s=maybe(NUMBER),
        reason=_REASON,
        message=TEXT,
        hint=TEXT,
        driver_version=TEXT,
        devices=listed(ref("DeviceNow")),
    ),
    "Runs": closed(
        kernel_id=_KERNEL,
        host=TEXT,
        cursor=TEXT,
        more=FLAG,
        reason=TEXT,
        runs=listed(
            closed(run=ref("Summary"), events=listed(ref("Event")), answer=maybe(ref("Answer")))
        ),
        optional={"devices": ref("Devices")},  # in a stream that was asked for them
    ),
    "Stopping": closed(session_id=_SESSION, stopping={"const": True}),
    "Sessions": closed(
        sessions=listed(ref("Summary")), total=COUNT, searched=COUNT, before=maybe(_SESSION)
    ),
    "Recording": {"type": "string", "format": "binary", "maxLength": RECORDING_BYTES},
    "ReadOptions": closed(optional=READ_OPTIONS),
    "Kept": closed(sessions=listed(ref("Summary"))),
    "Session": closed(
        session=ref("Summary"),
        started=ref("SessionStarted"),
        finished=maybe(ref("SessionFinished")),
        recommendation=maybe(ref("Recommendation")),
        others=listed(ref("Recommendation")),
        verified=maybe(ref("Verified")),
        answer=ref("Answer"),
        stop_requested=FLAG,
    ),
    **{one.__name__: closed(**fields_of(one)) for one in ANSWER},
    "Verified": closed(
        **fields_of(Verified, "speed_ratio", "low_ratio", "high_ratio", "method", "at"),
        percent={"type": "integer", "minimum": 1, "maximum": 100},
        text=TEXT,
    ),
    "Drawing": closed(
        session_id=_SESSION,
        outcome=_OUTCOME,
        seq={"type": "integer", "minimum": -1},
        complete=FLAG,
        duration_s=NUMBER,
        series=listed(ref("Picture")),
        marks=listed(ref("Event")),
    ),
    "Picture": closed(
        **fields_of(Series),
        label=TEXT,
        basis=_BASIS,
        samples=COUNT,
        reason=_REASON,
        times_s=listed(NUMBER),
        low=listed(maybe(NUMBER)),
        high=listed(maybe(NUMBER)),
    ),
    "Recommended": closed(
        session_id=_SESSION,
        outcome=_OUTCOME,
        recommendation=maybe(ref("Recommendation")),
        others=listed(ref("Recommendation")),
        answer=ref("Answer"),
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
        "if": {"properties": {"preview": {"const": True}}, "required": ["preview"]},
        "else": {"properties": {"output": {"minLength": 1}}, "required": ["output"]},
        "additionalProperties": False,
    },
    "Exported": closed(
        preview=FLAG,
        output=TEXT,
        paths=listed(TEXT),
        texts={"type": "object", "additionalProperties": TEXT},
        warnings=listed(TEXT),
    ),
    "Doctor": closed(works=FLAG, lines=listed(closed(**fields_of(Line)))),
}
