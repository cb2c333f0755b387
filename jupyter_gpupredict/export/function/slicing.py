"""The measured cell and what it needs from the cells before it: a backward slice over names.

Nothing is run and nothing is pickled. What only running the notebook would make is listed with the
cell that made it, and refused; what is left out is noted.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Fix, UnsupportedCell
from jupyter_gpupredict.export.deployment import Cell
from jupyter_gpupredict.export.function import names
from jupyter_gpupredict.export.function.placing import Entry, Finding, Placed, find_entry, place
from jupyter_gpupredict.export.function.secrets import dotted
from jupyter_gpupredict.export.function.statements import (
    Kind,
    Order,
    Statement,
    literals,
    magic,
    read_cell,
    shown,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from jupyter_gpupredict.export.function.remedies import Remedy
    from jupyter_gpupredict.export.function.statements import CellCode

_SETTING = re.compile(
    r"seed|(^|[._])set|config|option|environ|style|enable|disable|register|filter|default|\.use$"
)
"""Calls on a module that are made for what they set; drawing and printing is not among them."""
_STATE = (ast.List, ast.Dict, ast.Set)


@dataclass(frozen=True, slots=True)
class Slice:
    """What becomes a module, and notes on it."""

    placed: Placed
    entry: Entry | None
    """The cell's only function, when the cell is nothing else."""
    silenced: bool
    """A semicolon hides the value of the cell's last expression."""
    waits: bool
    """Anything awaits outside a function."""
    displays: bool
    futures: tuple[str, ...]
    """`from __future__` features that were on."""
    pip: tuple[str, ...]
    environment: tuple[str, ...]
    notes: tuple[str, ...]


def slice_cells(
    cells: Sequence[Cell],
    params: Collection[str] = (),
    setup: Collection[str] = (),
    *,
    drop_magics: bool = False,
    remedy: Remedy | None = None,
) -> Slice:
    """Return the last cell with what it needs from the earlier ones.

    Args:
        cells: In the order of execution, the measured one last.
        params: Names that the caller will give.
        setup: Tags, or numbers, of cells to run again.
        drop_magics: Leave out magics of earlier cells, whatever else is taken from those.
        remedy: Takes credentials out of the cells first.

    Raises:
        UnsupportedCell: The cell needs what a module cannot have; the message names cell and line.
    """
    earlier: list[CellCode] = []
    notes: list[str] = []
    for cell in cells:
        try:
            earlier.append(read_cell(cell, tuple(setup)))
        except SyntaxError as error:
            if cell is cells[-1]:
                raise UnsupportedCell(f"{cell.label} is not valid Python: {error.msg}") from error
            notes.append(f"{cell.label} is not valid Python and was left out")
    measured = earlier.pop()
    measured.mark = None
    if remedy is not None:
        earlier = _remedied(earlier, measured, remedy)
    codes = [*earlier, measured]
    futures = _futures(codes)
    lazy = "annotations" in futures
    statements = [one for n, code in enumerate(earlier) for one in split(code, n, lazy=lazy)]
    own = list(split(measured, len(earlier), lazy=lazy))
    asked = frozenset(params)
    given = asked | (remedy.given if remedy is not None else set())
    end = (len(earlier), -1)
    slicer = _Slicer(statements, own, measured.label, end, given, lazy, drop_magics)
    found = slicer.run(asked)
    placed = place(found)
    notes += [note for code in codes for note in code.notes]
    return Slice(
        placed=placed,
        entry=found.entry,
        silenced=measured.silenced,
        waits=names.awaits(one.node for one in (*placed.prelude, *placed.body))
        or (found.entry is not None and found.entry.waits),
        displays=slicer.displays,
        futures=futures,
        pip=tuple(word for code in codes for word in code.pip),
        environment=tuple(dict.fromkeys(name for code in codes for name in code.environment)),
        notes=tuple(dict.fromkeys((*notes, *slicer.notes, *placed.notes))),
    )


