"""A small language for the shape of data: which keys may stand where, and of what kind.

A shape is a function that yields (path, message) for everything that does not fit. Only what is
listed may stand: most platforms drop an unknown key without a word.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jupyter_gpupredict.export.checks.values import quantity

Shape = Callable[[Any, str], Iterator[tuple[str, str]]]


def text(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Text."""
    if not isinstance(value, str):
        yield path, f"must be text, not {_kind(value)}"


def whole(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        yield path, f"must be a whole number, not {_kind(value)}"


def natural(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """A whole number, 0 or more, as a 32-bit field holds."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        yield path, f"must be a whole number from 0, not {value!r}"


def number(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield path, f"must be a number, not {_kind(value)}"


def flag(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """True or false."""
    if not isinstance(value, bool):
        yield path, f"must be true or false, not {_kind(value)}"


def anything(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Not looked into."""
    yield from ()


def amount(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """A number or text; whether it is a quantity is a rule of its own."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        yield path, f"must be a quantity, not {_kind(value)}"


def size(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """A quantity as text."""
    if not isinstance(value, str) or quantity(value) is None:
        yield path, f"must be a quantity as text, not {value!r}"


def one_of(*words: str | int) -> Shape:
    """One of some words."""

    def shape(value: Any, path: str) -> Iterator[tuple[str, str]]:
        if value not in words or isinstance(value, bool):
            yield path, f"{value!r} is not {' or '.join(repr(word) for word in words)}"

    return shape


def listing(item: Shape, least: int = 0) -> Shape:
    """A list of one kind of thing."""

    def shape(value: Any, path: str) -> Iterator[tuple[str, str]]:
        if not isinstance(value, list):
            yield path, f"must be a list, not {_kind(value)}"
            return
        if len(value) < least:
            yield path, f"needs at least {least} item"
        for position, one in enumerate(value):
            yield from item(one, f"{path}[{position}]")

    return shape


def mapping(value_shape: Shape = text) -> Shape:
    """A mapping with free keys."""

    def shape(value: Any, path: str) -> Iterator[tuple[str, str]]:
        if not isinstance(value, dict):
            yield path, f"must be a mapping, not {_kind(value)}"
            return
        for key, one in value.items():
            if not isinstance(key, str):
                yield path, f"key {key!r} must be text"
            yield from value_shape(one, join(path, str(key)))

    return shape


def record(fields: Mapping[str, Shape], required: str = "") -> Shape:
    """A mapping with known keys.

    Args:
        fields: Key -> shape of its value.
        required: Keys that must stand, parted by spaces.
    """
    needed = required.split()

    def shape(value: Any, path: str) -> Iterator[tuple[str, str]]:
        if not isinstance(value, dict):
            yield path, f"must be a mapping, not {_kind(value)}"
            return
        for key, one in value.items():
            if key in fields:
                yield from fields[key](one, join(path, str(key)))
            else:
                near = difflib.get_close_matches(str(key), fields, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                yield join(path, str(key)), f"no such field{hint}"
        for key in needed:
            if key not in value:
                yield join(path, key), "is missing"

    return shape


def choice(**known: Shape) -> Shape:
    """Return the shape of an object with exactly one of these keys."""
    inner = record(known)

    def check(value: Any, path: str) -> Iterator[tuple[str, str]]:
        yield from inner(value, path)
        if isinstance(value, dict) and len(value) != 1:
            yield path, f"needs one of {', '.join(known)}"

    return check


def fields(words: str, shape: Shape = anything, **known: Shape) -> dict[str, Shape]:
    """Return fields: the names in `words` with one shape, and those that have their own."""
    return {**dict.fromkeys(words.split(), shape), **known}


def join(path: str, key: str) -> str:
    """Return the path of a key."""
    part = f'"{key}"' if "." in key or "/" in key else key
    return f"{path}.{part}" if path else part


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}
    return names.get(type(value), "nothing" if value is None else f"{value!r}")
