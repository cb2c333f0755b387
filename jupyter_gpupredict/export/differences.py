"""What of two runs' descriptions differs, in words; see `equivalence_child.described`."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_COUNTS = (" trained", " parameters", " shapes", " shape", " length", " columns")
_CLOSE_RATIO = 1e-5
"""Sums differ by less where threads add in another order."""


def both(cells: Mapping[str, Any], function: Mapping[str, Any], name: str) -> bool:
    """Whether both runs have something of that name that can be compared."""
    if name == "the value":
        return cells["value"] is not None and cells["ended"] == function["ended"] == ""
    return name in function["names"] and not _opaque(cells["names"][name])


def different(
    cells: Mapping[str, Any], other: Mapping[str, Any], *, exact: bool
) -> Iterator[tuple[str, str, str]]:
    """Yield name, `shape` or `value`, and words for each name that differs."""
    pairs = [(name, cells["names"][name], other["names"].get(name)) for name in cells["names"]]
    pairs.append(("the value", cells["value"], other["value"]))
    for name, one, two in pairs:
        if not both(cells, other, name):
            continue
        found = next(_unlike(one, two, "", exact=exact), None)
        if found is not None:
            kind, where, first, second = found
            yield name, kind, f"{name}{where}: {_short(first)} in the cell, {_short(second)} here"


def _unlike(one: Any, two: Any, where: str, *, exact: bool) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield `shape` or `value`, the place, and both sides of what differs: counts come first."""
    if isinstance(one, dict) and isinstance(two, dict):
        if one.keys() != two.keys():
            yield "shape", f"{where} has", sorted(one), sorted(two)
            return
        later = ("sum", "items")
        for key in sorted(one, key=lambda key: (key in later, key != "trained", key)):
            yield from _unlike(one[key], two[key], f"{where} {key}", exact=exact)
    elif isinstance(one, list) and isinstance(two, list):
        if len(one) != len(two):
            yield "shape", f"{where} length", len(one), len(two)
            return
        for first, second in zip(one, two, strict=True):
            yield from _unlike(first, second, where, exact=exact)
    elif isinstance(one, float) and isinstance(two, int | float):
        if exact and not math.isclose(one, two, rel_tol=_CLOSE_RATIO, abs_tol=1e-6):
            yield "value", where, one, two
    elif one != two and where.endswith(_COUNTS):
        yield "shape", where, one, two
    elif one != two and (exact or type(one) is not type(two)):
        yield "value", where, one, two


def _short(one: Any) -> str:
    text = f"{one:.6g}" if isinstance(one, float) else json.dumps(one)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _opaque(one: Any) -> bool:
    """Whether a description says nothing but a type's name."""
    return isinstance(one, str) and one.isidentifier()
