"""What someone who follows a kernel's runs knows, and what is news to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import InvalidOption

if TYPE_CHECKING:
    from jupyter_gpupredict.core.summary import Summary

NOTHING = "-"
"""The cursor of someone who knows of no run."""
_PLACE = re.compile(r"([0-9A-Za-z.-]{1,128}):(-1|[0-9]{1,12})(!?)")


@dataclass(frozen=True, slots=True)
class Place:
    """How far a run is known."""

    run: str
    seq: int
    """Events up to this one are known; -1: none."""
    over: bool = False
    """Its end is known too."""


Cursor = tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class RunNews:
    """What is new of one run."""

    summary: Summary
    lines: tuple[str, ...]
    """Events as they lie in the trace, one JSON object each."""


@dataclass(frozen=True, slots=True)
class News:
    """What is new of a kernel's runs."""

    runs: tuple[RunNews, ...]
    """Newest first; empty: nothing is new."""
    cursor: Cursor
    """What is known with this."""
    more: bool = False
    """There is more already than one reply holds."""


def parse_cursor(text: str) -> Cursor:
    """Return the cursor in a text.

    Raises:
        InvalidOption: It is none.

    >>> parse_cursor("20260101T000000Z-h-1-abcd:41!")
    (Place(run='20260101T000000Z-h-1-abcd', seq=41, over=True),)
    """
    if text == NOTHING:
        return ()
    places = []
    for part in text.split(","):
        found = _PLACE.fullmatch(part)
        if found is None:
            raise InvalidOption(
                f"{part[:60]!r} is no place in a run", "pass the cursor of the last reply back"
            )
        places.append(Place(found[1], int(found[2]), found[3] == "!"))
    return tuple(places)


def cursor_text(cursor: Cursor) -> str:
    """Return a cursor as text.

    >>> cursor_text((Place("b", 4), Place("a", 9, over=True)))
    'b:4,a:9!'
    """
    parts = [f"{place.run}:{place.seq}{'!' if place.over else ''}" for place in cursor]
    return ",".join(parts) or NOTHING
