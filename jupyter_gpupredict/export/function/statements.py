"""The top-level statements of a cell: what they are in plain Python, and to an export.

The only importer of IPython's transformer. IPython's syntax becomes calls, which are translated,
dropped or kept. A call that is kept here is one that a module cannot hold; whoever needs its
statement refuses it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from IPython.core.inputtransformer2 import TransformerManager

from jupyter_gpupredict.export.function import names
from jupyter_gpupredict.export.function.magics import (
    MEASURED,
    OURS,
    UNWRAPPED,
    CellCode,
    Mark,
    instead_of,
    left_to_others,
    magic,
    shown,
)
from jupyter_gpupredict.export.function.secrets import (
    argument_defaults,
    comment_tokens,
    is_environ,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from jupyter_gpupredict.export.deployment import Cell
    from jupyter_gpupredict.export.function.names import Names


_MARK = re.compile(r"#\s*(?:gpupredict:\s*(setup|ignore)|(?:nuclio|mlrun):\s*(ignore))\s*$")
_IGNORING = frozenset({"nuclio-ignore", "mlrun-ignore", "gpupredict-ignore"})


def read_cell(
    cell: Cell, setup: tuple[str, ...] = (), *, replay: bool = False, own: bool = False
) -> CellCode:
    """Return a cell as Python; a tag, or its number as in `In [3]`, may mark it as `setup`.

    Args:
        cell: The cell.
        setup: Tags, and numbers of cells.
        replay: See `CellCode`.
        own: See `CellCode`.

    Raises:
        SyntaxError: The cell is not Python, even after IPython's transformations.
    """
    text, first_line = _without_wrappers(cell.source)
    manager = TransformerManager()  # type: ignore[no-untyped-call]  # IPython
    source = manager.transform_cell(text)
    blank = len(text) - len(text.lstrip())
    code = CellCode(
        cell.label,
        source,
        ast.parse(source),
        first_line + text[:blank].count("\n"),
        failed=cell.failed,
        measured=bool(MEASURED.match(cell.source)),
        isolated=bool(re.match(r"\s*%%gpupredict\b.*\s--isolate\b", cell.source)),
        replay=replay,
        own=own,
    )
    if first_line > 1:
        wrappers = re.findall(r"^%%(\w+)", cell.source, re.MULTILINE)
        code.notes += [
            f"{cell.label}: %%{name} was left out, its body kept"
            for name in wrappers
            if name not in OURS
        ]
    numbers = set(re.findall(r"\d+", cell.label))
    if set(cell.tags) & _IGNORING:
        code.mark = "ignore"
    elif set(cell.tags) & {"gpupredict-setup", *setup} or numbers & set(setup):
        code.mark = "setup"
    _read_marks(code)
    _translate(code)
    code.silenced = _silenced(code)
    return code


def _without_wrappers(text: str) -> tuple[str, int]:
    """Return the body below our own magic and those that merely run it, and its first line."""
    first_line = 1
    while True:
        stripped = text.lstrip()
        head, newline, body = stripped.partition("\n")
        found = re.match(r"%%(\w+)(\s.*)?$", head)
        if found is None or found[1] not in UNWRAPPED | {"gpupredict"}:
            return text, first_line
        first_line += text[: len(text) - len(stripped)].count("\n") + bool(newline)
        text = body


def _read_marks(code: CellCode) -> None:
    """Find `# gpupredict: setup` and `ignore`: behind a statement, above one, or atop the cell."""
    starts = [node.lineno for node in code.tree.body]
    for token in comment_tokens(code.source):
        line, mark = token.start[0], _mark(token.string)
        if mark is None:
            continue
        if not token.line[: token.start[1]].strip():  # a line of its own
            if not starts or line < starts[0]:
                code.mark = code.mark or mark
                continue
            line = min((start for start in starts if start > line), default=line)
        code.marks[line] = mark
    for node in ast.walk(code.tree):
        found = magic(node)
        if found is not None and isinstance(node, ast.Call):  # its comment is in its argument
            mark = _mark(found[1])
            if mark is not None:
                code.marks[node.lineno] = mark


def _mark(text: str) -> Mark | None:
    found = _MARK.search(text)
    if found is None:
        return None
    return "setup" if found[1] == "setup" else "ignore"


def _translate(code: CellCode) -> None:
    """Take out the magics that mean something else in a function, or nothing."""
    lines = code.source.splitlines()
    changed = False
    for node in ast.walk(code.tree):
        found = magic(node.value) if isinstance(node, ast.Expr) else None
        if found is None or not isinstance(node, ast.Expr):
            continue
        instead = instead_of(code, node.lineno, *found)
        if instead is None:
            continue
        changed = True
        first, last = node.lineno - 1, node.end_lineno or node.lineno
        kept = instead or ("" if node in code.tree.body else "pass")
        indent = lines[first][: node.col_offset] if kept else ""
        lines[first:last] = [indent + kept, *[""] * (last - first - 1)]
    if changed:
        code.source = "\n".join(lines) + "\n"
        code.tree = ast.parse(code.source)


def _silenced(code: CellCode) -> bool:
    """Whether a semicolon ends the last expression, which IPython takes as: show no value."""
    if not code.tree.body or not isinstance(code.tree.body[-1], ast.Expr):
        return False
    node = code.tree.body[-1]
    line = code.source.encode().splitlines()[(node.end_lineno or node.lineno) - 1]
    return line[node.end_col_offset :].lstrip().startswith(b";")


Order = tuple[int, int]
"""(cell, statement), in the order of execution."""


class Kind(Enum):
    """How the effect of a statement can be had elsewhere."""

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
    def marked(self) -> bool:
        """Whether its author wants it to run again."""
        return "setup" in (self.cell.mark, self.cell.marks.get(self.node.lineno))

    @property
    def span(self) -> tuple[int, int]:
        """Its first line in the source, that of the comments directly above it, and its last."""
        lines, node = self.cell.source.splitlines(), self.node
        others = [n for n in self.cell.tree.body if n is not node]
        above = max((n.end_lineno or 0 for n in others if n.lineno < node.lineno), default=0)
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(one.lineno for one in decorators)])
        while first - 1 > above and lines[first - 2].lstrip().startswith("#"):
            first -= 1
        return first, node.end_lineno or node.lineno

    @property
    def text(self) -> str:
        """Its source, with the comments directly above it."""
        if self.node.lineno in self.cell.expanded:
            return ast.unparse(self.node) + "\n"
        first, last = self.span
        others = (n for n in self.cell.tree.body if n is not self.node)
        if any((n.end_lineno or 0) >= first and n.lineno <= last for n in others):
            return ast.unparse(self.node) + "\n"  # several on one line
        lines = self.cell.source.splitlines(keepends=True)
        return "".join(lines[first - 1 : last]).rstrip("\n") + "\n"


def split(
    code: CellCode, number: int, *, lazy: bool = False, own: Collection[str] = ()
) -> Iterator[Statement]:
    """Yield the statements of the cell with this number; ignored ones are noted and left out.

    `own`: names that the notebook binds, as for `names.of_statements`.
    """
    if code.mark == "ignore":
        code.notes.append(f"{code.label} was left out, as it is marked")
        return
    for index, node in enumerate(code.tree.body):
        mark = code.marks.get(node.lineno) or code.mark
        if mark == "ignore":
            code.notes.append(f"{code.place(node.lineno)} was left out, as it is marked")
            continue
        if code.replay and left_to_others(code, node):
            continue
        found = names.of_statements([node], lazy=lazy, own=own)
        kind = _kind(node)
        if found.perhaps and kind is Kind.DEFINITION:
            kind = Kind.LIVE  # what was before it may still count
        if kind is Kind.LIVE and (mark == "setup" or (code.replay and not code.measured)):
            kind = Kind.SETUP
        yield Statement((number, index), code, node, kind, found)


def literals(node: ast.stmt) -> dict[str, ast.expr]:
    """Return name -> value of an assignment of literals to plain names; else empty."""
    targets, value = _assignment(node)
    if value is None:
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


def _assignment(node: ast.stmt) -> tuple[list[ast.expr], ast.expr | None]:
    """Return targets and value of an assignment; no value of any other statement."""
    match node:
        case ast.Assign(targets=targets, value=value):
            return targets, value
        case ast.AnnAssign(target=target, value=value):
            return [target], value
        case _:
            return [], None


def is_literal(node: ast.expr) -> bool:
    """Whether an expression is made of constants alone."""
    return all(isinstance(inner, _PURE) for inner in ast.walk(node))


_PURE = (
    ast.Constant, ast.UnaryOp, ast.BinOp, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.operator,
    ast.unaryop, ast.expr_context,
)  # fmt: skip
_NAMED = (
    *_PURE, ast.Name, ast.BoolOp, ast.Compare, ast.IfExp, ast.JoinedStr, ast.FormattedValue,
    ast.Subscript, ast.Slice, ast.Starred, ast.boolop, ast.cmpop,
)  # fmt: skip


def _kind(node: ast.stmt) -> Kind:
    if any(magic(inner) for inner in ast.walk(node)):
        return Kind.MAGIC
    match node:
        case ast.Import() | ast.ImportFrom():
            return Kind.IMPORT
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return Kind.DEFINITION
        case ast.If() | ast.Try() if _guarded(node):
            return Kind.DEFINITION
    targets, value = _assignment(node)
    if value is None:
        return Kind.LIVE
    if literals(node):
        return Kind.LITERAL
    if not all(isinstance(target, ast.Name) for target in targets):
        return Kind.LIVE
    if isinstance(value, ast.Lambda):
        return Kind.DEFINITION
    derived = all(isinstance(inner, _NAMED) or is_environ(inner) for inner in ast.walk(value))
    return Kind.DERIVED if derived else Kind.LIVE


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


def magic_words(statement: Statement) -> str:
    """Return how a message names a statement with IPython's syntax."""
    found = next(one for n in ast.walk(statement.node) if (one := magic(n)))
    return f"{statement.place}: {shown(found)} works in a notebook only"


def listed(found: Iterable[str]) -> str:
    """Return names for a message."""
    return ", ".join(sorted(found))


@dataclass(frozen=True, slots=True)
# ---- a cell that is one function ---------------------------------------------------------------


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