@dataclass(slots=True)
class _Slicer:
    """Resolves the names that the measured cell reads, backwards."""

    earlier: Sequence[Statement]
    own: Sequence[Statement]
    label: str
    end: Order
    """Where the measured cell begins."""
    params: frozenset[str]
    lazy: bool
    drop_magics: bool
    binding: dict[str, list[Statement]] = field(default_factory=dict)
    chosen: dict[Order, Statement] = field(default_factory=dict)
    wanted: dict[Order, set[str]] = field(default_factory=dict)
    """Names that are needed of a chosen import or literal."""
    live: dict[str, Statement] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)
    """Names of `params` that are needed."""
    own_binds: frozenset[str] = frozenset()
    displays: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for statement in self.earlier:
            for name in statement.names.binds:
                self.binding.setdefault(name, []).append(statement)

    def run(self, asked: frozenset[str]) -> Finding:
        """Return what was found; each param that was `asked` for by name has to be needed.

        Raises:
            UnsupportedCell: The cell needs what cannot be made again.
        """
        for statement in self.own:
            if statement.kind is Kind.MAGIC:
                raise UnsupportedCell(_magic_words(statement), _IGNORE_HINT)
        entry = find_entry(self.own)
        own = [one for one in self.own if entry is None or one is not entry.call]
        replaced = [one for one in own if self._given_instead(one)]
        own = [one for one in own if one not in replaced]
        flow = names.of_statements((one.node for one in own), lazy=self.lazy)
        self.own_binds = flow.binds
        for statement in self.earlier:
            if statement.kind is Kind.SETUP and not self._given_instead(statement):
                self._choose(statement)
        for name in sorted(flow.strong):
            self._need(name, self.end)
        self.given |= flow.weak & self.params
        self._need_bound(flow.weak, self.end)
        for name in sorted(flow.later):
            self._need_later(name)
        early = self._read_early(own)
        self._need_bound(early, self.end)
        self._refuse()
        self._refuse_changed()
        self._check_cells()
        self.given |= {name for one in replaced for name in one.names.binds}
        self._refuse_unused_params(asked, own, entry)
        return Finding(
            own=tuple(own),
            flow=flow,
            early=flow.strong | early,
            chosen=tuple(one for _, one in sorted(self.chosen.items())),
            wanted={order: frozenset(found) for order, found in self.wanted.items()},
            at_once={one.order: self._at_once(one) for one in (*self.chosen.values(), *own)},
            given=frozenset(self.given),
            entry=entry,
            latest=self._latest,
        )

    # ---- finding ------------------------------------------------------------------------------

    def _latest(self, name: str, order: Order) -> Statement | None:
        before = [one for one in self.binding.get(name, ()) if one.order < order]
        return before[-1] if before else None

    def _need(self, name: str, order: Order) -> None:
        if name in self.params:
            self.given.add(name)
            return
        statement = self._latest(name, order)
        if statement is None:
            self.missing.add(name)
        elif statement.kind in (Kind.LIVE, Kind.MAGIC):
            self.live.setdefault(name, statement)
        else:
            self.wanted.setdefault(statement.order, set()).add(name)
            self._choose(statement)
            if statement.kind is Kind.IMPORT:
                self._need_submodules(name, statement)

    def _need_bound(self, names: Iterable[str], order: Order) -> None:
        """Need those of the names that an earlier statement binds."""
        for name in sorted(names):
            if self._latest(name, order) is not None:
                self._need(name, order)

    def _need_later(self, name: str) -> None:
        """A name that a function reads when it is called: by then the cell may have bound it."""
        # one that the cell binds, too, may be read before
        if name not in self.own_binds or self._can_be_had(name, self.end, set()):
            self._need(name, self.end)

    def _can_be_had(self, name: str, order: Order, seen: set[Order]) -> bool:
        """Whether a name, and what it is made of, needs nothing that only the notebook makes."""
        statement = self._latest(name, order)
        if name in self.params or statement is None:
            return False
        if statement.order in seen:
            return True
        seen.add(statement.order)
        inner = statement.names.strong
        return statement.kind not in (Kind.LIVE, Kind.MAGIC) and all(
            self._can_be_had(one, statement.order, seen) for one in inner
        )

    def _need_submodules(self, name: str, statement: Statement) -> None:
        """`import a.b` and `import a.c` bind the same `a`: each adds to what it offers."""
        for other in self.binding[name]:
            if other.order >= statement.order or not isinstance(other.node, ast.Import):
                continue
            if any(not a.asname and a.name.startswith(f"{name}.") for a in other.node.names):
                self.wanted.setdefault(other.order, set()).add(name)
                self.chosen[other.order] = other

    def _choose(self, statement: Statement) -> None:
        if statement.order in self.chosen:
            return
        self.chosen[statement.order] = statement
        for name in sorted(statement.names.strong):
            self._need(name, statement.order)
        self._need_bound(statement.names.weak, statement.order)
        for name in sorted(statement.names.later):
            self._need_later(name)
        self._need_bound(self._at_once(statement) - statement.names.strong, statement.order)

    def _at_once(self, statement: Statement) -> frozenset[str]:
        """Return the names needed while a statement runs, those of functions it calls included.

        A decorator, or a call in a default value, runs when the function is defined, and reads then
        what it needs.
        """
        needed = statement.names.strong | statement.names.weak
        if statement.kind is Kind.DEFINITION:
            needed |= self._read_by_calls(statement)
        return needed

    def _read_by_calls(self, statement: Statement) -> frozenset[str]:
        """Return what the functions read that a statement calls, and those that they may call."""
        needed: set[str] = set()
        queue, seen = list(names.called_at_once(statement.node)), set[str]()
        while queue:
            name = queue.pop()
            if name in seen:
                continue
            seen.add(name)
            own = [one for one in self.own if one.order < statement.order]
            functions = [one for one in own if name in one.names.binds]
            for one in (*functions, self._latest(name, statement.order)):
                if one is not None and one.kind is Kind.DEFINITION:
                    needed |= one.names.later
                    queue += one.names.later
        return frozenset(needed)

    def _read_early(self, own: Sequence[Statement]) -> set[str]:
        """Return what the cell binds, but only after a function that it calls has read it."""
        early: set[str] = set()
        bound: set[str] = set()
        for statement in own:
            early |= self._read_by_calls(statement) - bound
            bound |= statement.names.binds
        return early & self.own_binds

    def _given_instead(self, statement: Statement) -> bool:
        """Whether a statement only makes what the caller is to give."""
        assigns = isinstance(statement.node, ast.Assign | ast.AnnAssign)
        return assigns and set() < statement.names.binds <= self.params

    # ---- refusing -----------------------------------------------------------------------------

    def _refuse(self) -> None:
        self.displays = "display" in self.missing
        self.missing.discard("display")
        stars = [
            one
            for one in (*self.earlier, *self.own)
            if isinstance(one.node, ast.ImportFrom) and "*" in one.names.binds
        ]
        if self.missing and stars:
            raise UnsupportedCell(
                f"{_listed(self.missing)} may come from the star import in {stars[-1].place}",
                "import by name, so that it is known what the function needs",
            )
        for name, statement in self.live.items():
            if statement.kind is Kind.MAGIC:
                said = f"{_magic_words(statement)}, and made {name}"
                raise UnsupportedCell(said, _LIVE_HINT, _fixes({name: statement}, rerun=False))
        if self.live:
            made = ", ".join(f"{name} ({one.place})" for name, one in sorted(self.live.items()))
            raise UnsupportedCell(
                f"the cell needs what only running the notebook makes: {made}",
                _LIVE_HINT,
                _fixes(self.live),
            )
        if self.missing:
            raise UnsupportedCell(
                f"no executed cell defines {_listed(self.missing)}, which {self.label} needs",
                "define it in a cell, or let the caller give it: --param NAME (params=[NAME])",
                _fixes(dict.fromkeys(self.missing)),
            )

    def _refuse_changed(self) -> None:
        """What a later statement changes in place is not what its definition says."""
        needed: dict[str, Statement] = {}
        for order, statement in sorted(self.chosen.items()):
            bound = self.wanted.get(order, statement.names.binds)
            needed.update(dict.fromkeys(bound, statement))
        changed: dict[str, Statement] = {}
        others = [one for one in self.earlier if one.order not in self.chosen]
        for statement in others:
            for name, source in needed.items():
                if statement.order <= source.order:
                    continue
                lent = name in statement.names.lent
                if source.kind is Kind.IMPORT:
                    if lent or name in statement.names.changes:
                        self._note_setting(name, statement)
                elif name in statement.names.changes:
                    changed[name] = statement
                elif lent and (
                    source.kind is Kind.SETUP
                    or isinstance(getattr(source.node, "value", None), _STATE)
                ):
                    self.notes.append(
                        f"{statement.place} may have changed {name}, which the function takes as "
                        f"{source.place} made it"
                    )
        if changed:
            where = ", ".join(f"{name} ({one.place})" for name, one in sorted(changed.items()))
            raise UnsupportedCell(
                f"the cell needs what was changed after it was defined: {where}",
                _LIVE_HINT,
                _fixes(changed),
            )

    def _note_setting(self, name: str, statement: Statement) -> None:
        node = statement.node
        what = f"a setting of {name}"
        if isinstance(node, ast.Expr):
            value = node.value.value if isinstance(node.value, ast.Await) else node.value
            called = dotted(value.func) if isinstance(value, ast.Call) else ""
            if not _SETTING.search(called):
                return
            what = f"{called}(...)"
        self.notes.append(
            f"{statement.place}: {what} is not part of the function; mark it "
            "`# gpupredict: setup` to keep it"
        )

    def _check_cells(self) -> None:
        """Magics in a cell that the function takes from are refused, in others noted."""
        cells = {id(one.cell) for one in self.chosen.values()}
        for statement in self.earlier:
            if statement.kind is Kind.MAGIC:
                taken = id(statement.cell) in cells and isinstance(statement.node, ast.Expr)
                if taken and not self.drop_magics:
                    hint = f"{_IGNORE_HINT}; {_DROP_HINT}"
                    raise UnsupportedCell(_magic_words(statement), hint, [_DROP])
                self.notes.append(f"{_magic_words(statement)}: it was left out")
        failed = {one.cell.label for one in self.chosen.values() if one.cell.failed}
        self.notes.extend(
            f"{label} ended with an error; the function takes definitions from it"
            for label in sorted(failed)
        )

    def _refuse_unused_params(
        self, asked: frozenset[str], own: Sequence[Statement], entry: Entry | None
    ) -> None:
        literal = {name for one in (*self.chosen.values(), *own) for name in literals(one.node)}
        known = self.given | literal | set(entry.names if entry is not None else ())
        for name in sorted(asked - known):
            raise UnsupportedCell(
                f"{name} is to be given by the caller, and nothing in {self.label} needs it",
                "take it out of --param",
            )


