"""Where each found statement goes: into the module, or into the call that runs the cell."""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.function.magics import EARLY
from jupyter_gpupredict.export.function.secrets import dotted
from jupyter_gpupredict.export.function.statements import Kind, Statement, literals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from jupyter_gpupredict.export.function.names import Names
    from jupyter_gpupredict.export.function.statements import Entry, Order, Statement


_VALUES = (Kind.LITERAL, Kind.DERIVED)
DYNAMIC = frozenset({"globals", "locals", "vars", "eval", "exec", "dir"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What the measured cell needs, before it has a place."""

    own: tuple[Statement, ...]
    """The cell's statements, without those that parameters replace."""
    flow: Names
    early: frozenset[str]
    """Names that the cell, or a function that it calls, reads before the cell binds them."""
    chosen: tuple[Statement, ...]
    """Statements of earlier cells, in the order of execution."""
    wanted: Mapping[Order, frozenset[str]]
    """The names that are needed of a chosen statement."""
    at_once: Mapping[Order, frozenset[str]]
    """The names that a statement needs while it runs."""
    given: frozenset[str]
    """Names that the caller gives instead of what the notebook made."""
    entry: Entry | None
    latest: Callable[[str, Order], Statement | None]
    """The last earlier statement before this place that binds a name."""
    replay: bool = False
    """What earlier cells did to it runs again, so that each thing has to have its own moment."""
    dynamic: bool = False
    """Something that runs again may reach any name: `globals()`, `exec`."""
    builtin: frozenset[str] = frozenset()
    """Names that something reads while they still are Python's own."""

    @property
    def contested(self) -> set[str]:
        """Names that mean one thing at one moment, and another later."""
        if not self.replay:
            return set()
        versions: dict[str, set[str]] = {}
        for one in (*self.chosen, *self.own):
            for name in self.needed(one):
                versions.setdefault(name, set()).add(_version(one, name))
        several = {name for name, found in versions.items() if len(found) > 1}
        return several | (self.builtin & versions.keys())

    @property
    def again(self) -> set[str]:
        """Names that the cell binds otherwise than by an import."""
        return _bound(one for one in self.own if one.kind is not Kind.IMPORT)

    def needed(self, one: Statement) -> frozenset[str]:
        """Return the names that are needed of a chosen statement."""
        return self.wanted.get(one.order, one.names.binds)


@dataclass(frozen=True, slots=True)
class Binding:
    """One name that an import brings in."""

    name: str
    node: ast.Import | ast.ImportFrom
    """With this one alias."""
    place: str
    order: Order


@dataclass(frozen=True, slots=True)
class Placed:
    """The parts of the module."""

    imports: tuple[Binding, ...]
    early: tuple[Statement, ...]
    """What imports depend on: it stands among them, in the order of execution."""
    module: tuple[Statement, ...]
    """Definitions, and the constants they need while they are made, in the order of execution."""
    prelude: tuple[Statement, ...]
    """What runs before the body at each call: constants, set-up code, what depends on them."""
    body: tuple[Statement, ...]
    """What is left of the measured cell."""
    defaults: tuple[tuple[str, ast.expr], ...]
    """Parameters with the literals that are their defaults."""
    places: Mapping[str, str]
    """Parameter -> where its default stands."""
    required: tuple[str, ...]
    shared: frozenset[str]
    """Names of the call that live in the module, because functions of the module read them."""
    returns_result: bool
    notes: tuple[str, ...]
    restored: frozenset[str] = frozenset()
    """Builtins that the notebook's names take the place of, from some moment on."""

    @property
    def kept(self) -> tuple[Statement, ...]:
        """Every statement that is written."""
        return (*self.early, *self.module, *self.prelude, *self.body)


def place(found: Finding) -> Placed:
    """Return the parts of the module that runs what was found."""
    everything = (*found.chosen, *found.own)
    imported = _bound(one for one in everything if one.kind is Kind.IMPORT)
    imported -= _bound(one for one in everything if one.kind is not Kind.IMPORT)
    early = [
        one for one in everything if found.replay and is_early(one) and one.names.strong <= imported
    ]
    moved = _moved(found)
    hoisted = _hoisted(found, moved)
    definitions = [
        one for one in found.chosen if one.kind is Kind.DEFINITION and one.order not in moved
    ]
    fixed = _fixed(found, [*definitions, *hoisted])
    imports = [  # a name that the cell binds again is imported where the cell does
        one
        for one in found.own
        if one.kind is Kind.IMPORT and not one.names.binds & (found.again | found.contested)
    ]
    body = [one for one in found.own if one not in (*hoisted, *imports, *early)]
    params: dict[str, Statement] = {}
    notes: list[str] = []
    prelude = [
        one
        for one in found.chosen
        if (one.order in moved and one not in early)
        or (one.kind in _VALUES and _is_prelude(one, found, fixed, params, notes))
    ]
    own = [one for one in body if _is_own_parameter(one, found)]
    params |= {name: one for one in own for name in literals(one.node)}
    taken = _bound(own)
    prelude = [one for one in prelude if not (one.kind in _VALUES and one.names.binds <= taken)]
    body = [one for one in body if one not in own]
    for name in found.given:
        params.pop(name, None)
    constants = [one for one in found.chosen if one.order in fixed]
    module = sorted([*definitions, *constants, *hoisted], key=lambda one: one.order)
    required = tuple(sorted(found.given))
    bound = {*params, *required, *_bound(prelude), *_bound(body)}
    restored = found.builtin & bound
    shared = _shared(bound, [*definitions, *hoisted], (*module, *prelude, *body)) | restored
    if found.replay:  # so that they can be pickled, as if they stood in the module
        shared |= _bound(one for one in prelude if isinstance(one.node, _NAMED_IN_MODULE))
    return Placed(
        imports=_imports(found, moved, (*early, *module, *prelude, *body), imports, notes),
        early=tuple(early),
        module=tuple(module),
        prelude=tuple(prelude),
        body=tuple(body),
        defaults=tuple((name, literals(one.node)[name]) for name, one in params.items()),
        places={name: one.place for name, one in params.items()},
        required=required,
        shared=frozenset(shared),
        restored=restored,
        returns_result="result" in _bound(body),
        notes=tuple(notes),
    )


_NAMED_IN_MODULE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def is_early(one: Statement) -> bool:
    """Whether later imports may depend on a statement, which itself needs nothing but imports."""
    match one.node:
        case ast.Expr(value=ast.Call(func=place, args=args, keywords=words)):
            given = [*args, *(word.value for word in words)]
        case ast.Assign(targets=[ast.Subscript(value=place)], value=value):
            given = [value]
        case (
            ast.Assign(targets=[ast.Attribute() as place], value=value)
            | ast.AugAssign(target=ast.Attribute() as place, value=value)
        ):
            given = [value]
        case _:
            return False
    fixed = all(not _computed(inner) for value in given for inner in ast.walk(value))
    return fixed and bool(EARLY.fullmatch(dotted(place)))


def _computed(node: ast.AST) -> bool:
    """Whether an expression needs more than constants and paths: then it keeps its moment."""
    if isinstance(node, ast.Name):
        return node.id not in ("os", "pathlib", "Path", "str", "sys")
    return isinstance(node, ast.Lambda | ast.NamedExpr | ast.Await)


def _bound(statements: Iterable[Statement]) -> set[str]:
    return {name for one in statements for name in one.names.binds}


def _moved(found: Finding) -> set[Order]:
    """Return what earlier cells made and the call has to make anew.

    That is set-up code, what is defined with its help, and definitions of names that the cell binds
    again: each call begins as the cell did.
    """
    moved = {one.order for one in found.chosen if one.kind is Kind.SETUP}
    again = found.again | found.contested
    changed = _changed(found)
    movable = [one for one in found.chosen if one.kind in (Kind.DEFINITION, Kind.IMPORT)]
    before = -1
    while before != len(moved):  # until nothing more has to follow
        before = len(moved)
        made = _made(found, moved)
        moved |= {
            one.order
            for one in movable
            if found.needed(one) & (again | made)
            or (one.kind is Kind.DEFINITION and found.needed(one) & changed)
            or found.at_once[one.order] & made
            or (found.replay and _holds_values(found, one))
        }
        if not found.replay:
            moved |= _versions(found, movable, moved)
    return moved


def _changed(found: Finding) -> set[str]:
    """Return the names of functions and classes that something changes in place."""
    if not found.replay:
        return set()
    return {name for one in (*found.chosen, *found.own) for name in one.names.changes}


def _holds_values(found: Finding, one: Statement) -> bool:
    """Whether a definition keeps hold of a value that may change, as a default value does."""
    queue = [(name, one.order) for name in found.at_once[one.order]]
    seen: set[Order] = set()
    while queue:
        name, order = queue.pop()
        made_by = found.latest(name, order)
        if made_by is None or made_by.order in seen or made_by.kind not in _VALUES:
            continue
        seen.add(made_by.order)
        values = literals(made_by.node).values() or [made_by.node]
        if found.dynamic or any(
            isinstance(n, _FILLED) for value in values for n in ast.walk(value)
        ):
            return True
        queue += [(inner, made_by.order) for inner in made_by.names.strong]
    return False


_FILLED = (ast.List, ast.Dict, ast.Set)


def _version(one: Statement, name: str) -> str:
    """Return what tells one meaning of a name from another: for imports, what is imported."""
    if isinstance(one.node, ast.Import) and any(
        alias.asname is None and alias.name.partition(".")[0] == name for alias in one.node.names
    ):
        return f"import {name}"  # of the same package, whatever comes along
    same = _bindings(one, {name})
    return ast.unparse(same[0].node) if same else f"{one.order}"


def _versions(found: Finding, movable: Iterable[Statement], moved: Collection[Order]) -> set[Order]:
    """Return definitions of names that were defined twice, and that the call needs in between."""
    needed = {
        name
        for one in found.chosen
        if one.order in moved or one.kind is Kind.DERIVED
        for name in found.at_once[one.order]
    }
    versions: dict[str, set[Order]] = {}
    for one in movable:
        for name in found.needed(one) & needed:
            versions.setdefault(name, set()).add(one.order)
    return {order for orders in versions.values() if len(orders) > 1 for order in orders}


def _made(found: Finding, moved: Collection[Order]) -> set[str]:
    """Return the names that the call makes, those of constants made of them included."""
    made = _bound(one for one in found.chosen if one.order in moved) | found.given
    for one in found.chosen:  # in the order of execution
        if found.replay and one.kind is Kind.DERIVED and found.at_once[one.order] & made:
            made |= one.names.binds
    return made


def _hoisted(found: Finding, moved: Collection[Order]) -> list[Statement]:
    """Return the cell's functions and classes that can stand in the module.

    There they can be pickled, as data loaders with workers need.
    """
    made = _made(found, moved)
    ready = _bound(one for one in found.own if one.kind is Kind.IMPORT) - found.again
    hoisted: list[Statement] = []
    for one in found.own:
        if not isinstance(one.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        name, needed = one.node.name, found.at_once[one.order]
        once = sum(name in other.names.binds for other in found.own) == 1
        if found.replay and (one.kind is not Kind.DEFINITION or _holds_values(found, one)):
            continue
        # no earlier one is read before the cell defines its own
        alone = name not in found.early and name not in made
        if once and alone and needed & found.flow.binds <= ready and not needed & made:
            hoisted.append(one)
            ready.add(name)
    return hoisted


def _fixed(found: Finding, definitions: Iterable[Statement]) -> set[Order]:
    """Return the constants that definitions of the module need while they are made."""
    fixed: set[Order] = set()
    queue = [(name, one.order) for one in definitions for name in found.at_once[one.order]]
    while queue:
        name, order = queue.pop()
        statement = found.latest(name, order)
        if statement is None or statement.order in fixed or statement.kind not in _VALUES:
            continue
        if statement.order in found.at_once:  # it was chosen
            fixed.add(statement.order)
            queue += [(inner, statement.order) for inner in statement.names.strong]
    return fixed


def _is_prelude(
    statement: Statement,
    found: Finding,
    fixed: Collection[Order],
    params: dict[str, Statement],
    notes: list[str],
) -> bool:
    """Whether a constant of an earlier cell is assigned by the call; else it may be a parameter."""
    wanted = found.wanted.get(statement.order, frozenset())
    values = {n: v for n, v in literals(statement.node).items() if n in wanted}
    versions = sum(bool(one.names.binds & wanted) for one in found.chosen)
    touched = bool(wanted & (found.flow.binds | found.flow.changes)) or versions > 1
    touched = touched or bool(wanted & found.builtin)
    touched = touched or found.dynamic
    constant = statement.order in fixed
    if statement.kind is Kind.DERIVED:
        return not constant or touched
    if constant and not touched:
        notes += [
            f"{name} ({statement.place}) is read while a function or class is defined: it is a "
            "constant, not a parameter"
            for name in values
        ]
        return False
    if touched or any(map(_is_empty, values.values())):
        return True
    params |= dict.fromkeys(values, statement)
    return False


def _is_own_parameter(statement: Statement, found: Finding) -> bool:
    """Whether a statement of the cell gives a parameter its default.

    It assigns literals, once, to names that the cell neither counts up nor deletes, that are not
    there to be filled or returned, and that nothing earlier reads with another value.
    """
    values = literals(statement.node)
    if not values or "result" in values or any(map(_is_empty, values.values())):
        return False
    others = [one for one in found.own if one is not statement]
    counted = {
        name
        for one in found.own
        for name in one.names.changes
        if name in one.names.binds or isinstance(one.node, ast.Delete)
    }
    earlier = {name for one in found.chosen for name in found.at_once[one.order]}
    if found.replay:
        if found.dynamic:
            return False
        earlier |= _bound(found.chosen) | found.builtin
    return not set(values) & (_bound(others) | found.early | counted | earlier)


def _shared(
    bound: Collection[str], definitions: Iterable[Statement], kept: Sequence[Statement]
) -> frozenset[str]:
    if mentioned(kept) & DYNAMIC:
        return frozenset(bound)
    read = {name for one in definitions for name in one.names.later}
    read |= {name for one in kept for name in one.names.declared}
    return frozenset(read.intersection(bound))


def mentioned(statements: Iterable[Statement]) -> set[str]:
    """Return every name that stands in statements."""
    nodes = (node for one in statements for node in ast.walk(one.node))
    return {node.id for node in nodes if isinstance(node, ast.Name)}


def _imports(
    found: Finding,
    moved: Collection[Order],
    kept: Iterable[Statement],
    own: Iterable[Statement],
    notes: list[str],
) -> tuple[Binding, ...]:
    """Return the imports that are used, each once."""
    bindings = [
        binding
        for one in found.chosen
        if one.kind is Kind.IMPORT and one.order not in moved
        for binding in _bindings(one, found.wanted[one.order])
    ]
    used = mentioned(kept)
    for one in own:
        taken = _bindings(one, used)
        bindings += taken
        unused = one.names.binds - {binding.name for binding in taken}
        if unused and getattr(one.node, "module", "") != "__future__":
            notes.append(f"{one.place}: unused import left out: {', '.join(sorted(unused))}")
    first: dict[str, Binding] = {}
    for binding in sorted(bindings, key=lambda one: one.order):
        first.setdefault(ast.unparse(binding.node), binding)
    return tuple(first.values())


def _bindings(statement: Statement, wanted: Collection[str]) -> list[Binding]:
    node = statement.node
    future = getattr(node, "module", "") == "__future__"
    if future or not isinstance(node, ast.Import | ast.ImportFrom):
        return []
    found: list[Binding] = []
    for alias in node.names:
        name = alias.asname or alias.name.partition(".")[0]
        if name in wanted:
            one = copy.copy(node)
            one.names = [alias]
            found.append(Binding(name, one, statement.place, statement.order))
    return found


def _is_empty(value: ast.expr) -> bool:
    """Whether a literal is there to be filled."""
    return ast.unparse(value) in ("[]", "{}")
