"""One event <-> one line of JSON: the form of the trace file, of the wire and of the fixtures.

NaN travels as null, because JSON has no NaN. Unknown fields are ignored, so that an older reader
can read a newer trace of the same schema.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core import events, metrics, recommendation, series
from jupyter_gpupredict.core.errors import Malformed, SchemaMismatch
from jupyter_gpupredict.core.events import EVENTS, SCHEMA, Event
from jupyter_gpupredict.core.metrics import LARGEST_NUMBER, METRICS
from jupyter_gpupredict.core.plain import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

_Value = typing.TypeVar("_Value")

MAX_TIME_S = 1e11
"""Some 3000 years: no run or clock has a time beyond, and sums of such times overflow."""
LARGEST_WHOLE = 1 << 53
"""JavaScript knows no larger whole number."""
LARGEST_SEQ = 10**12 - 1
"""A cursor holds as many digits."""
LONGEST_TEXT = 1 << 16

NAMESPACE = {
    name: value
    for module in (metrics, series, recommendation, events)
    for name, value in vars(module).items()
}
"""Where the field types, which are strings, are looked up."""
_NAMES: dict[type[Any], tuple[str, ...]] = {}
"""Cache: class -> field names, which is all that writing needs."""


def event_to_json(event: Event) -> str:
    """Return the event as one line of JSON, without the newline."""
    return _encode({"event": type(event).__name__, **_fields(event)})


def event_from_json(line: str | bytes, where: str = "") -> Event:
    """Return the event that a line holds.

    Args:
        line: The line.
        where: What begins the message of an error, such as the file's name and the line's number.

    Raises:
        Malformed: The line is not an event, or holds what its event cannot.
        SchemaMismatch: The line begins a trace of another schema.
    """
    begin = f"{where}: " if where else ""
    try:
        document = parse(line, any_numbers=True)
    except ValueError as error:
        raise Malformed(f"{begin}not a line of JSON", str(error).partition(";")[0]) from error
    name = document.get("event") if isinstance(document, dict) else None
    kind = EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise Malformed(f"{begin}not a gpupredict event", "is this a gpupredict trace?")
    schema = document.get("schema")
    if kind is events.SessionStarted and (type(schema) is not int or schema != SCHEMA):
        raise SchemaMismatch(
            f"{begin}trace schema {schema!r:.40}, this version reads {SCHEMA}",
            "read it with the version that wrote it",
        )
    try:
        return made_of(kind, document)
    except ValueError as error:
        raise Malformed(f"{begin}a broken {name} event", str(error)) from error


def read_as(kind: type[_Value], text: str | bytes) -> _Value:
    """Return a text of JSON as an instance of this dataclass.

    Raises:
        Malformed: It has another form.
    """
    try:
        return made_of(kind, parse(text, any_numbers=True))
    except ValueError as error:
        raise Malformed(f"no {kind.__name__.lower()}", str(error)) from error


def made_of(kind: type[_Value], document: object) -> _Value:
    """Return plain data, such as parsed JSON, as an instance of this dataclass.

    Raises:
        ValueError: It has another form, or holds what no such instance can.
    """
    return typing.cast("_Value", _reader(typing.cast("Hashable", kind))(document))


def _fields(value: Any) -> dict[str, Any]:
    """Return what a dataclass holds, name by name; the encoder comes back for those in it."""
    kind = type(value)
    if kind not in _NAMES:
        _NAMES[kind] = tuple(field.name for field in dataclasses.fields(kind))
    return {name: without_nan(getattr(value, name)) for name in _NAMES[kind]}


_encode = json.JSONEncoder(
    allow_nan=False, separators=(",", ":"), ensure_ascii=False, default=_fields
).encode


def without_nan(value: Any) -> Any:
    """Return the value with None for every float that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (tuple, list)):
        return [without_nan(item) for item in value]
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return value


@functools.cache
def _reader(kind: Hashable) -> Callable[[Any], Any]:
    """Return what makes an instance of the annotated type of a value that came from JSON.

    It raises ValueError for anything else.
    """
    if dataclasses.is_dataclass(kind):
        return _object_reader(typing.cast("type[Any]", kind))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return lambda value: _known(value, arguments)
    if origin in (typing.Union, types.UnionType):
        concrete = [one for one in arguments if one is not types.NoneType]
        read = _reader(concrete[0]) if len(concrete) == 1 else _scalar
        return lambda value: None if value is None else read(value)
    if origin is tuple and arguments[1:] == (Ellipsis,):
        item = _reader(arguments[0])
        return lambda value: tuple([item(one) for one in _items(value)])
    if origin is tuple:
        items = [_reader(one) for one in arguments]
        return lambda value: tuple(
            [read(one) for read, one in zip(items, _items(value), strict=True)]
        )
    if origin is dict:
        entry = _reader(arguments[1])
        return lambda value: {_text(key): entry(one) for key, one in _typed(value, dict).items()}
    leaf = typing.cast("type[Any]", kind)
    return {float: _number, int: _whole, str: _text, bool: lambda value: _typed(value, bool)}[leaf]