_LIVE_HINT = (
    "make it in the cell, let the caller give it with --param NAME (params=[NAME]), or mark the "
    "statement or cell that makes it `# gpupredict: setup`"
)
_DROP_HINT = "or leave all such lines of earlier cells out: --drop-magics (drop_magics=True)"
_DROP = Fix("Leave such lines of earlier cells out", {"drop_magics": True})
_IGNORE_HINT = "take the line out, or mark it `# gpupredict: ignore`"


def _fixes(made: Mapping[str, Statement | None], *, rerun: bool = True) -> list[Fix]:
    """Return what a dialog offers about names that no definition makes, with what made them."""
    found = [Fix(f"The function's caller gives {_listed(made)}", {"params": sorted(made)})]
    cells = {one.cell.label: one for one in made.values() if one is not None}
    numbers = [number for label in cells for number in re.findall(r"\d+", label)]
    if rerun and numbers:
        what = "cell" if len(numbers) == 1 else "cells"
        label = f"Mark {what} {', '.join(numbers)} as setup: run again at each call"
        found.append(Fix(label, {"setup": numbers}))
    return found


def _remedied(earlier: list[CellCode], measured: CellCode, remedy: Remedy) -> list[CellCode]:
    """Take the credentials out of all cells; returns the earlier ones, with what they need."""
    for code in (*earlier, measured) if remedy.way == "param" else ():
        remedy.reserved |= set(re.findall(r"\w+", code.source))
    for code in (*earlier, measured):
        code.source = remedy.apply(code.source, code.place)
        code.tree = ast.parse(code.source)
    needed = remedy.way == "env" and remedy.names
    return [read_cell(Cell("the export", "import os")), *earlier] if needed else earlier


def _futures(codes: Iterable[CellCode]) -> tuple[str, ...]:
    """Return the features that were on: IPython keeps them on for the cells that follow."""
    names = {
        alias.name
        for code in codes
        for node in code.tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }
    return tuple(sorted(names))


def _magic_words(statement: Statement) -> str:
    found = next(one for n in ast.walk(statement.node) if (one := magic(n)))
    return f"{statement.place}: {shown(found)} works in a notebook only"


def _listed(found: Iterable[str]) -> str:
    return ", ".join(sorted(found))
