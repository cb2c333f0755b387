"""JSON from outside, with bounds on its depth, its amount and its numbers, before it is parsed."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

DEEPEST = 32
MOST_VALUES = 2_000_000
"""About sixteen MiB of pairs of numbers."""
LONGEST_INTEGER = 19
"""Digits: a 64-bit number's."""

# Possessive, and open at the end: one pass over the text, whatever it holds.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_OTHER = bytes(set(range(256)) - set(b"[]{},"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1, ord(","): 0}


def parse(body: bytes, deepest: int = DEEPEST, most: int = MOST_VALUES) -> Any:
    """Return the value of a JSON text.

    Args:
        body: The text in UTF-8.
        deepest: Lists and objects in one another, at most.
        most: Values in it, at most.

    Raises:
        ValueError: It is not JSON in UTF-8, too deep, too much, holds half a character, or a number
            that is not finite or has more than 64 bits.

    >>> parse(b'{"a": [1, 2.5, "]"]}')
    {'a': [1, 2.5, ']']}
    """
    signs = _STRING.sub(b"", body).translate(None, _OTHER)
    if len(signs) > 2 * most:  # brackets come in pairs
        raise ValueError(f"it holds more than {most} values")
    depth = 0
    for sign in signs:
        depth += _STEP[sign]
        if depth > deepest:
            raise ValueError(f"it is nested deeper than {deepest}")
    found = json.loads(
        body.decode(), parse_int=_integer, parse_float=_number, parse_constant=_constant
    )
    if _SURROGATE.search(body):
        json.dumps(found, ensure_ascii=False).encode()
    return found


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
