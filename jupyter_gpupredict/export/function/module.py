"""The text of `train_fn.py`: imports, definitions, defaults, the cell, and `train` around it."""

from __future__ import annotations

import ast
import copy
import io
import itertools
import sys
import tokenize
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import ExportError, UnsupportedCell
from jupyter_gpupredict.export.function import names
from jupyter_gpupredict.export.function.container import template
from jupyter_gpupredict.export.function.placing import Binding, mentioned
from jupyter_gpupredict.export.function.slicing import literals_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jupyter_gpupredict.export.function.slicing import Slice
    from jupyter_gpupredict.export.function.statements import Statement


_PACKAGE = "jupyter_gpupredict"
RESERVED = (
    "train",
    "_cell",
    "_plain",
    "_described",
    "_save",
    "_values",
    "_known",
    "_DEFAULTS",
    "_REQUIRED",
    "_OPTIONAL",
)
_ARGUMENT = ("_values",)
"""Names that the function around the cell has for itself."""
BEGIN = "# The measured cell begins here."
"""Stands below what runs before the cell, where anything does."""
_INDENT = "    "
_STAND_INS = ("track", "phase", "epoch")


def is_ours(node: ast.AST) -> bool:
    """Whether a statement imports one name of this package."""
    match node:
        case ast.ImportFrom(module=str(name), level=0) | ast.Import(names=[ast.alias(name=name)]):
            return name.partition(".")[0] == _PACKAGE
        case _:
            return False


def _stand_in(node: ast.Import | ast.ImportFrom, name: str, place: str) -> str | None:
    """Return the text that takes the place of an import of ours; None for any other import."""
    wanted = node.names[0].name
    if not is_ours(node):
        return None
    if isinstance(node, ast.Import):
        methods = "".join(f"@staticmethod\n{_function(one)}" for one in _STAND_INS)
        return f'class {name}:\n    """Nothing is measured here."""\n\n{indent(methods)}'
    if wanted in _STAND_INS:
        return _function(wanted, name)
    raise UnsupportedCell(
        f"{place}: {_PACKAGE} is there for notebooks, not for functions",
        f"of it, {', '.join(_STAND_INS)} may stand in the cell",
    )


def _function(wanted: str, name: str = "") -> str:
    """Return one of our own functions as one that does nothing, under this name."""
    body = ast.parse(template("standins.py.txt")).body
    functions = {one.name: one for one in body if isinstance(one, ast.FunctionDef)}
    functions[wanted].name = name or wanted
    return ast.unparse(functions[wanted]) + "\n"


def module_text(found: Slice, name: str, label: str, *, measured: bool = False) -> str:
    """Return the module of a slice.

    Raises:
        ExportError: The module does not compile, or reads a name it lacks: a bug of ours.
    """
    renamed = _renamed(found)
    standing: list[str] = []
    imports: list[str] = []
    early: list[Binding | Statement] = [*found.placed.imports, *found.placed.early]
    early.sort(key=lambda one: one.order)
    for _, group in itertools.groupby(early, type):
        together = list(group)
        settings = [one for one in together if not isinstance(one, Binding)]
        bindings = [one for one in together if isinstance(one, Binding)]
        imports += ["\n", *(_text(one, renamed) for one in settings)] if settings else []
        imports += _imports(bindings, standing, renamed, measured=measured)
    imports += [f"\nfrom {name} import *\n" for name in found.unresolved]
    parts = [
        f'"""{name}: the code of {label} and what it needs, as one function."""\n',
        f"\nfrom __future__ import {', '.join(found.futures)}\n" if found.futures else "",
        "".join(imports),
    ]
    if found.displays:
        parts.append("\n\n" + _function("display"))
    parts += [f"\n\n{text}" for text in standing]
    block = True  # a definition stands apart from what is before and after it
    for statement in found.placed.module:
        apart = block or hasattr(statement.node, "body")
        parts.append("\n\n" * apart + _text(statement, renamed))
        block = hasattr(statement.node, "body")
    parts += ["\n\n", _tables(found), "\n\n", _cell(found, renamed), "\n\n"]
    tail = template("train_async.py.txt" if found.waits else "train_sync.py.txt")
    saving = [template("save.py.txt"), "\n\n"] if found.saves else []
    text = "".join([*parts, *saving, template("train.py.txt"), "\n\n", tail])
    if not found.unresolved:
        _check(text)
    return text


def indent(text: str) -> str:
    r"""Return source moved in by one level; lines inside string literals stay as they are.

    >>> print(indent("a = '''x\n  y'''\nb = 1"))
        a = '''x
      y'''
        b = 1
    """
    inside: set[int] = set()
    begun: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING":
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
        elif kind in ("FSTRING_START", "TSTRING_START"):
            begun.append(token.start[0])
        elif kind in ("FSTRING_END", "TSTRING_END"):
            inside.update(range(begun.pop() + 1, token.end[0] + 1))
    lines = text.splitlines(keepends=True)
    return "".join(
        line if number in inside or not line.strip() else _INDENT + line
        for number, line in enumerate(lines, start=1)
    )


