"""One event <-> one line of JSON: the form of the trace file, of the wire and of the fixtures.

NaN travels as null, because JSON has no NaN. Unknown fields are ignored, so that an older reader
can read a newer trace of the same schema.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from typing import Any

from jupyter_gpupredict.core import events, metrics, prior, recommendation, series, share
from jupyter_gpupredict.core.errors import Malformed, SchemaMismatch
from jupyter_gpupredict.core.events import EVENTS, SCHEMA, Event

_NAMESPACE = {
    name: value
    for module in (metrics, series, share, prior, recommendation, events)
    for name, value in vars(module).items()
}
"""Where the field types, which are strings, are looked up."""
_FIELDS: dict[type[Any], dict[str, Any]] = {}
"""Cache: class -> field name -> resolved type."""
_NAMES: dict[type[Any], tuple[str, ...]] = {}
"""Cache: class -> field names, which is all that writing needs."""


def event_to_json(event: Event) -> str:
    """Return the event as one line of JSON, without the newline."""
    return _encode({"event": type(event).__name__, **_fields(event)})


def event_from_json(line: str) -> Event:
    """Return the event that a line holds.

    Raises:
        Malformed: The line is no event.
        SchemaMismatch: The line begins a trace of another schema.
    """
    try:
        document = json.loads(line)
    except ValueError as error:
        raise Malformed("not a line of JSON", "is this a gpupredict trace?") from error
    if not isinstance(document, dict) or document.get("event") not in EVENTS:
        raise Malformed("not a gpupredict event", "is this a gpupredict trace?")
    if document["event"] == "SessionStarted" and document.get("schema") != SCHEMA:
        raise SchemaMismatch(
            f"trace schema {document.get('schema')!r}, this version reads {SCHEMA}",
            "read it with the version that wrote it",
        )
    kind = EVENTS[document["event"]]
    try:
        return typing.cast("Event", _build(kind, document))
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"a broken {document['event']} event", str(error)) from error


def _fields(value: Any) -> dict[str, Any]:
    """Return what a dataclass holds, name by name; the encoder comes back for those in it."""
    kind = type(value)
    if kind not in _NAMES:
        _NAMES[kind] = tuple(field.name for field in dataclasses.fields(kind))
    return {name: _plain(getattr(value, name)) for name in _NAMES[kind]}


_encode = json.JSONEncoder(
    allow_nan=False, separators=(",", ":"), ensure_ascii=False, default=_fields
).encode


def _plain(value: Any) -> Any:
    """Return the value with None for every float that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _field_types(kind: type[Any]) -> dict[str, Any]:
    if kind not in _FIELDS:
        _FIELDS[kind] = typing.get_type_hints(kind, localns=_NAMESPACE)
    return _FIELDS[kind]


def _build(kind: Any, value: Any) -> Any:
    """Return `value`, which came from JSON, as an instance of the annotated type."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {value!r:.40}")
        hints = _field_types(typing.cast("type[Any]", kind))
        known = {name: _build(hints[name], value[name]) for name in hints if name in value}
        return typing.cast("type[Any]", kind)(**known)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        concrete = [argument for argument in arguments if argument is not types.NoneType]
        return _build(concrete[0], value) if len(concrete) == 1 else value
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"expected a list, got {value!r:.40}")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_build(arguments[0], item) for item in value)
        return tuple(_build(a, item) for a, item in zip(arguments, value, strict=True))
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {value!r:.40}")
        return value
    if kind is float:
        return math.nan if value is None else float(value)
    if kind in (int, str, bool) and not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {value!r:.40}")
    return value
