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
    if _deep(raw) and _deep(_STRING.sub(b"", raw)):
        raise ValueError(f"nested deeper than {NESTING} levels")
    try:
        return _decoder.decode(text if isinstance(text, str) else raw.decode())
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _deep(raw: bytes) -> bool:
    signs = raw.translate(None, _OTHER)
    if signs.count(b"[") + signs.count(b"{") <= NESTING:
        return False
    return max(accumulate(map(_STEPS.__getitem__, signs))) > NESTING


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)
