"""The text of `train_fn.py`: imports, definitions, defaults, the cell, and `train` around it."""

from __future__ import annotations

import ast
import copy
import io
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import ExportError, UnsupportedCell
from jupyter_gpupredict.export.function import names
from jupyter_gpupredict.export.function.names import rename

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jupyter_gpupredict.export.function.slicing import Slice
    from jupyter_gpupredict.export.function.statements import Statement


_PACKAGE = "jupyter_gpupredict"
_BODIES = {
    "track": (
        "def {name}(iterable, *_arguments, **_options):\n"
        '    """Nothing is measured here: the iterable as it is."""\n'
        "    return iterable\n"
    ),
    "phase": (
        "def {name}(*_arguments, **_options):\n"
        '    """Nothing is measured here: a context that does nothing."""\n'
        "    import contextlib\n\n"
        "    return contextlib.nullcontext()\n"
    ),
    "epoch": ('def {name}(*_arguments, **_options):\n    """Nothing is measured here."""\n'),
}


def stand_in(node: ast.Import | ast.ImportFrom, name: str, place: str) -> str | None:
    """Return the text that takes the place of an import of ours; None for any other import.

    Args:
        node: An import of one name.
        name: What it binds.
        place: Where it stands, for a message.

    Raises:
        UnsupportedCell: It imports what has no meaning in a function.
    """
    if isinstance(node, ast.ImportFrom):
        if (node.module or "").split(".")[0] != _PACKAGE or node.level:
            return None
        wanted = node.names[0].name
        if wanted in _BODIES:
            return _BODIES[wanted].format(name=name)
    elif node.names[0].name.split(".")[0] != _PACKAGE:
        return None
    else:
        methods = "".join(
            "    @staticmethod\n    "
            + body.format(name=one).replace("\n", "\n    ").rstrip()
            + "\n"
            for one, body in _BODIES.items()
        )
        return f'class {name}:\n    """Nothing is measured here."""\n\n{methods}'
    raise UnsupportedCell(
        f"{place}: {_PACKAGE} is there for notebooks, not for functions",
        f"of it, {', '.join(_BODIES)} may stand in the cell",
    )


TEMPLATES = Path(__file__).parent / "templates"
RESERVED = ("train", "_cell", "_plain", "_values", "_known", "_DEFAULTS", "_REQUIRED", "_OPTIONAL")
_INDENT = "    "


def module_text(found: Slice, name: str, label: str, *, measured: bool = False) -> str:
    """Return the module of a slice.

    Args:
        found: The slice.
        name: The function's name, for the docstring.
        label: The measured cell, as the user knows it.
        measured: It runs under our eyes: what it says of its progress is heard.

    Raises:
        ExportError: The module does not compile, or reads one it does not have: our fault.
    """
    renamed = _renamed(found)
    standing, imports = _imports(found, renamed, measured=measured)
    parts = [
        f'"""{name}: the code of {label} and what it needs, as one function."""\n',
        _future_line(found.futures),
        "".join(f"{line}\n" for line in imports),
    ]
    if found.displays:
        parts.append(
            "\n\ndef display(*objects, **_options):\n"
            '    """Print what a notebook would show."""\n'
            "    print(*objects)\n"
        )
    parts += [f"\n\n{text}" for text in standing]
    block = True  # a definition stands apart from what is before and after it
    for statement in found.placed.module:
        apart = block or hasattr(statement.node, "body")
        parts.append("\n\n" * apart + _rename_all(_plain_text(statement), renamed))
        block = hasattr(statement.node, "body")
    parts += ["\n\n", _parameters(found), "\n\n", _cell(found, renamed), "\n\n"]
    parts.append((TEMPLATES / "train.py.txt").read_text(encoding="utf-8"))
    if found.waits:
        tail = (TEMPLATES / "train_async.py.txt").read_text(encoding="utf-8")
    else:
        tail = (TEMPLATES / "train_sync.py.txt").read_text(encoding="utf-8")
    text = "".join([*parts, "\n\n", tail])
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


