"""Another spelling for a name of the notebook."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def rename(text: str, old: str, new: str) -> str:
    """Return source in which the outer name `old` is called `new`.

    Functions that have a parameter or variable of that name keep it. Comments stay, except in a
    statement in which the name cannot be located: inside f-strings before Python 3.12.
    """
    tree = ast.parse(text)
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    places = [_position(node, old, lines) for node in _outer(tree, old)]
    if None not in places:
        for row, column in sorted(filter(None, places), reverse=True):
            line = lines[row - 1]
            lines[row - 1] = line[:column] + new.encode() + line[column + len(old.encode()) :]
        changed = b"".join(lines).decode()
        if next(_outer(ast.parse(changed), old), None) is None:
            return changed
    for node in list(_outer(tree, old)):
        if isinstance(node, ast.Name):
            node.id = new
        elif isinstance(node, ast.Global):
            node.names = [new if name == old else name for name in node.names]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.name = new
    return ast.unparse(tree) + "\n"


def _position(node: ast.AST, old: str, lines: list[bytes]) -> tuple[int, int] | None:
    """Return row and column of a name; None where they cannot be found."""
    row, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        word = b"class" if isinstance(node, ast.ClassDef) else b"def"
        column = lines[row - 1].find(b" " + old.encode(), lines[row - 1].find(word)) + 1
        if not column:
            return None
    elif not isinstance(node, ast.Name):
        return None
    return (row, column) if lines[row - 1][column:].startswith(old.encode()) else None


def _outer(node: ast.AST, old: str) -> Iterator[ast.AST]:
    """Yield the nodes that mean the outer name."""
    for child in ast.iter_child_nodes(node):
        match child:
            case (
                ast.Name(id=name)
                | ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ) if name == old:
                yield child
            case ast.Global(names=words) if old in words:
                yield child
        if isinstance(child, _FUNCTIONS) and _is_local(child, old):
            for inner in getattr(child, "decorator_list", []) + child.args.defaults:
                yield from _outer(ast.Expression(inner), old)
            continue
        yield from _outer(child, old)


def _is_local(function: ast.AST, name: str) -> bool:
    inside = list(ast.walk(function))
    if any(isinstance(n, ast.Global) and name in n.names for n in inside):
        return False
    body = [n for n in inside if n is not function]
    return any(
        (isinstance(n, ast.arg) and n.arg == name)
        or (isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store))
        for n in body
    )
