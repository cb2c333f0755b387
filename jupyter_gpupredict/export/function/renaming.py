"""Gives a name of the notebook's another spelling where the module needs the old one itself."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def rename(text: str, old: str, new: str) -> str:
    """Return source in which the outer name `old` is called `new`.

    Functions that have a parameter or variable of that name keep it. Comments stay, except in a
    statement whose places cannot be told, such as names inside f-strings before Python 3.12.
    """
    tree = ast.parse(text)
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    places = list(_places(tree, old, lines))
    if all(found is not None for found in places):
        for row, column in sorted((one for one in places if one is not None), reverse=True):
            line = lines[row - 1]
            end = column + len(old.encode())
            lines[row - 1] = line[:column] + new.encode() + line[end:]
        changed = b"".join(lines).decode()
        if old not in _outer_names(ast.parse(changed), old):
            return changed
    _Renamer(old, new).visit(tree)
    return ast.unparse(tree) + "\n"


def _places(tree: ast.AST, old: str, lines: list[bytes]) -> Iterator[tuple[int, int] | None]:
    """Yield where each occurrence stands; None for one that cannot be found."""
    for node in _outer(tree, old):
        row = getattr(node, "lineno", 1)
        column: int | None = getattr(node, "col_offset", 0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            word = b"class" if isinstance(node, ast.ClassDef) else b"def"
            found = lines[row - 1].find(b" " + old.encode(), lines[row - 1].find(word))
            column = found + 1 if found >= 0 else None
        elif not isinstance(node, ast.Name):
            column = None
        if column is not None and lines[row - 1][column:].startswith(old.encode()):
            yield row, column
        else:
            yield None


def _outer_names(tree: ast.AST, old: str) -> set[str]:
    return {old for _ in _outer(tree, old)}


def _outer(node: ast.AST, old: str) -> Iterator[ast.AST]:
    """Yield the nodes that mean the outer name."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Name(id=name) if name == old:
                yield child
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name == old:
                yield child
            case ast.ClassDef(name=name) if name == old:
                yield child
            case ast.Global(names=words) if old in words:
                yield child
            case _:
                pass
        if isinstance(child, _FUNCTIONS) and _is_local(child, old):
            outside = getattr(child, "decorator_list", []) + child.args.defaults
            for inner in outside:
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


class _Renamer(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        for one in [node, *_outer(node, self.old)]:
            if isinstance(one, ast.Name) and one.id == self.old:
                one.id = self.new
            elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                one.name = self.new if one.name == self.old else one.name
            elif isinstance(one, ast.Global):
                one.names = [self.new if name == self.old else name for name in one.names]
        return node