def _future_line(futures: Sequence[str]) -> str:
    return f"\nfrom __future__ import {', '.join(futures)}\n" if futures else ""


def _imports(
    found: Slice, renamed: Mapping[str, str], *, measured: bool
) -> tuple[list[str], list[str]]:
    """Return stand-ins for our own functions, and the import lines: standard library first."""
    standing: list[str] = []
    nodes: dict[str, ast.Import | ast.ImportFrom] = {}
    for one in found.placed.imports:
        text = stand_in(one.node, renamed.get(one.name, one.name), one.place)
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
        root = (module or "").split(".")[0]
        (standard if root in sys.stdlib_module_names else others).append(ast.unparse(node))
    gap = [""] if standard and others else []
    lines = [*standard, *gap, *others]
    return standing, ["", *lines] if lines else []


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

    Relative imports become absolute, and `tqdm.notebook` becomes `tqdm.auto`, which falls back to
    text where no notebook is.
    """
    if isinstance(node, ast.Import):
        return node
    if node.module == "tqdm.notebook" and not node.level:
        return ast.ImportFrom("tqdm.auto", node.names, 0)
    if not node.level:
        return node
    if node.module:
        return ast.ImportFrom(node.module, node.names, 0)
    return ast.Import(node.names)


def _plain_text(statement: Statement) -> str:
    """Return a statement's source, with the imports inside it made absolute."""
    text = statement.text
    inner = [
        n
        for n in ast.walk(statement.node)
        if isinstance(n, ast.ImportFrom) and absolute(n) is not n
    ]
    if not inner:
        return text
    tree = ast.parse(text)
    return ast.unparse(_Absolute().visit(tree)) + "\n"


class _Absolute(ast.NodeTransformer):
    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:  # noqa: N802 - ast's name
        return absolute(node)


def _parameters(found: Slice) -> str:
    """Return the tables of parameters."""
    defaults = dict(found.placed.defaults)
    required = list(found.placed.required)
    optional: list[str] | None = []
    entry = found.entry
    if entry is not None:
        defaults |= {n: v for n, v in entry.defaults if n not in found.placed.required}
        required += [name for name in entry.required if name not in required]
        optional = [n for n in entry.names if n not in defaults and n not in required]
        if entry.takes_any or entry.takes_params:
            optional = None
        if entry.takes_params:
            value = defaults.pop("params", None)
            given = value if isinstance(value, ast.Dict) else ast.Dict([], [])
            if all(isinstance(key, ast.Constant) for key in given.keys):
                pairs = zip(given.keys, given.values, strict=True)
                defaults |= {str(k.value): v for k, v in pairs if isinstance(k, ast.Constant)}
    lines = ["_DEFAULTS = {"] if defaults else ["_DEFAULTS = {}"]
    for name, value in defaults.items():
        lines.append(f"{_INDENT}{name!r}: {ast.unparse(value)},")
    if defaults:
        lines.append("}")
    lines.append(f"_REQUIRED = {tuple(required)!r}")
    lines.append(f"_OPTIONAL = {None if optional is None else tuple(optional)!r}")
    return "\n".join(lines) + "\n"


def _cell(found: Slice, renamed: dict[str, str]) -> str:
    """Return the function that holds the cell."""
    head = "async def _cell(_values):\n" if found.waits else "def _cell(_values):\n"
    lines = ['"""Run the cell; its names are this call\'s alone, unless they are declared."""\n']
    shared = sorted(renamed.get(name, name) for name in found.placed.shared)
    if shared:
        lines.append(f"global {', '.join(shared)}\n")
    if any(_reads(one, "__name__") for one in found.placed.body):
        lines.append('__name__ = "__main__"  # as in a notebook\n')
    if any(_reads(one, "locals") for one in found.placed.body):
        lines.append("locals = globals  # as in a notebook\n")
    names_given = [*(name for name, _ in found.placed.defaults), *found.placed.required]
    entry = found.entry
    own = set() if entry is None else set(entry.names)
    given = [
        f"{_target(n, found, renamed)} = _values[{n!r}]\n" for n in names_given if n not in own
    ]
    prelude = [_local(one, found, renamed) for one in found.placed.prelude]
    lines += [*given, *prelude]
    if entry is not None:
        lines += [_local(one, found, renamed) for one in found.placed.body]
        lines.append(_call_entry(found, renamed, [n for n in names_given if n not in own]))
    else:
        lines += _body(found, renamed)
    return head + indent("".join(lines))


