"""A cell that is one function, and perhaps its call: the function takes the parameters itself."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.function.secrets import argument_defaults
from jupyter_gpupredict.export.function.statements import Kind, Statement, is_literal, literals

if TYPE_CHECKING:
    from collections.abc import Sequence


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
