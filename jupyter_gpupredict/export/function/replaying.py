"""The statements of earlier cells that run again, because they may change what the cell uses."""

from __future__ import annotations

import ast
import bisect
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.function.names import BUILTIN
from jupyter_gpupredict.export.function.statements import Kind, Statement, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_gpupredict.export.function.effects import Effects
    from jupyter_gpupredict.export.function.resolving import Slicer


def replay(slicer: Slicer, effects: Effects) -> None:
    """Choose every statement that may change what the cell uses, and what those need.

    What cannot run again, and is not connected with anything that the cell uses, is left out.
    """
    left: list[str] = []
    for statement in slicer.earlier:
        if statement.order in slicer.chosen or slicer.given_instead(statement):
            continue
        if not effects.may_change(statement) and not statement.marked:
            if isinstance(statement.node, ast.Expr) and not _is_text(statement.node):
                left.append(statement.place)
            continue
        if statement.kind is Kind.MAGIC:
            continue  # it is told with the others
        if statement.kind is Kind.LIVE:
            _another_measured(slicer, statement, effects)
        elif statement.cell.failed and not statement.marked:
            left.append(statement.place)
        else:
            _choose_if_possible(slicer, statement, effects)
    before = -1
    while before != len(slicer.chosen):  # what is found needs names, too
        before = len(slicer.chosen)
        _choose_versions(slicer)
    again = [one.place for _, one in sorted(slicer.chosen.items()) if one.kind is Kind.SETUP]
    if again:
        slicer.notes.append(f"runs again before the cell, at each call: {_by_cell(again)}")
    if left:
        slicer.notes.append(f"left out, as it changes nothing that the cell uses: {_by_cell(left)}")


def _another_measured(slicer: Slicer, statement: Statement, effects: Effects) -> None:
    """What another measured cell changed is an obstacle; what it did besides is left out.

    Earlier rounds of the same cell are left out, too: the function begins as the first did.
    """
    place = statement.place
    if slicer.own and statement.cell.source == slicer.own[0].cell.source:
        slicer.notes.append(f"{place} was left out: it is an earlier round of the measured cell")
    elif not statement.cell.isolated and effects.connected(statement, _used(slicer, effects)):
        changed = sorted(effects.data_names(statement) & _used(slicer, effects))
        slicer.live.setdefault(changed[0] if changed else statement.cell.label, statement)
    else:
        slicer.notes.append(f"{place} was left out: it is another measured cell's")


def _choose_if_possible(slicer: Slicer, statement: Statement, effects: Effects) -> None:
    chosen, live, missing = slicer.chosen.copy(), slicer.live.copy(), slicer.missing.copy()
    wanted = {order: found.copy() for order, found in slicer.wanted.items()}
    given, builtin = slicer.given.copy(), slicer.builtin.copy()
    slicer.choose(statement)
    lacking = (slicer.live.keys() - live) | (slicer.missing - missing)
    if slicer.unresolved:
        lacking -= slicer.missing
    if not lacking:
        return
    used = _used(slicer, effects, chosen.values())
    if effects.connected(statement, used):
        return  # it is refused with everything else
    slicer.chosen, slicer.wanted, slicer.live = chosen, wanted, live
    slicer.missing, slicer.given, slicer.builtin = missing, given, builtin
    slicer.notes.append(
        f"{statement.place} was left out, as it needs {listed(lacking)}: nothing that the "
        "cell uses is connected with it"
    )


def _used(slicer: Slicer, effects: Effects, chosen: Iterable[Statement] | None = None) -> set[str]:
    """Return the names whose objects the cell, or what it needs, has of earlier cells."""
    needed = {name for found in slicer.wanted.values() for name in found}
    needed |= slicer.live.keys()
    statements = slicer.chosen.values() if chosen is None else chosen
    needed |= {name for one in statements for name in effects.data_names(one)}
    return {name for name in needed if name in effects.bound}


def _choose_versions(slicer: Slicer) -> None:
    """Choose what a needed name was when something ran that may have read it."""
    running = sorted(o for o, one in slicer.chosen.items() if one.kind is Kind.SETUP)
    names_needed = {name for found in slicer.wanted.values() for name in found}
    for name in sorted(names_needed):
        versions = [one for one in slicer.binding.get(name, ()) if one.order < slicer.end]
        starts = [one.order for one in versions]
        ends = [*starts[1:], slicer.end]
        if name in BUILTIN and running and versions and running[0] < starts[0]:
            slicer.builtin.add(name)
        for one, until in zip(versions, ends, strict=True):
            at = bisect.bisect_right(running, one.order)
            seen = at < len(running) and running[at] <= until
            if seen and name not in slicer.wanted.get(one.order, ()):
                slicer.take(name, one)


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is only a text that explains, or a name that was looked at."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.Name)


def _by_cell(places: Iterable[str]) -> str:
    """Return places with each cell named once: `In [2] line 1, 3`."""
    found: dict[str, list[str]] = {}
    for place in places:
        label, _, line = place.rpartition(" line ")
        found.setdefault(label, []).append(line)
    return "; ".join(f"{label} line {', '.join(lines)}" for label, lines in found.items())
