"""What a function cannot hold: refused with the place, the reason and the ways on."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Fix, UnsupportedCell
from jupyter_gpupredict.export.function.secrets import dotted
from jupyter_gpupredict.export.function.statements import (
    Kind,
    Statement,
    listed,
    literals,
    magic_words,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from jupyter_gpupredict.export.function.resolving import Slicer
    from jupyter_gpupredict.export.function.statements import Entry

_SETTING = re.compile(
    r"seed|(^|[._])set|config|option|environ|style|enable|disable|register|filter|default|\.use$"
)
"""Calls on a module that are made for what they set; drawing and printing is not among them."""
_STATE = (ast.List, ast.Dict, ast.Set)
_LIVE_HINT = (
    "make it in the cell, let the caller give it with --param NAME (params=[NAME]), or mark the "
    "statement or cell that makes it `# gpupredict: setup`"
)
_DROP_HINT = "or leave all such lines of earlier cells out: --drop-magics (drop_magics=True)"
_DROP = Fix("Leave such lines of earlier cells out", {"drop_magics": True})
IGNORE_HINT = "take the line out, or mark it `# gpupredict: ignore`"


def refuse(slicer: Slicer) -> None:
    """Refuse what is missing, and what only running the notebook makes."""
    slicer.displays = "display" in slicer.missing
    slicer.missing -= {"display", "get_ipython"}
    stars = [
        one
        for one in (*slicer.earlier, *slicer.own)
        if isinstance(one.node, ast.ImportFrom) and "*" in one.names.binds
    ]
    if slicer.missing and slicer.unresolved:
        slicer.from_stars, slicer.missing = slicer.missing, set()
        slicer.notes.append(
            f"{listed(slicer.from_stars)} may come from the star imports of "
            f"{listed(slicer.unresolved)}, which the function keeps"
        )
    reasons = [(magic_words(one), IGNORE_HINT) for one in slicer.own if one.kind is Kind.MAGIC]
    if slicer.missing and stars:
        reasons.append(
            (
                f"{listed(slicer.missing)} may come from the star import in {stars[-1].place}",
                "import by name, so that it is known what the function needs",
            )
        )
    reasons += [
        (f"{magic_words(one)}, and made {name}", f"{_LIVE_HINT}: --param {name}")
        for name, one in slicer.live.items()
        if one.kind is Kind.MAGIC
    ]
    made = {name: one for name, one in slicer.live.items() if one.kind is Kind.LIVE}
    if made and slicer.effects is not None:
        labels = listed({one.cell.label for one in made.values()})
        numbers = " ".join(f"--setup {n}" for n in re.findall(r"\d+", labels))
        reasons.append(
            (
                f"the cell uses {listed(made)}, which another measured cell made or changed "
                f"({labels})",
                f"replay it: {numbers or '--setup TAG'}; or load in the cell what it saved, and "
                f"mark it `# gpupredict: ignore`; or let the caller give it: {_params(made)}",
            )
        )
    elif made:
        where = ", ".join(f"{name} ({one.place})" for name, one in sorted(made.items()))
        reasons.append(
            (f"the cell needs what only running the notebook makes: {where}", _LIVE_HINT)
        )
    if slicer.missing and not stars:
        needing = {slicer.missed_by.get(name, slicer.label) for name in slicer.missing}
        reasons.append(
            (
                f"no executed cell defines {listed(slicer.missing)}, which {listed(needing)} needs",
                f"define it in a cell, or let the caller give it: {_params(slicer.missing)} "
                f"(params={sorted(slicer.missing)})",
            )
        )
    if reasons:
        hints = dict.fromkeys(hint for _, hint in reasons)
        made |= {name: one for name, one in slicer.live.items() if one.kind is Kind.MAGIC}
        wanted = dict.fromkeys(slicer.missing) | made
        rerun = {name: one for name, one in made.items() if one.kind is Kind.LIVE}
        raise UnsupportedCell(
            "; ".join(words for words, _ in reasons),
            "; ".join(hints),
            _fixes(wanted, rerun) if wanted else [],
        )


def _fixes(made: Collection[str], rerun: Mapping[str, Statement]) -> list[Fix]:
    """Return what a dialog offers about names that no definition makes, with what made them."""
    found = [Fix(f"The function's caller gives {listed(made)}", {"params": sorted(made)})]
    cells = {one.cell.label for one in rerun.values()}
    numbers = sorted({number for label in cells for number in re.findall(r"\d+", label)})
    if numbers:
        what = "cell" if len(numbers) == 1 else "cells"
        label = f"Mark {what} {', '.join(numbers)} as setup: run again at each call"
        found.append(Fix(label, {"setup": numbers}))
    return found


def _params(wanted: Iterable[str]) -> str:
    """Return the words for the command line that let the caller give these names."""
    names = [name if name.isidentifier() else "NAME" for name in sorted(wanted)]
    return " ".join(f"--param {name}" for name in dict.fromkeys(names))


def refuse_changed(slicer: Slicer) -> None:
    """What a later statement changes in place is not what its definition says."""
    needed: dict[str, Statement] = {}
    for order, statement in sorted(slicer.chosen.items()):
        bound = slicer.wanted.get(order, statement.names.binds)
        needed.update(dict.fromkeys(bound, statement))
    changed: dict[str, Statement] = {}
    others = [one for one in slicer.earlier if one.order not in slicer.chosen]
    for statement in others:
        for name, source in needed.items():
            if statement.order <= source.order:
                continue
            lent = name in statement.names.lent
            if source.kind is Kind.IMPORT:
                if lent or name in statement.names.changes:
                    _note_setting(slicer, name, statement)
            elif name in statement.names.changes:
                changed[name] = statement
            elif lent and (
                source.kind is Kind.SETUP or isinstance(getattr(source.node, "value", None), _STATE)
            ):
                slicer.notes.append(
                    f"{statement.place} may have changed {name}, which the function takes as "
                    f"{source.place} made it"
                )
    if changed:
        where = ", ".join(f"{name} ({one.place})" for name, one in sorted(changed.items()))
        raise UnsupportedCell(
            f"the cell needs what was changed after it was defined: {where}",
            _LIVE_HINT,
            _fixes(changed, changed),
        )


def _note_setting(slicer: Slicer, name: str, statement: Statement) -> None:
    node = statement.node
    what = f"a setting of {name}"
    if isinstance(node, ast.Expr):
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        called = dotted(value.func) if isinstance(value, ast.Call) else ""
        if not _SETTING.search(called):
            return
        what = f"{called}(...)"
    slicer.notes.append(
        f"{statement.place}: {what} is not part of the function; mark it "
        "`# gpupredict: setup` to keep it"
    )


def check_cells(slicer: Slicer) -> None:
    """Magics in a cell that the function takes from are refused, in others noted."""
    cells = {id(one.cell) for one in slicer.chosen.values()}
    for statement in slicer.earlier:
        if statement.kind is Kind.MAGIC:
            taken = id(statement.cell) in cells and isinstance(statement.node, ast.Expr)
            if taken and not slicer.drop_magics:
                hint = f"{IGNORE_HINT}; {_DROP_HINT}"
                raise UnsupportedCell(magic_words(statement), hint, [_DROP])
            slicer.notes.append(f"{magic_words(statement)}: it was left out")
    failed = {one.cell.label for one in slicer.chosen.values() if one.cell.failed}
    slicer.notes.extend(
        f"{label} ended with an error; the function takes definitions from it"
        for label in sorted(failed)
    )


def refuse_unused_params(
    slicer: Slicer, asked: frozenset[str], own: Sequence[Statement], entry: Entry | None
) -> None:
    """Refuse parameters that were asked for and that nothing reads."""
    literal = {name for one in (*slicer.chosen.values(), *own) for name in literals(one.node)}
    known = slicer.given | literal | set(entry.names if entry is not None else ())
    for name in sorted(asked - known):
        raise UnsupportedCell(
            f"{name} is to be given by the caller, and nothing in {slicer.label} needs it",
            "take it out of --param",
        )
