"""JSON that somebody else may have written: bounded in depth before it is parsed, and strict."""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any

NESTING = 64
"""Levels; an event has nine. Parsers recurse, and a kernel may have raised Python's own limit."""
_OTHER = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


def parse(text: str | bytes) -> Any:
    """Return the value in a text.

    Raises:
        ValueError: It is no JSON, is no UTF-8, or nests too deep.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    require_shallow(raw, NESTING)
    try:
        return _decoder.decode(text if isinstance(text, str) else raw.decode())
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def require_shallow(raw: bytes, most: int) -> None:
    """Let only a text of JSON pass that nests at most so many levels.

    Raises:
        ValueError: It nests deeper.
    """
    if _depth(raw, most) > most and _depth(_STRING.sub(b"", raw), most) > most:
        raise ValueError(f"nested deeper than {most} levels")


def _depth(raw: bytes, most: int) -> int:
    """Return how deep the brackets of a text nest; 0 where there are too few to matter."""
    signs = raw.translate(None, _OTHER)
    if signs.count(b"[") + signs.count(b"{") <= most:
        return 0
    return max(accumulate(map(_STEPS.__getitem__, signs)))


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)