def _object_reader(kind: type[Any]) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind, localns=NAMESPACE)
    readers = {name: _ranged(name, _reader(hint)) for name, hint in hints.items()}
    readers |= {
        name: functools.partial(_known, known=known)
        for (of, name), known in NAMES_OF.items()
        if of is kind
    }
    rule = _RULES.get(kind)

    def read(value: Any) -> Any:
        found, name = {}, ""
        try:
            for name, one in _typed(value, dict).items():  # noqa: B007 - named where one fails
                if name in readers:
                    found[name] = readers[name](one)
                    if one is None and type(found[name]) is float and name not in MAY_BE_MISSING:
                        raise ValueError("it is missing")
            made = kind(**found)
        except TypeError as error:
            raise ValueError(str(error).partition("() ")[2]) from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}" if name else str(error)) from None
        if rule is not None and not rule(made):
            raise ValueError(f"no {kind.__name__.lower()} is like that")
        return made

    return read


def _ranged(name: str, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a reader that lets only numbers pass which a field of this name can hold."""
    bounds = next((found for unit, found in _RANGES.items() if name.endswith(unit)), None)
    if bounds is None:
        return read
    low, high = bounds

    def checked(value: Any) -> Any:
        made = read(value)
        for one in made if type(made) is tuple else (made,):
            if one is not None and not (low <= one <= high or math.isnan(one)):
                raise ValueError(f"{one:g} is out of range")
        return made

    return checked


def _typed(value: Any, kind: type[_Value]) -> _Value:
    if type(value) is not kind:
        raise ValueError(f"expected {_WORDS[kind]}, got {value!r:.40}")
    return value


def _items(value: Any) -> list[Any] | tuple[Any, ...]:
    if type(value) is not list and type(value) is not tuple:
        raise ValueError(f"expected a list, got {value!r:.40}")
    return value


def _known(value: Any, known: Collection[str]) -> str:
    if type(value) is not str or value not in known:
        raise ValueError(f"{value!r:.40} is unknown")
    return value


def _text(value: Any) -> str:
    text = _typed(value, str)
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"a text of {len(text)} characters")
    if not text.isascii():
        text.encode()  # a lone surrogate can be written nowhere
    return text


def _whole(value: Any) -> int:
    if not 0 <= _typed(value, int) <= LARGEST_WHOLE:
        raise ValueError("it is out of range")
    return value  # type: ignore[no-any-return]


def _number(value: Any) -> float:
    """Return a finite number; NaN for null and NaN."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return math.nan
    if type(value) is not int:
        value = _typed(value, float)
    if not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        raise ValueError("it is out of range")
    return float(value)


def _scalar(value: Any) -> str | bool | int | float:
    """Return what an option of a session may be."""
    if type(value) is str:
        return _text(value)
    if type(value) is bool:
        return value
    number = _number(value)
    return int(value) if type(value) is int else number


_WORDS: dict[type, str] = {
    dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number",
    bool: "true or false",
}  # fmt: skip
_RANGES = {
    "seq": (0, LARGEST_SEQ),
    "_ratio": (-0.001, 2.0),
    "_s": (-MAX_TIME_S, MAX_TIME_S),
}
"""End of a field's name, which is its unit -> what it can hold, a little more than is right."""
MAY_BE_MISSING = ("peak_bytes", "covering_ratio", "mean_ratio")
"""Single numbers that null stands for: before the first reading, and of an empty window."""
NAMES_OF: dict[tuple[type, str], Collection[str]] = {
    (series.Series, "metric"): METRICS,
    (recommendation.Recommendation, "metric"): METRICS,
    (events.SessionFinished, "outcome"): ("completed", "failed", "interrupted", "stopped"),
}
"""Fields whose annotation says nothing of the words they may hold."""
_RULES: dict[type, Callable[[Any], bool]] = {
    series.Readings: lambda made: (
        len(made.times_s) == len(made.values) and not any(map(math.isnan, made.times_s))
    ),
    recommendation.Block: lambda made: all(
        one <= 100 and seconds >= 0.0 for one, seconds in made.bins
    ),
    recommendation.SmNeed: lambda made: (
        0 < made.low_sms <= made.high_sms <= made.sms and 0 <= made.collective_sms <= made.sms
    ),
    recommendation.Profile: lambda made: made.block_s > 0.0,
}
"""What the types of the fields do not say of the whole."""