def _imports(
    bindings: Iterable[Binding], standing: list[str], renamed: Mapping[str, str], *, measured: bool
) -> list[str]:
    """Return import lines, standard library first; stand-ins for our own go to `standing`."""
    nodes: dict[str, ast.Import | ast.ImportFrom] = {}
    for one in bindings:
        text = _stand_in(one.node, renamed.get(one.name, one.name), one.place)
        if text is not None and not measured:
            standing.append(text)
            continue
        node = absolute(one.node)
        if one.name in renamed:
            node = _under(node, renamed[one.name], one.place)
        key = ast.unparse(node) if isinstance(node, ast.Import) else node.module or ""
        same = nodes.get(key)
        if same is None:
            nodes[key] = copy.deepcopy(node)
        elif isinstance(node, ast.ImportFrom):
            same.names += node.names
    standard: list[str] = []
    others: list[str] = []
    for node in nodes.values():
        module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        root = (module or "").partition(".")[0]
        (standard if root in sys.stdlib_module_names else others).append(ast.unparse(node))
    return ["\n" + "".join(f"{line}\n" for line in group) for group in (standard, others) if group]


def _under(node: ast.Import | ast.ImportFrom, name: str, place: str) -> ast.Import | ast.ImportFrom:
    """Return an import of one name that binds another."""
    found = copy.deepcopy(node)
    alias = found.names[0]
    if isinstance(found, ast.Import) and "." in alias.name and alias.asname is None:
        raise UnsupportedCell(
            f"{place}: the function needs the name {alias.name.partition('.')[0]} itself",
            "import the module under another name: import ... as ...",
        )
    alias.asname = name
    return found


def absolute(node: ast.Import | ast.ImportFrom) -> ast.Import | ast.ImportFrom:
    """Return an import as the folder needs it: no package around, no notebook widgets.

    Relative imports become absolute, and `tqdm.notebook` becomes `tqdm`. Not `tqdm.auto`: that
    calls `iter` once more, and a shuffling loader draws from the random numbers at each call.
    """
    if isinstance(node, ast.Import):
        return node
    if node.module == "tqdm.notebook" and not node.level:
        plain = {"tqdm_notebook": "tqdm", "tnrange": "trange"}
        names = [
            ast.alias(plain[one.name], one.asname or one.name) if one.name in plain else one
            for one in node.names
        ]
        return ast.ImportFrom("tqdm", names, 0)
    if not node.level:
        return node
    if node.module:
        return ast.ImportFrom(node.module, node.names, 0)
    return ast.Import(node.names)


def _text(statement: Statement, renamed: Mapping[str, str], given: Sequence[str] = ()) -> str:
    """Return a statement's source, its imports absolute, and names renamed that the module has."""
    text = statement.text
    inner = [node for node in ast.walk(statement.node) if isinstance(node, ast.ImportFrom)]
    if any(absolute(node) is not node for node in inner):
        text = ast.unparse(_Absolute().visit(ast.parse(text))) + "\n"
    for old, new in renamed.items():
        if old in text:
            text = rename(text, old, new)
    return _tuned(text, given)


def _tuned(text: str, given: Sequence[str]) -> str:
    """Return a statement's source with the names of parameters in the place of its literals."""
    if not given:
        return text
    found = literals_of(ast.parse(text).body[0])
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    edits = [
        (one.lineno, one.col_offset, one.end_col_offset, name)
        for (one, _), name in zip(found, given, strict=True)
    ]
    for row, begin, end, name in sorted(edits, reverse=True):
        line = lines[row - 1]
        lines[row - 1] = line[:begin] + name.encode() + line[end:]
    return b"".join(lines).decode()


class _Absolute(ast.NodeTransformer):
    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:  # noqa: N802 - ast's name
        return absolute(node)


def parameters(found: Slice) -> tuple[dict[str, ast.expr], list[str], list[str]]:
    """Return the defaults, the required names, and those that need neither."""
    defaults = dict(found.placed.defaults)
    required = list(found.placed.required)
    entry = found.entry
    if entry is None:
        return defaults, required, []
    defaults |= {n: v for n, v in entry.defaults if n not in found.placed.required}
    required += [name for name in entry.required if name not in required]
    if not entry.takes_params:
        known = {*defaults, *required}
        return defaults, required, [name for name in entry.names if name not in known]
    value = defaults.pop("params", None)
    if isinstance(value, ast.Dict) and all(isinstance(key, ast.Constant) for key in value.keys):
        pairs = zip(value.keys, value.values, strict=True)
        defaults |= {str(k.value): v for k, v in pairs if isinstance(k, ast.Constant)}
    return defaults, required, []