def _call_entry(found: Slice, renamed: dict[str, str], taken: Sequence[str]) -> str:
    entry = found.entry
    assert entry is not None  # noqa: S101 - the caller has looked
    name = renamed.get(entry.name, entry.name)
    wait = "await " if entry.waits else ""
    if entry.takes_params:
        return f"return {wait}{name}(_values)\n"
    given = "_values"
    if taken:
        given = f"{{n: v for n, v in _values.items() if n not in {tuple(taken)!r}}}"
    return f"return {wait}{name}(**{given})\n"


def _body(found: Slice, renamed: dict[str, str]) -> list[str]:
    """Return the cell's statements, the last expression as the value."""
    lines = [_local(one, found, renamed) for one in found.placed.body[:-1]]
    last = found.placed.body[-1] if found.placed.body else None
    if last is None:
        return [*lines, "return {}\n"]
    if not isinstance(last.node, ast.Expr) or found.silenced:
        lines.append(_local(last, found, renamed))
        lines.append("return result\n" if found.placed.returns_result else "return {}\n")
        return lines
    text = _local(last, found, renamed)
    node = ast.parse(text).body[-1]
    rows = text.splitlines(keepends=True)
    above, expression = rows[: node.lineno - 1], "".join(rows[node.lineno - 1 :])
    if found.placed.returns_result:
        result = renamed.get("result", "result")
        tail = f"_value = {expression}return {result} if _value is None else _value\n"
    else:
        tail = f"return {expression}"
    return [*lines, *above, tail]


def _local(statement: Statement, found: Slice, renamed: dict[str, str]) -> str:
    """Return a statement of the call, in which only shared or module names are renamed."""
    outer = {n for one in found.placed.module for n in one.names.binds} | found.placed.shared
    outer |= {one.name for one in found.placed.imports}
    return _rename_all(
        _plain_text(statement), {old: new for old, new in renamed.items() if old in outer}
    )


def _target(name: str, found: Slice, renamed: dict[str, str]) -> str:
    return renamed.get(name, name) if name in found.placed.shared else name


def _renamed(found: Slice) -> dict[str, str]:
    """Return new spellings of the notebook's names that the module needs for itself."""
    taken = {n for one in found.placed.kept for n in one.names.binds} | set(found.placed.shared)
    taken |= {name for name, _ in found.placed.defaults} | {
        one.name for one in found.placed.imports
    }
    outer = {n for one in found.placed.module for n in one.names.binds} | found.placed.shared
    outer |= {one.name for one in found.placed.imports}
    renamed = {}
    for old in RESERVED:
        if old not in outer:
            continue
        new = f"notebook_{old.lstrip('_').lower()}"
        while new in taken:
            new += "_"
        renamed[old] = new
    return renamed


def _rename_all(text: str, renamed: dict[str, str]) -> str:
    for old, new in renamed.items():
        if old in text:
            text = rename(text, old, new)
    return text


def _reads(statement: Statement, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(statement.node))


def _check(text: str) -> None:
    """The module compiles, and every name it reads is bound somewhere in it."""
    try:
        tree = ast.parse(text)
        compile(tree, "train_fn.py", "exec")
    except SyntaxError as error:
        raise ExportError(f"the module would not compile: {error}", "not written") from error
    flow = names.of_statements(tree.body)
    bound = flow.binds | _declared(tree.body)
    open_names = (flow.strong | flow.later) - bound
    if open_names:
        raise ExportError(f"the module would lack {', '.join(sorted(open_names))}", "not written")


def _declared(body: Iterable[ast.stmt]) -> set[str]:
    return {
        name
        for one in body
        for node in ast.walk(one)
        if isinstance(node, ast.Global)
        for name in node.names
    }
