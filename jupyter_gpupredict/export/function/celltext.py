"""A cell as plain Python: IPython's syntax becomes calls, which are translated, dropped or kept.

The only importer of IPython's transformer. A call that is kept here is one that a module cannot
hold; whoever needs its statement refuses it.
"""

from __future__ import annotations

import ast
import io
import re
import shlex
import tokenize
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from IPython.core.inputtransformer2 import TransformerManager

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import Cell

Mark = Literal["setup", "ignore"]
_MARK = re.compile(r"#\s*(?:gpupredict:\s*(setup|ignore)|(?:nuclio|mlrun):\s*(ignore))\s*$")
_IGNORING = frozenset({"nuclio-ignore", "mlrun-ignore", "gpupredict-ignore"})
_DROPPED = frozenset({"load_ext", "reload_ext", "matplotlib", "autoreload", "config", "precision"})
"""Magics that set the kernel up for looking and reloading, and leave the code's meaning alone."""
_INSPECTING = frozenset({"pinfo", "pinfo2", "psearch"})
_UNWRAPPED = frozenset({"time", "capture"})
"""Magics that run the code they are given in the same namespace."""
_OURS = frozenset({"gpupredict", "gpupredict_begin"})
_PIP = re.compile(r"^\s*(?:uv\s+)?(?:\S*python[\d.]*\s+-m\s+|\{sys\.executable\}\s+-m\s+)?pip3?\s")


@dataclass(slots=True)
class CellCode:
    """A cell that parses as Python."""

    label: str
    source: str
    """Python; translated and dropped magics are blank, or `pass` inside a block."""
    tree: ast.Module
    first_line: int = 1
    """The cell's line that the source's first line is."""
    mark: Mark | None = None
    """The whole cell's mark."""
    marks: dict[int, Mark] = field(default_factory=dict)
    """Line of the source -> its own mark."""
    failed: bool = False
    silenced: bool = False
    """The last expression ends with a semicolon, so that its value is not the cell's."""
    pip: list[str] = field(default_factory=list)
    """Words that were given to `pip install`."""
    environment: list[str] = field(default_factory=list)
    """Names that `%env` sets or reads."""
    notes: list[str] = field(default_factory=list)

    def place(self, line: int) -> str:
        """Return how a message names a line of the source."""
        return f"{self.label} line {line + self.first_line - 1}"


def read(cell: Cell, setup: tuple[str, ...] = ()) -> CellCode:
    """Return a cell as Python.

    Args:
        cell: As it was executed.
        setup: Tags, or numbers as in `In [3]`, of cells that count as marked with `setup`.

    Raises:
        SyntaxError: It is no Python, also after IPython's transformations.
    """
    text, first_line = _without_wrappers(cell.source)
    wrapped = first_line > 1
    source = _plain_python(text)
    first_line += _leading_blank(text)
    tree = ast.parse(source)
    code = CellCode(cell.label, source, tree, first_line, failed=cell.failed)
    code.notes.extend(_wrapper_notes(cell) if wrapped else ())
    numbers = set(re.findall(r"\d+", cell.label))
    if set(cell.tags) & _IGNORING:
        code.mark = "ignore"
    elif set(cell.tags) & {"gpupredict-setup", *setup} or numbers & set(setup):
        code.mark = "setup"
    _read_marks(code)
    _translate(code)
    code.silenced = _silenced(code)
    return code


def _plain_python(text: str) -> str:
    manager = TransformerManager()  # type: ignore[no-untyped-call]  # IPython
    return manager.transform_cell(text)


def magic(node: ast.AST) -> tuple[str, str] | None:
    """Return kind or name, and argument, of a call that IPython's syntax became; else None."""
    match node:
        case ast.Name(id="get_ipython"):
            return "get_ipython()", ""
        case ast.Call(func=ast.Attribute()):
            pass
        case _:
            return None
    assert isinstance(node, ast.Call)  # noqa: S101 - as matched
    assert isinstance(node.func, ast.Attribute)  # noqa: S101 - as matched
    inner = node.func.value
    if not (
        isinstance(inner, ast.Call)
        and isinstance(inner.func, ast.Name)
        and inner.func.id == "get_ipython"
    ):
        return None
    words = [one.value for one in node.args if isinstance(one, ast.Constant)]
    texts = [word for word in words if isinstance(word, str)]
    match node.func.attr, texts:
        case "run_line_magic", [name, *rest]:
            return f"%{name}", " ".join(rest)
        case "run_cell_magic", [name, *rest]:
            return f"%%{name}", " ".join(rest[:1])
        case (("system" | "getoutput" | "system_piped"), [command, *_]):
            return "!", command
    return "get_ipython()", ""


