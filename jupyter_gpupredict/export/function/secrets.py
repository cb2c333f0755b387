"""Where code, or any text, holds what looks like a credential; which variables code reads."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from jupyter_gpupredict.export.function.detectors import (
    NOWHERE,
    Place,
    Span,
    is_login,
    is_secret_name,
    judge,
    letters,
    may_be_secret_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SETS = re.compile(
    r"(set|get|put|pop)(attr|default|env|item)?|(add|put|set)header|addargument|option"
)
"""Calls whose first argument names what the second is."""
_FILE = re.compile(
    r"(?i)\.(zip|t?[gx]z|tar|bz2|7z|rar|[ct]sv|txt|jsonl?|parquet|pth?|bin|ckpt|h5|hdf5|pkl|np[yz]"
    r"|onnx|safetensors|gguf|model|whl|png|jpe?g|mp4|wav)$"
)
_PRAGMA = re.compile(r"pragma: ?(?:allow|white)list( nextline)? secret|gitleaks:allow")


@dataclass(frozen=True, slots=True)
class Suspect:
    """A place where something looks like a credential; its value is never printed."""

    line: int
    kind: str
    value: str = field(repr=False, compare=False)
    allowed: bool = False
    """A pragma on its line says that it may stay."""


class Literal(NamedTuple):
    """A string in code, joined from its pieces; NUL stands where a value is put into it."""

    node: ast.expr
    text: str
    place: Place


_CHECKSUM = Place("checksum")


def suspects(text: str) -> list[Suspect]:
    """Return where source, or any text, holds what looks like a credential, by line."""
    tree = _parsed(text)
    if tree is None:
        found = [(1 + _breaks(text, span), text, span) for span in judge(text)]
    else:
        found = [(line_of(one, span), one.text, span) for one, span in _judged(tree)]
        for first, comment in comments(text):
            found += [(first + rows[0], holder, span) for rows, holder, span in in_comment(comment)]
    lines = enumerate(text.splitlines(), start=1)
    allowed = {n + bool(pragma[1]) for n, line in lines if (pragma := _PRAGMA.search(line))}
    unique = {
        Suspect(line, span.kind, holder[span.start : span.end], line in allowed)
        for line, holder, span in found
    }
    return sorted(unique, key=lambda one: (one.line, one.kind))


def line_of(one: Literal, span: Span) -> int:
    """Return the line on which a part of a literal stands, as far as the literal has lines."""
    as_written = (one.node.end_lineno or 0) - one.node.lineno == one.text.count("\n")
    return one.node.lineno + as_written * _breaks(one.text, span)


def literals(tree: ast.AST) -> Iterator[Literal]:
    """Yield every string of code with what stands around it."""
    queue: list[tuple[ast.AST, Place]] = [(tree, NOWHERE)]
    while queue:
        node, place = queue.pop()
        text = _text(node)
        if text is not None and isinstance(node, ast.expr):
            yield Literal(node, text, place)
        if text is None or isinstance(node, ast.JoinedStr | ast.BinOp):
            queue.extend(reversed(list(_children(node, place))))


def comment_tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    """Yield the comments of source, as far as it can be read as Python."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token
    except (tokenize.TokenError, SyntaxError):
        return


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield first line and text of each comment; comments on consecutive lines are one."""
    first, lines = 0, list[str]()
    for token in comment_tokens(source):
        if token.start[0] != first + len(lines):
            if lines:
                yield first, "\n".join(lines)
            first, lines = token.start[0], []
        lines.append(token.string[1:].removeprefix(" "))
    if lines:
        yield first, "\n".join(lines)


def in_comment(text: str) -> Iterator[tuple[range, str, Span]]:
    """Yield what looks like a credential in a comment, which may be code: rows, text and part."""
    for span in judge(text):
        yield range(_breaks(text, span), text.count("\n", 0, span.end) + 1), text, span
    for one, span in _judged(_parsed(text)):
        yield range(line_of(one, span) - 1, one.node.end_lineno or 1), one.text, span


def environment_names(tree: ast.AST) -> tuple[str, ...]:
    """Return the environment variables that code names: `os.environ`, `os.getenv`, `environ`."""
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        key: ast.expr
        value: ast.expr
        match node:
            case ast.Subscript(value=value, slice=key) if is_environ(value):
                pass
            case ast.Call(func=ast.Attribute(value=value, attr=method), args=[key, *_]) if (
                is_environ(value) and method in ("get", "pop", "setdefault", "__getitem__")
            ):
                pass
            case ast.Call(
                func=(ast.Attribute(attr="getenv") | ast.Name(id="getenv")), args=[key, *_]
            ):
                pass
            case ast.Compare(left=key, comparators=[value, *_]) if is_environ(value):
                pass
            case _:
                continue
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            found[key.value] = None
    return tuple(found)


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _judged(tree: ast.Module | None) -> Iterator[tuple[Literal, Span]]:
    for one in literals(tree) if tree is not None else ():
        for span in judge(one.text, one.place):
            yield one, span


def _breaks(text: str, span: Span) -> int:
    return text.count("\n", 0, span.start)


# ---- what stands around a literal ----------------------------------------------------------------


def pieces(node: ast.AST) -> list[str | ast.expr] | None:
    """Return the texts of a string, and the values put between them; None: it is not a string."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.Constant(value=bytes(raw)):
            return [raw.decode("latin-1")]
        case ast.JoinedStr(values=values):
            return [one for value in values for one in pieces(value) or [value]]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            sides = [(side, pieces(side)) for side in (left, right)]
            if any(found is not None for _, found in sides):
                return [one for side, found in sides for one in found or [side]]
    return None


