"""Resolves the names that the measured cell reads, backwards."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.function import names
from jupyter_gpupredict.export.function.names import BUILTIN
from jupyter_gpupredict.export.function.statements import Kind, Order, Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jupyter_gpupredict.export.function.effects import Effects


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

    # ---- finding ------------------------------------------------------------------------------

    def latest(self, name: str, order: Order) -> Statement | None:
        """Return the last statement before this place that binds a name."""
        before = [one for one in self.binding.get(name, ()) if one.order < order]
        return before[-1] if before else None

    def need(self, name: str, order: Order) -> None:
        """Need a name as it is at this place."""
        if name in self.params:
            self.given.add(name)
            return
        statement = self.latest(name, order)
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
            self.need_bound({name}, statement.order)  # what it is otherwise

    def need_bound(self, names: Iterable[str], order: Order) -> None:
        """Need those of the names that an earlier statement binds."""
        for name in sorted(names):
            if self.latest(name, order) is not None:
                self.need(name, order)

    def need_later(self, name: str) -> None:
        """A name that a function reads when it is called: by then the cell may have bound it."""
        # one that the cell binds, too, may be read before
        if name not in self.own_binds or self._can_be_had(name, self.end, set()):
            self.need(name, self.end)

    def _can_be_had(self, name: str, order: Order, seen: set[Order]) -> bool:
        """Whether a name, and what it is made of, needs nothing that only the notebook makes."""
        statement = self.latest(name, order)
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
            self.need(name, statement.order)
        self.need_bound(statement.names.weak, statement.order)
        for name in sorted(statement.names.later):
            self.need_later(name)
        self.need_bound(self.at_once(statement) - statement.names.strong, statement.order)
        self.needing = needing

    def at_once(self, statement: Statement) -> frozenset[str]:
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
            for one in (*functions, self.latest(name, statement.order)):
                if one is not None and one.kind in (Kind.DEFINITION, Kind.SETUP):
                    needed |= one.names.later
                    queue += one.names.later
        return frozenset(needed)

    def read_early(self, own: Sequence[Statement]) -> set[str]:
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
