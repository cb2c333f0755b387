"""The measured cell and what it needs from the cells before it: a backward slice over names.

Nothing is run and nothing is pickled. What only running the notebook would make is listed with the
cell that made it, and refused; what is left out is noted.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import UnsupportedCell
from jupyter_gpupredict.export.deployment import Cell
from jupyter_gpupredict.export.function import names
from jupyter_gpupredict.export.function.effects import Effects
from jupyter_gpupredict.export.function.entry import Entry, find_entry
from jupyter_gpupredict.export.function.names import BUILTIN
from jupyter_gpupredict.export.function.placing import Finding, Placed, place
from jupyter_gpupredict.export.function.refusing import (
    check_cells,
    refuse,
    refuse_changed,
    refuse_unused_params,
)
from jupyter_gpupredict.export.function.replaying import replay
from jupyter_gpupredict.export.function.stars import expand_stars
from jupyter_gpupredict.export.function.statements import (
    Kind,
    Order,
    Statement,
    read_cell,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from jupyter_gpupredict.export.function.remedies import Remedy
    from jupyter_gpupredict.export.function.statements import CellCode


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
    unresolved: tuple[str, ...] = ()
    """Modules with star imports that bring names which are not known here."""


def slice_cells(
    cells: Sequence[Cell],
    params: Collection[str] = (),
    setup: Collection[str] = (),
    *,
    drop_magics: bool = False,
    remedy: Remedy | None = None,
    mode: str = "replay",
    folder: Path = Path(),
) -> Slice:
    """Return the last cell with what it needs from the earlier ones.

    Args:
        cells: In the order of execution, the measured one last.
        params: Names that the caller will give.
        setup: Tags, or numbers, of cells to run again.
        drop_magics: Leave out magics of earlier cells, whatever else is taken from those.
        remedy: Takes credentials out of the cells first.
        mode: `replay` runs again what may have changed what the cell uses; `strict` refuses what
            only running the notebook makes.
        folder: Where the notebook stands.

    Raises:
        UnsupportedCell: The cell needs what a module cannot have; the message names cell and line.
    """
    earlier: list[CellCode] = []
    notes: list[str] = []
    replays = mode == "replay"
    for cell in cells:
        try:
            last = cell is cells[-1]
            earlier.append(read_cell(cell, tuple(setup), replay=replays, own=last))
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
    unresolved = [name for code in codes if replays for name in expand_stars(code, codes, folder)]
    bound = frozenset(name for code in codes for name in names.of_statements(code.tree.body).binds)
    statements = [
        one
        for n, code in enumerate(codes)
        for one in split(code, n, lazy=lazy, own=bound if replays else ())
    ]
    if replays:
        effects = Effects(statements)
        statements = [effects.judged(one) for one in statements]
    own = [one for one in statements if one.cell is measured]
    before = [one for one in statements if one.cell is not measured]
    asked = frozenset(params)
    given = asked | (remedy.given if remedy is not None else set())
    end = (len(earlier), -1)
    slicer = Slicer(
        before,
        own,
        measured.label,
        end,
        given,
        lazy,
        drop_magics or replays,
        effects if replays else None,
        tuple(dict.fromkeys(unresolved)),
        bound if replays else frozenset(),
    )
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
        unresolved=slicer.unresolved if slicer.from_stars else (),
    )


@dataclass(slots=True)
class Slicer:
    """Resolves the names that the measured cell reads, backwards."""

    earlier: Sequence[Statement]
    own: Sequence[Statement]
    label: str
    end: Order
    """Where the measured cell begins."""
    params: frozenset[str]
    lazy: bool
    drop_magics: bool
    effects: Effects | None = None
    """In the mode `replay`: what may change what."""
    unresolved: tuple[str, ...] = ()
    """Modules with star imports that may bring any name."""
    bound: frozenset[str] = frozenset()
    """Names that the notebook binds: builtins of such a name may be its own."""
    binding: dict[str, list[Statement]] = field(default_factory=dict)
    chosen: dict[Order, Statement] = field(default_factory=dict)
    wanted: dict[Order, set[str]] = field(default_factory=dict)
    """Names that are needed of a chosen import or literal."""
    live: dict[str, Statement] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    missed_by: dict[str, str] = field(default_factory=dict)
    """A missing name -> the place of what needs it."""
    from_stars: set[str] = field(default_factory=set)
    """Missing names that star imports may bring."""
    builtin: set[str] = field(default_factory=set)
    """Names that are read while they still are Python's own."""
    given: set[str] = field(default_factory=set)
    """Names of `params` that are needed."""
    own_binds: frozenset[str] = frozenset()
    displays: bool = False
    needing: str = ""
    """The place of what is being looked for names; empty: the cell itself."""
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.needing = self.label
        for statement in self.earlier:
            for name in statement.names.binds:
                self.binding.setdefault(name, []).append(statement)

    def run(self, asked: frozenset[str]) -> Finding:
        """Return what was found; each param that was `asked` for by name has to be needed.

        Raises:
            UnsupportedCell: The cell needs what cannot be made again.
        """
        entry = find_entry(self.own)
        own = [one for one in self.own if entry is None or one is not entry.call]
        replaced = [one for one in own if self.given_instead(one)]
        own = [one for one in own if one not in replaced]
        flow = names.of_statements((one.node for one in own), lazy=self.lazy, own=self.bound)
        self.own_binds = flow.binds
        if self.effects is None:
            for statement in self.earlier:
                if statement.kind is Kind.SETUP and not self.given_instead(statement):
                    self.choose(statement)
        for name in sorted(flow.strong):
            self._need(name, self.end)
        self.given |= flow.weak & self.params
        self._need_bound(flow.weak, self.end)
        for name in sorted(flow.later):
            self._need_later(name)
        early = self._read_early(own)
        self._need_bound(early, self.end)
        if self.effects is not None:
            replay(self, self.effects)
        refuse(self)
        if self.effects is None:
            refuse_changed(self)
        check_cells(self)
        self.given |= {name for one in replaced for name in one.names.binds}
        refuse_unused_params(self, asked, own, entry)
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
            replay=self.effects is not None,
            builtin=frozenset(self.builtin),
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
        if statement is not None:
            self.take(name, statement)
        elif name in BUILTIN:
            self.builtin.add(name)
        elif name not in self.missing:
            self.missing.add(name)
            self.missed_by[name] = self.needing

    def take(self, name: str, statement: Statement) -> None:
        """Need a name of a statement that binds it."""
        if statement.kind in (Kind.LIVE, Kind.MAGIC):
            self.live.setdefault(name, statement)
            return
        self.wanted.setdefault(statement.order, set()).add(name)
        self.choose(statement)
        if statement.kind is Kind.IMPORT:
            self._need_submodules(name, statement)
        if self.effects is not None and name in statement.names.perhaps:
            self._need_bound({name}, statement.order)  # what it is otherwise

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

    def choose(self, statement: Statement) -> None:
        """Take a statement of an earlier cell, and what it needs."""
        if statement.order in self.chosen:
            return
        self.chosen[statement.order] = statement
        needing, self.needing = self.needing, statement.place
        for name in sorted(statement.names.strong):
            self._need(name, statement.order)
        self._need_bound(statement.names.weak, statement.order)
        for name in sorted(statement.names.later):
            self._need_later(name)
        self._need_bound(self._at_once(statement) - statement.names.strong, statement.order)
        self.needing = needing

    def _at_once(self, statement: Statement) -> frozenset[str]:
        """Return the names needed while a statement runs, those of functions it calls included.

        A decorator, or a call in a default value, runs when the function is defined, and reads then
        what it needs.
        """
        needed = statement.names.strong | statement.names.weak
        if statement.kind in (Kind.DEFINITION, Kind.SETUP):
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
                if one is not None and one.kind in (Kind.DEFINITION, Kind.SETUP):
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

    def given_instead(self, statement: Statement) -> bool:
        """Whether a statement only makes what the caller is to give."""
        assigns = isinstance(statement.node, ast.Assign | ast.AnnAssign)
        return assigns and set() < statement.names.binds <= self.params


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
