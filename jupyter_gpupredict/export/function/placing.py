"""Where each found statement goes: into the module, or into the call that runs the cell."""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.function.secrets import argument_defaults
from jupyter_gpupredict.export.function.statements import Kind, Statement, is_literal, literals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from jupyter_gpupredict.export.function.names import Names
    from jupyter_gpupredict.export.function.statements import Order, Statement


@dataclass(frozen=True, slots=True)
class Entry:
    """A function that takes the parameters itself."""

    name: str
    names: tuple[str, ...]
    """Its parameters that can be given by name."""
    required: tuple[str, ...]
    defaults: tuple[tuple[str, ast.expr], ...]
    """Literals from its signature, and those of the cell's own call."""
    takes_any: bool
    """Any name can be given: it has a `**keywords` parameter, or takes the dictionary itself."""
    takes_params: bool
    """Its only parameter is the whole dictionary, `params`."""
    waits: bool
    call: Statement | None
    """The cell's call, which the parameters replace."""


def find_entry(statements: Sequence[Statement]) -> Entry | None:
    """Return the entry point; None when the cell is straight-line code."""
    nodes = [one.node for one in statements]
    functions = [one for one in nodes if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    if len(functions) != 1:
        return None
    function = functions[0]
    others = [one for one in statements if one.node is not function and not _is_declaration(one)]
    call = others[0] if others else None
    node = _call(call.node, function.name) if call is not None else None
    if call is not None and (node is None or call is not statements[-1]):
        return None
    arguments = function.args
    if arguments.posonlyargs or arguments.vararg or function.decorator_list:
        return None
    positional = [one.arg for one in arguments.args]
    names = [*positional, *(one.arg for one in arguments.kwonlyargs)]
    values: dict[str, ast.expr | None] = dict.fromkeys(names)
    values |= argument_defaults(arguments)
    if node is not None:
        given = [*node.args, *(word.value for word in node.keywords)]
        if not all(is_literal(one) for one in given) or any(not w.arg for w in node.keywords):
            return None
        if len(node.args) > len(positional):
            return None
        values |= dict(zip(positional, node.args, strict=False))
        values |= {word.arg: word.value for word in node.keywords if word.arg}
    if set(values) & {n for one in statements for n in literals(one.node)}:
        return None  # the same name twice: as straight-line code each keeps its place
    required = [n for n in names if values[n] is None]
    defaults = [(n, v) for n, v in values.items() if v is not None and is_literal(v)]
    only = names == ["params"] and arguments.kwarg is None
    return Entry(
        name=function.name,
        names=tuple(names),
        required=() if only else tuple(required),
        defaults=tuple(defaults),
        takes_any=arguments.kwarg is not None or only,
        takes_params=only,
        waits=isinstance(function, ast.AsyncFunctionDef),
        call=call,
    )


def _is_declaration(statement: Statement) -> bool:
    node = statement.node
    if isinstance(node, ast.Expr):  # a docstring
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.ClassDef) or statement.kind in (Kind.IMPORT, Kind.LITERAL)


def _call(node: ast.stmt, name: str) -> ast.Call | None:
    """Return the call of the function that a statement is, awaited or assigned or neither."""
    match node:
        case ast.Expr(value=value) | ast.Assign(targets=[ast.Name()], value=value):
            inner = value.value if isinstance(value, ast.Await) else value
        case _:
            return None
    match inner:
        case ast.Call(func=ast.Name(id=called)) if called == name:
            return inner
        case _:
            return None


_VALUES = (Kind.LITERAL, Kind.DERIVED)
_DYNAMIC = frozenset({"globals", "locals", "vars", "eval", "exec", "dir"})


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


@dataclass(frozen=True, slots=True)
class Placed:
    """The parts of the module."""

    imports: tuple[Binding, ...]
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

    @property
    def kept(self) -> tuple[Statement, ...]:
        """Every statement that is written."""
        return (*self.module, *self.prelude, *self.body)


def place(found: Finding) -> Placed:
    """Return the parts of the module that runs what was found."""
    moved = _moved(found)
    hoisted = _hoisted(found, moved)
    definitions = [
        one for one in found.chosen if one.kind is Kind.DEFINITION and one.order not in moved
    ]
    fixed = _fixed(found, [*definitions, *hoisted])
    imports = [  # a name that the cell binds again is imported where the cell does
        one for one in found.own if one.kind is Kind.IMPORT and not one.names.binds & found.again
    ]
    body = [one for one in found.own if one not in hoisted and one not in imports]
    params: dict[str, Statement] = {}
    notes: list[str] = []
    prelude = [
        one
        for one in found.chosen
        if one.order in moved
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
    return Placed(
        imports=_imports(found, moved, (*module, *prelude, *body), imports, notes),
        module=tuple(module),
        prelude=tuple(prelude),
        body=tuple(body),
        defaults=tuple((name, literals(one.node)[name]) for name, one in params.items()),
        places={name: one.place for name, one in params.items()},
        required=required,
        shared=_shared(bound, [*definitions, *hoisted], (*module, *prelude, *body)),
        returns_result="result" in _bound(body),
        notes=tuple(notes),
    )


def _bound(statements: Iterable[Statement]) -> set[str]:
    return {name for one in statements for name in one.names.binds}


def _moved(found: Finding) -> set[Order]:
    """Return what earlier cells made and the call has to make anew.

    That is set-up code, what is defined with its help, and definitions of names that the cell binds
    again: each call begins as the cell did.
    """
    moved = {one.order for one in found.chosen if one.kind is Kind.SETUP}
    again = found.again
    movable = [one for one in found.chosen if one.kind in (Kind.DEFINITION, Kind.IMPORT)]
    before = -1
    while before != len(moved):  # until nothing more has to follow
        before = len(moved)
        made = _made(found, moved)
        moved |= {
            one.order
            for one in movable
            if found.needed(one) & (again | made) or found.at_once[one.order] & made
        }
        moved |= _versions(found, movable, moved)
    return moved


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
    return _bound(one for one in found.chosen if one.order in moved) | found.given


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
    return not set(values) & (_bound(others) | found.early | counted | earlier)


def _shared(
    bound: Collection[str], definitions: Iterable[Statement], kept: Sequence[Statement]
) -> frozenset[str]:
    if mentioned(kept) & _DYNAMIC:
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
    return tuple({ast.unparse(one.node): one for one in bindings}.values())


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
            found.append(Binding(name, one, statement.place))
    return found


def _is_empty(value: ast.expr) -> bool:
    """Whether a literal is there to be filled."""
    return ast.unparse(value) in ("[]", "{}")
