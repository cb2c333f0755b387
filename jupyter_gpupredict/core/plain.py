r"""Text and JSON from outside, made safe to show and to parse.

Control characters, marks that turn the writing direction and half characters become blanks: they
would steer a terminal, or show something else than what is there. JSON is bounded in depth, amount
and numbers before it is parsed.
"""

from __future__ import annotations

import html as markup
import json
import math
import re
from itertools import accumulate
from typing import Any, NoReturn

_MARKDOWN = re.compile(r"[\\<|]|\](?=[(\[:])|^(?:[#>+*_-]|`(?=``)|~(?=~~))")
"""What begins a tag, a link, a cell of a table, or another block than a paragraph."""


def lines(text: str) -> str:
    """Return a text with its line breaks and tabs, and nothing else that cannot be seen."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else " " for sign in text)


def one_line(text: str) -> str:
    r"""Return a text as one line.

    >>> one_line("H200\x1b[31m\u202e\n")
    'H200 [31m  '
    """
    return "".join(sign if sign.isprintable() else " " for sign in text)


def html(text: str) -> str:
    """Return a text for HTML, between tags or in an attribute."""
    return markup.escape(lines(text))


def markdown(text: str) -> str:
    r"""Return a text as one line of Markdown; its code spans and emphasis stay.

    >>> markdown("# <b>[a](b)")
    '\\# \\<b>[a\\](b)'
    """
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text).strip())


def code_span(text: str) -> str:
    """Return a text as one span of code in Markdown."""
    return f"`{one_line(text).replace('`', chr(39))}`"


# ---- JSON --------------------------------------------------------------------------------------


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
