"""Takes credentials out of code: the environment or the caller gives them instead."""

from __future__ import annotations

import ast
import functools
import io
import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.function.detectors import judge
from jupyter_gpupredict.export.function.secrets import (
    comment_tokens,
    comments,
    in_comment,
    line_of,
    literals,
    pieces,
    suspects,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from jupyter_gpupredict.export.function.detectors import Span

_LEFT_OUT = "# left out: it held what looks like a credential"
_Edit = tuple[int, int, str]
"""Where in the source, in bytes, and what stands there instead."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A credential that was taken out; its value is not kept."""

    place: str
    kind: str
    name: str
    """The variable, or the parameter, that holds it; empty for a comment, which needs none."""


@dataclass(slots=True)
class Remedy:
    """One way for all sources of an export, so that the same credential has one name."""

    way: str
    """Who gives them: `env`, the environment, or `param`, the caller."""
    reserved: set[str] = field(default_factory=set)
    """Names that mean something else in the code."""
    names: dict[str, str] = field(default_factory=dict, repr=False)
    """Credential -> its name."""
    given: set[str] = field(default_factory=set)
    """Names that the caller gives."""
    taken: list[Taken] = field(default_factory=list)

    def apply(self, source: str, place: Callable[[int], str]) -> str:
        """Return Python without its credentials, on the same lines; what cannot be had stays.

        `place` returns how a message names a line.
        """
        kept = {one.line for one in suspects(source) if one.allowed}
        tree = ast.parse(source)
        fixed = {id(node) for node in _fixed(tree)}
        assigned = dict(_assigned(tree)) if self.way == "param" else {}
        instead: dict[int, ast.expr] = {}
        for one in literals(tree):
            spans = judge(one.text, one.place)
            lines = [line_of(one, span) for span in spans]
            if not spans or id(one.node) in fixed or kept.intersection(lines):
                continue
            own = assigned.get(id(one.node))
            if own is not None and spans[0][:2] == (0, len(one.text)):
                names = [own]  # the caller gives it instead of this statement
                self.given.add(own)
            else:
                names = [self._name(one.text[s.start : s.end], s.variable) for s in spans]
                reads = [self._read(name) for name in names]
                instead[id(one.node)] = _joined(one.node, spans, reads)
            self.taken += [
                Taken(place(line), span.kind, name)
                for line, span, name in zip(lines, spans, names, strict=True)
            ]
        edits = [*_edits(tree, source, instead), *self._comments(source, place, kept)]
        data = source.encode()
        for begin, end, text in sorted(edits, reverse=True):
            data = data[:begin] + text.encode() + data[end:]
        return data.decode()

    def _name(self, value: str, wanted: str) -> str:
        if value not in self.names:
            name = wanted if self.way == "env" else wanted.lower()
            taken = {*self.names.values(), *self.reserved}
            numbered = (f"{name}_{number}" for number in itertools.count(2))
            free = (one for one in itertools.chain([name], numbered) if one not in taken)
            self.names[value] = next(free)
        return self.names[value]

    def _read(self, name: str) -> ast.expr:
        if self.way == "param":
            self.given.add(name)
            return ast.Name(name, ast.Load())
        environ = ast.Attribute(ast.Name("os", ast.Load()), "environ", ast.Load())
        return ast.Subscript(environ, ast.Constant(name), ast.Load())

    def _comments(
        self, source: str, place: Callable[[int], str], kept: set[int]
    ) -> Iterator[_Edit]:
        found = {
            first + row: span.kind
            for first, text in comments(source)
            for rows, _, span in in_comment(text)
            for row in rows
        }
        starts = _starts(source)
        for token in comment_tokens(source):
            line = token.start[0]
            if line in found and line not in kept:
                begin = starts[line - 1] + len(token.line[: token.start[1]].encode())
                self.taken.append(Taken(place(line), found[line], ""))
                yield begin, begin + len(token.string.encode()), _LEFT_OUT


def with_import(source: str) -> str:
    """Return a module that imports `os`, behind its docstring and what has to stand before."""
    tree = ast.parse(source)
    first = 0
    for node in tree.body:
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not text and getattr(node, "module", "") != "__future__":
            break
        first = node.end_lineno or 0
    lines = source.splitlines(keepends=True)
    return "".join([*lines[:first], "import os\n", *lines[first:]])


def _assigned(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the strings that are assigned to one name, each with that name."""
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant() as value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant() as value)
            ):
                yield id(value), name


def _fixed(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield literals where only a literal may stand."""
    for node in ast.walk(tree):
        match node:
            case ast.MatchValue(value=value):
                yield from ast.walk(value)
            case ast.FormattedValue(format_spec=ast.expr() as spec):
                yield spec


def _joined(node: ast.expr, spans: Sequence[Span], reads: Sequence[ast.expr]) -> ast.expr:
    """Return a string's expression in which other expressions stand for parts of it."""
    atoms: list[str | ast.expr] = []
    for piece in pieces(node) or ():
        atoms += [piece] if isinstance(piece, ast.expr) else piece
    raw = any(isinstance(getattr(one, "value", None), bytes) for one in ast.walk(node))
    parts: list[ast.expr] = []
    at = 0
    for span, read in zip(spans, reads, strict=True):
        parts += _string(atoms[at : span.start], raw=raw)
        parts.append(ast.Call(ast.Attribute(read, "encode", ast.Load()), [], []) if raw else read)
        at = span.end
    parts += _string(atoms[at:], raw=raw)
    return functools.reduce(lambda left, right: ast.BinOp(left, ast.Add(), right), parts)


def _string(atoms: Sequence[str | ast.expr], *, raw: bool) -> Iterator[ast.expr]:
    """Yield expressions for a part of a string: plain text, f-strings, what is added to them."""
    inside = str | ast.FormattedValue
    for quoted, group in itertools.groupby(atoms, lambda one: isinstance(one, inside)):
        parts = list(group)
        texts = [one for one in parts if isinstance(one, str)]
        values = [one if isinstance(one, ast.expr) else ast.Constant(one) for one in parts]
        if not quoted:
            yield from values
        elif len(texts) < len(parts):
            yield ast.JoinedStr(values)
        else:
            text = "".join(texts)
            yield ast.Constant(text.encode("latin-1") if raw else text)


class _Replacing(ast.NodeTransformer):
    def __init__(self, instead: Mapping[int, ast.expr]) -> None:
        self.instead = instead

    def visit(self, node: ast.AST) -> ast.AST:
        new = self.instead.get(id(node), node)
        self.generic_visit(new)
        return new


def _edits(tree: ast.AST, source: str, instead: Mapping[int, ast.expr]) -> Iterator[_Edit]:
    starts = _starts(source)
    data = source.encode()
    queue = [tree]
    while queue:
        node = queue.pop()
        inside = isinstance(node, ast.JoinedStr) and any(id(n) in instead for n in ast.walk(node))
        if not isinstance(node, ast.expr) or not (id(node) in instead or inside):
            queue.extend(ast.iter_child_nodes(node))
            continue
        begin = starts[node.lineno - 1] + node.col_offset
        last = node.end_lineno or node.lineno
        end = starts[last - 1] + (node.end_col_offset or 0)
        breaks = "\n" * (last - node.lineno)
        try:
            text = ast.unparse(ast.fix_missing_locations(_Replacing(instead).visit(node)))
        except ValueError:
            continue  # an f-string that cannot be written: it is found again, and refused
        apart = " " * data[begin - 1 : begin].isalnum(), " " * data[end : end + 1].isalnum()
        simple = re.fullmatch(r"\w+|os\.environ\['\w+'\]", text)
        if simple:
            text = text.replace("'", '"')
        if breaks or not simple:
            text = f"({text}{breaks})"
        yield begin, end, f"{apart[0]}{text}{apart[1]}"


def _starts(source: str) -> list[int]:
    """Return the byte at which each line begins, as Python counts lines."""
    lengths = (len(line.encode()) for line in io.StringIO(source))
    return list(itertools.accumulate(lengths, initial=0))
