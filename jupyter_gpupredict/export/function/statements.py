"""What a top-level statement of a cell is to an export: an import, a definition, a constant, ..."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.function import celltext, names
from jupyter_gpupredict.export.function.secrets import is_environ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_gpupredict.export.function.celltext import CellCode
    from jupyter_gpupredict.export.function.names import Names

Order = tuple[int, int]
"""(cell, statement), in the order of execution."""


class Kind(Enum):
    """How a statement can be had again elsewhere."""

    IMPORT = "import"
    DEFINITION = "definition"
    LITERAL = "literal"
    DERIVED = "derived"
    """An expression of literals and of names of them, without any call."""
    SETUP = "setup"
    LIVE = "live"
    """It made an object that only running it again would make."""
    MAGIC = "magic"


@dataclass(frozen=True, slots=True)
class Statement:
    """One top-level statement, and what there is to know about it."""

    order: Order
    cell: CellCode
    node: ast.stmt
    kind: Kind
    names: Names

    @property
    def place(self) -> str:
        """How a message names it."""
        return self.cell.place(self.node.lineno)

    @property
    def span(self) -> tuple[int, int]:
        """Its first line in the source, that of the comments directly above it, and its last."""
        lines = self.cell.source.splitlines()
        others = [n for n in self.cell.tree.body if n is not self.node]
        above = max((n.end_lineno or 0 for n in others if n.lineno < self.node.lineno), default=0)
        first = _first_line(self.node)
        while first - 1 > above and lines[first - 2].lstrip().startswith("#"):
            first -= 1
        return first, self.node.end_lineno or self.node.lineno

    @property
    def text(self) -> str:
        """Its source, with the comments directly above it."""
        first, last = self.span
        others = (n for n in self.cell.tree.body if n is not self.node)
        if any((n.end_lineno or 0) >= first and n.lineno <= last for n in others):
            return ast.unparse(self.node) + "\n"  # several on one line
        lines = self.cell.source.splitlines(keepends=True)
        return "".join(lines[first - 1 : last]).rstrip("\n") + "\n"


def split(code: CellCode, number: int, *, lazy: bool = False) -> Iterator[Statement]:
    """Yield the statements of a cell; ignored ones are noted on the cell and left out.

    Args:
        code: The cell.
        number: Its place in the order of execution.
        lazy: Annotations are not evaluated, see `names`.
    """
    if code.mark == "ignore":
        code.notes.append(f"{code.label} was left out, as it is marked")
        return
    for index, node in enumerate(code.tree.body):
        mark = code.marks.get(node.lineno) or code.mark
        if mark == "ignore":
            code.notes.append(f"{code.place(node.lineno)} was left out, as it is marked")
            continue
        found = names.of_statement(node, lazy=lazy)
        kind = _kind(node)
        if found.perhaps and kind is Kind.DEFINITION:
            kind = Kind.LIVE  # what was before it may still count
        if mark == "setup" and kind is Kind.LIVE:
            kind = Kind.SETUP
        yield Statement((number, index), code, node, kind, found)


def literals(node: ast.stmt) -> dict[str, ast.expr]:
    """Return name -> value of an assignment of literals to plain names; empty if it is none."""
    match node:
        case ast.Assign(targets=targets, value=value):
            pass
        case ast.AnnAssign(target=annotated, value=ast.expr() as value):
            targets = [annotated]
        case _:
            return {}
    found: dict[str, ast.expr] = {}
    for target in targets:
        match target, value:
            case ast.Name(id=name), _ if is_literal(value):
                found[name] = value
            case ast.Tuple(elts=places), ast.Tuple(elts=values) if len(places) == len(values):
                for place, one in zip(places, values, strict=True):
                    if not isinstance(place, ast.Name) or not is_literal(one):
                        return {}
                    found[place.id] = one
            case _:
                return {}
    return found


def is_literal(node: ast.expr) -> bool:
    """Whether an expression is made of constants alone."""
    return _pure(node, with_names=False)


_PURE = (
    ast.Constant, ast.UnaryOp, ast.BinOp, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.operator,
    ast.unaryop, ast.expr_context,
)  # fmt: skip
_NAMED = (
    ast.Name, ast.BoolOp, ast.Compare, ast.IfExp, ast.JoinedStr, ast.FormattedValue, ast.Subscript,
    ast.Slice, ast.Starred, ast.boolop, ast.cmpop,
)  # fmt: skip


def _pure(node: ast.expr, *, with_names: bool) -> bool:
    allowed = (*_PURE, *_NAMED) if with_names else _PURE
    return all(
        isinstance(inner, allowed) or (with_names and is_environ(inner)) for inner in ast.walk(node)
    )


def _kind(node: ast.stmt) -> Kind:
    if any(celltext.magic(inner) for inner in ast.walk(node)):
        return Kind.MAGIC
    match node:
        case ast.Import() | ast.ImportFrom():
            return Kind.IMPORT
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return Kind.DEFINITION
        case ast.Assign(targets=targets, value=value):
            return _assigned(node, targets, value)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            return _assigned(node, [target], value)
        case ast.If() | ast.Try() if _guarded(node):
            return Kind.DEFINITION
        case _:
            return Kind.LIVE


def _assigned(node: ast.stmt, targets: list[ast.expr], value: ast.expr) -> Kind:
    if literals(node):
        return Kind.LITERAL
    plain = all(isinstance(target, ast.Name) for target in targets)
    if plain and isinstance(value, ast.Lambda):
        return Kind.DEFINITION
    return Kind.DERIVED if plain and _pure(value, with_names=True) else Kind.LIVE


def _guarded(node: ast.stmt) -> bool:
    """Whether a statement only chooses among imports, definitions and literals."""
    match node:
        case ast.If(test=test, body=body, orelse=other):
            return not any(isinstance(n, ast.Call) for n in ast.walk(test)) and all(
                _guarded(one) for one in (*body, *other)
            )
        case ast.Try(body=body, handlers=handlers, orelse=other, finalbody=last):
            inner = [*body, *other, *last, *(one for h in handlers for one in h.body)]
            return all(_guarded(one) for one in inner)
        case ast.Pass():
            return True
        case _:
            return _kind(node) in (Kind.IMPORT, Kind.DEFINITION, Kind.LITERAL)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])
