"""JSON from outside, with bounds on its depth, its amount and its numbers, before it is parsed."""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any, NoReturn

DEEPEST = 64
"""Levels; an event has nine. Parsers recurse, and a kernel may have raised Python's own limit."""
MOST_VALUES = 2_000_000
"""About sixteen MiB of pairs of numbers."""
LONGEST_INTEGER = 19
"""Digits: a 64-bit number's."""

# Possessive, and open at the end: one pass over the text, whatever it holds.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_OTHER = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def parse(
    text: str | bytes,
    deepest: int = DEEPEST,
    most: int = MOST_VALUES,
    *,
    any_numbers: bool = False,
) -> Any:
    """Return the value of a JSON text.

    Args:
        text: The text; as bytes in UTF-8.
        deepest: Lists and objects in one another, at most.
        most: Values in it, at most.
        any_numbers: Whoever asks judges numbers and half characters.

    Raises:
        ValueError: It is not JSON in UTF-8, too deep, too much, or, unless that is judged
            elsewhere, holds half a character or a number that is not finite or has more than 64
            bits.

    >>> parse(b'{"a": [1, 2.5, "]"]}')
    {'a': [1, 2.5, ']']}
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    require_shallow(raw, deepest)
    if raw.count(b",") >= most and _STRING.sub(b"", raw).count(b",") >= most:
        raise ValueError(f"it holds more than {most} values")
    try:
        found = (_PLAIN if any_numbers else _STRICT).decode(
            text if isinstance(text, str) else raw.decode()
        )
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not any_numbers and _SURROGATE.search(raw):
        json.dumps(found, ensure_ascii=False).encode()
    return found


def require_shallow(raw: bytes, most: int) -> None:
    """Let only a text of JSON pass that nests at most so many levels.

    Raises:
        ValueError: It nests deeper.
    """
    if _depth(raw, most) > most and _depth(_STRING.sub(b"", raw), most) > most:
        raise ValueError(f"it is nested deeper than {most}")


def _depth(raw: bytes, most: int) -> int:
    """Return how deep the brackets of a text nest; 0 where there are too few to matter."""
    signs = raw.translate(None, _OTHER)
    if signs.count(b"[") + signs.count(b"{") <= most:
        return 0
    return max(accumulate(map(_STEPS.__getitem__, signs)))


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > LONGEST_INTEGER:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is beyond a number")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


_PLAIN = json.JSONDecoder(parse_constant=_constant)
_STRICT = json.JSONDecoder(parse_int=_integer, parse_float=_number, parse_constant=_constant)