def _tables(found: Slice) -> str:
    """Return the tables of parameters."""
    defaults, required, optional = parameters(found)
    rows = [f"{_INDENT}{name!r}: {ast.unparse(value)},\n" for name, value in defaults.items()]
    table = "".join(["\n", *rows]) if rows else ""
    known = None if found.entry is not None and found.entry.takes_any else tuple(optional)
    return f"_DEFAULTS = {{{table}}}\n_REQUIRED = {tuple(required)!r}\n_OPTIONAL = {known!r}\n"


def _cell(found: Slice, renamed: Mapping[str, str]) -> str:
    """Return the function that holds the cell."""
    placed, entry = found.placed, found.entry
    lines = ['"""Run the cell; its names are this call\'s alone, unless they are declared."""\n']
    shared = sorted(renamed.get(name, name) for name in placed.shared)
    if shared:
        lines.append(f"global {', '.join(shared)}\n")
    restored = sorted(renamed.get(name, name) for name in placed.restored)
    lines += [f"globals().pop({name!r}, None)  # Python's own, at first\n" for name in restored]
    read = mentioned(placed.body)
    if "__name__" in read:
        lines.append('__name__ = "__main__"  # as in a notebook\n')
    if "locals" in read:
        lines.append("locals = globals  # as in a notebook\n")
    own = () if entry is None else entry.names
    names_given = [*(name for name, _ in placed.defaults), *placed.required]
    given = [name for name in names_given if name not in own]
    for name in given:
        target = renamed.get(name, name) if name in placed.shared or name in _ARGUMENT else name
        lines.append(f"{target} = _values[{name!r}]\n")
    lines += [_text(one, renamed, found.tuned.get(one.order, ())) for one in placed.prelude]
    lines += [f"{BEGIN}\n"] * bool(placed.prelude)
    if entry is None:
        lines += _body(found, renamed)
    else:
        lines += [_text(one, renamed) for one in placed.body]
        values = "_values" if entry.takes_params else "**_values"
        if given and not entry.takes_params:
            values = f"**{{n: v for n, v in _values.items() if n not in {tuple(given)!r}}}"
        called = f"{renamed.get(entry.name, entry.name)}({values})"
        lines.append(f"return {'await ' if entry.waits else ''}{called}\n")
    head = "async def _cell(_values):\n" if found.waits else "def _cell(_values):\n"
    return head + indent("".join(lines))


def _body(found: Slice, renamed: Mapping[str, str]) -> list[str]:
    """Return the cell's statements, the last expression as the value."""
    placed = found.placed
    lines = [_text(one, renamed, found.tuned.get(one.order, ())) for one in placed.body]
    saves = [f"_save({renamed.get(name, name)}, {path!r})\n" for name, path in found.saves]
    if not lines:
        return [*saves, "return {}\n"]
    if not isinstance(placed.body[-1].node, ast.Expr) or found.silenced:
        return [*lines, *saves, "return result\n" if placed.returns_result else "return {}\n"]
    text = lines.pop()
    node = ast.parse(text).body[-1]
    rows = text.splitlines(keepends=True)
    above, expression = rows[: node.lineno - 1], "".join(rows[node.lineno - 1 :])
    tail = f"return {expression}"
    if placed.returns_result or saves:
        result = renamed.get("result", "result")
        last = f"{result} if _value is None else _value" if placed.returns_result else "_value"
        tail = "".join([f"_value = {expression}", *saves, f"return {last}\n"])
    return [*lines, *above, tail]


def _renamed(found: Slice) -> dict[str, str]:
    """Return new spellings of the notebook's names that the module needs for itself."""
    placed = found.placed
    outer = placed.shared | {one.name for one in placed.imports}
    outer |= {name for one in placed.module for name in one.names.binds}
    taken = outer | {name for one in placed.kept for name in one.names.binds}
    taken |= {name for name, _ in placed.defaults}
    inner = taken.intersection(_ARGUMENT)
    renamed = {}
    for old in sorted(outer.intersection(RESERVED) | inner):
        new = f"notebook_{old.lstrip('_').lower()}"
        while new in taken:
            new += "_"
        renamed[old] = new
    return renamed


def _check(text: str) -> None:
    """The module compiles, and every name it reads is bound somewhere in it."""
    try:
        tree = ast.parse(text)
        compile(tree, "train_fn.py", "exec")
    except SyntaxError as error:
        raise ExportError(f"the module would not compile: {error}", "not written") from error
    flow = names.of_statements(tree.body)
    declared = (node.names for node in ast.walk(tree) if isinstance(node, ast.Global))
    bound = flow.binds.union(*declared)
    open_names = (flow.strong | flow.later) - bound - {"__file__"}
    if open_names:
        raise ExportError(f"the module would lack {', '.join(sorted(open_names))}", "not written")


# ---- renaming ----------------------------------------------------------------------------------


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