def _text(node: ast.AST) -> str | None:
    found = pieces(node)
    if found is None:
        return None
    return "".join(one if isinstance(one, str) else "\0" for one in found)


def _children(node: ast.AST, place: Place) -> Iterator[tuple[ast.AST, Place]]:
    """Yield what a node is made of, each with what then stands around it."""
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from _assigned(targets, value)
        case (
            ast.AnnAssign(target=target, value=ast.expr() as value)
            | ast.AugAssign(target=target, value=value)
            | ast.NamedExpr(target=target, value=value)
        ):
            yield from _assigned([target], value)
        case ast.keyword(arg=name, value=value):
            yield value, Place(name) if name else place
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if key is not None:
                    yield key, Place(is_key=True)
                yield value, Place(_text(key) or place.name) if key is not None else place
        case ast.arguments():
            yield from ((value, Place(name)) for name, value in argument_defaults(node))
        case ast.Call():
            yield from _arguments(node, place)
        case ast.Subscript(value=value, slice=key):
            yield value, place
            yield key, Place(is_key=True)
        case ast.Compare(left=left, comparators=others):
            sides = [left, *others]
            names = [_named(one) for one in sides]
            for n, one in enumerate(sides):
                yield one, Place(next((name for name in (*names[:n], *names[n + 1 :]) if name), ""))
        case ast.Tuple(elts=parts) if _names_file(parts):
            yield from ((one, _CHECKSUM) for one in parts)
        case ast.Tuple(elts=[first, second]) if (name := _text(first)) is not None:
            yield first, place
            paired = "password" if letters(place.name).endswith("auth") else place.name
            yield second, Place(name if may_be_secret_name(name) else paired)
        case ast.JoinedStr(values=values):
            yield from ((one, NOWHERE) for one in values if isinstance(one, ast.FormattedValue))
        case ast.BinOp(left=left, right=right) if _text(node) is not None:  # judged as a whole
            for side in (left, right):
                if _text(side) is None:
                    yield side, NOWHERE
                elif not isinstance(side, ast.Constant):
                    yield from _children(side, NOWHERE)
        case ast.List() | ast.Tuple() | ast.Set() | ast.BinOp() | ast.BoolOp() | ast.IfExp():
            yield from ((one, place) for one in ast.iter_child_nodes(node))
        case _:
            yield from ((one, NOWHERE) for one in ast.iter_child_nodes(node))


def _assigned(targets: Sequence[ast.expr], value: ast.expr) -> Iterator[tuple[ast.AST, Place]]:
    for target in targets:
        yield target, NOWHERE
        match target, value:
            case (
                (ast.Tuple(elts=places) | ast.List(elts=places)),
                ast.Tuple(elts=values),
            ) if len(places) == len(values):
                for one, inner in zip(places, values, strict=True):
                    yield from _assigned([one], inner)
                return
    names = [name for name in map(_named, targets) if name]
    yield value, Place(next((n for n in names if is_secret_name(n)), names[0] if names else ""))


def argument_defaults(node: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    """Yield the parameters that have a default, each with it."""
    given = [*node.posonlyargs, *node.args]
    for one, value in zip(given[len(given) - len(node.defaults) :], node.defaults, strict=True):
        yield one.arg, value
    for one, default in zip(node.kwonlyargs, node.kw_defaults, strict=True):
        if default is not None:
            yield one.arg, default


def _arguments(node: ast.Call, place: Place) -> Iterator[tuple[ast.AST, Place]]:
    called = dotted(node.func)
    last = letters(called.rpartition(".")[2])
    on_text = isinstance(node.func, ast.Attribute) and _text(node.func.value) is not None
    yield (node.func.value, place) if on_text else (node.func, NOWHERE)  # type: ignore[attr-defined]
    name = ""
    for position, one in enumerate(node.args):
        if _names_file(node.args):
            yield one, _CHECKSUM
        elif name:
            yield one, Place(name)
        elif position + 1 < len(node.args) and is_login(last):
            yield one, NOWHERE
        else:
            yield one, Place(called=called, alone=len(node.args) == 1)
        name = (_text(one) or "").lstrip("-") if _SETS.fullmatch(last) else ""
    named = (_text(node.args[0]) or "").lstrip("-") if node.args else ""
    for word in node.keywords:
        if word.arg in ("default", "value") and named:
            yield word.value, Place(named)
        else:
            yield word, place


def _names_file(parts: Sequence[ast.expr]) -> bool:
    """Whether the first of several values is a file, or its address: a checksum may follow."""
    if len(parts) < 2:
        return False
    texts = [one.value for one in ast.walk(parts[0]) if isinstance(one, ast.Constant)]
    last = texts[-1] if texts and isinstance(texts[-1], str) else ""
    return _FILE.search(re.sub(r"^\w+://[^/]*", "", last)) is not None


def _named(target: ast.expr) -> str:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case ast.Call(func=function):
            return _named(function)
        case _:
            return ""


def dotted(node: ast.expr) -> str:
    """Return the names of an expression such as `a.b().c`, without what is passed."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{dotted(value)}.{name}".lstrip(".")
        case ast.Call(func=function):
            return f"{dotted(function)}()"
        case _:
            return ""


def is_environ(node: ast.AST) -> bool:
    """Whether an expression is the environment: `os.environ`, `environ`."""
    return "environ" in (getattr(node, "attr", ""), getattr(node, "id", ""))
