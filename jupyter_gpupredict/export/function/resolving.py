"""What the measured cell needs of earlier ones: names, and statements that run again."""

from __future__ import annotations

import ast
import bisect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.function import names
from jupyter_gpupredict.export.function.names import BUILTIN
from jupyter_gpupredict.export.function.statements import Kind, Order, Statement, listed

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


# ---- what runs again ---------------------------------------------------------------------------


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
            continue  # it is listed with the others
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
        name = changed[0].partition("@")[0] if changed else statement.cell.label
        slicer.live.setdefault(name, statement)
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
    pairs = [(name, order) for order, found in slicer.wanted.items() for name in found]
    pairs += [(name, one.order) for name, one in slicer.live.items()]
    needed = {effects.as_of(name, order) for name, order in pairs if name in effects.bound}
    statements = slicer.chosen.values() if chosen is None else chosen
    return needed.union(*map(effects.data_names, statements))


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