def _without_wrappers(text: str) -> tuple[str, int]:
    """Return the body below our own magic and those that merely run it, and its first line."""
    first_line = 1
    while True:
        stripped = text.lstrip()
        head, newline, body = stripped.partition("\n")
        found = re.match(r"%%(\w+)(\s.*)?$", head)
        if found is None or found[1] not in _UNWRAPPED | {"gpupredict"}:
            return text, first_line
        first_line += text[: len(text) - len(stripped)].count("\n") + bool(newline)
        text = body


def _wrapper_notes(cell: Cell) -> list[str]:
    names = re.findall(r"^%%(\w+)", cell.source, re.MULTILINE)
    return [
        f"{cell.label}: %%{name} was left out, its body kept" for name in names if name not in _OURS
    ]


def _leading_blank(text: str) -> int:
    count = 0
    for line in text.splitlines():
        if line.strip():
            break
        count += 1
    return count


def _read_marks(code: CellCode) -> None:
    """Find `# gpupredict: setup` and `ignore`: behind a statement, above one, or atop the cell."""
    first_code = min((node.lineno for node in code.tree.body), default=1 << 30)
    tokens = tokenize.generate_tokens(io.StringIO(code.source).readline)
    for token in tokens:
        if token.type != tokenize.COMMENT:
            continue
        mark = _mark(token.string)
        if mark is None:
            continue
        line = token.start[0]
        if not token.line[: token.start[1]].strip():  # a line of its own
            if line < first_code:
                code.mark = code.mark or mark
                continue
            line = min((n.lineno for n in code.tree.body if n.lineno > line), default=line)
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
    top = {id(node) for node in code.tree.body}
    changed = False
    for node in ast.walk(code.tree):
        if not isinstance(node, ast.Expr):
            continue
        found = magic(node.value)
        if found is None:
            continue
        instead = _instead(code, node.lineno, *found)
        if instead is None:
            continue
        changed = True
        indent = lines[node.lineno - 1][: node.col_offset]
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
            lines[line - 1] = ""
        kept = instead or ("" if id(node) in top else "pass")
        lines[node.lineno - 1] = indent + kept if kept else ""
    if changed:
        code.source = "\n".join(lines) + "\n"
        code.tree = ast.parse(code.source)


def _instead(code: CellCode, line: int, name: str, argument: str) -> str | None:
    """Return the text that a magic becomes, empty for none; None when it has to stay."""
    place = code.place(line)
    bare = name.lstrip("%")
    if code.mark == "ignore" or code.marks.get(line) == "ignore":
        code.notes.append(f"{place}: {_shown(name, argument)} was left out, as it is marked")
        return ""
    if name in ("%env", "%set_env"):
        words = re.split(r"[=\s]", argument.strip(), maxsplit=1)
        if words[0]:
            code.environment.append(words[0])
        return ""
    pip = argument if name == "%pip" else ""
    if name == "!" and _PIP.match(argument):
        pip = argument[argument.index("pip") :].partition(" ")[2]
    if pip.split()[:1] == ["install"]:
        code.pip.extend(_words(pip)[1:])
        return ""
    if name == "%time":
        code.notes.append(f"{place}: %time was left out, its statement kept")
        return argument
    if name.startswith("%") and bare in _DROPPED:
        code.notes.append(f"{place}: %{bare} was left out")
        return ""
    if name.startswith("%") and bare in _INSPECTING:
        code.notes.append(f"{place}: looking at {argument} was left out")
        return ""
    return "" if bare in _OURS else None


def _shown(name: str, argument: str) -> str:
    """Return a magic's name, or a command's first word: arguments may hold secrets."""
    return f"!{(argument.split() or [''])[0]}" if name == "!" else name


def shown(found: tuple[str, str]) -> str:
    """Return what a message says of a magic; never its arguments, which may hold secrets."""
    return _shown(*found)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()


def _silenced(code: CellCode) -> bool:
    """Whether a semicolon ends the last expression, which IPython takes as: show no value."""
    if not code.tree.body or not isinstance(code.tree.body[-1], ast.Expr):
        return False
    node = code.tree.body[-1]
    line = code.source.encode().splitlines()[(node.end_lineno or node.lineno) - 1]
    return line[node.end_col_offset :].lstrip().startswith(b";")
