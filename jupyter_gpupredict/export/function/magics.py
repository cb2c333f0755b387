"""What IPython's syntax means outside a notebook: a magic's or a command's replacement."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass, field
from typing import Literal

from jupyter_gpupredict.export.function.environment import kept_of_magic

Mark = Literal["setup", "ignore"]
_DROPPED = frozenset({"load_ext", "reload_ext", "matplotlib", "autoreload", "config", "precision"})
"""Magics that set the kernel up for looking and reloading, and leave the code's meaning alone."""
_INSPECTING = frozenset({"pinfo", "pinfo2", "psearch"})
UNWRAPPED = frozenset({"time", "capture"})
"""Magics that run the code they are given in the same namespace."""
MEASURED = re.compile(r"\s*(?:%%(?:time|capture)\b.*\s+)*%%gpupredict\b")
_TIMED = frozenset({"timeit", "prun", "memit", "mprun", "lprun", "snakeviz"})
"""Magics that run their statement, some of them many times, to look at how it runs."""
_LOOKED = re.compile(
    r"\s*(nvidia-smi|ls|pwd|cat|head|tail|wc|du|df|free|date|which|echo|uname|lscpu|nproc|lsb_release"
    r"|git|hostname|whoami|ps|top|tree|find|file|rocm-smi|nvcc"
    r"|(?:\S*python[\d.]*|pip3?) (?:-V|--version|list|show|freeze))(\s|$)"
)
"""Commands that only show something."""
_FETCHED = re.compile(
    r"wget|curl|gdown|kaggle|unzip|tar|gsutil|aws|huggingface-cli|hf|git\b.*clone|7z"
)
_INSTALLED = re.compile(r"(sudo |yes \| )*(apt|apt-get|conda|mamba|pip3?|uv|npm|brew)\b")
OURS = frozenset({"gpupredict", "gpupredict_begin"})
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
    expanded: set[int] = field(default_factory=set)
    """Lines of star imports that were made imports by name."""
    measured: bool = False
    """`%%gpupredict` stands above it."""
    isolated: bool = False
    """It ran in a process of its own, and left nothing behind."""
    replay: bool = False
    """What cannot run in a function is left out, and told."""
    own: bool = False
    """It is the cell that the function is made of."""
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


def magic(node: ast.AST) -> tuple[str, str] | None:
    """Return kind or name, and argument, of a call that IPython's syntax became; else None."""
    match node:
        case ast.Name(id="get_ipython"):
            return "get_ipython()", ""
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=method),
            args=arguments,
        ):
            words = [one.value for one in arguments if isinstance(one, ast.Constant)]
        case _:
            return None
    match method, [word for word in words if isinstance(word, str)]:
        case "run_line_magic", [name, *rest]:
            return f"%{name}", " ".join(rest)
        case "run_cell_magic", [name, *rest]:
            return f"%%{name}", " ".join(rest[:1])
        case (("system" | "getoutput" | "system_piped"), [command, *_]):
            return "!", command
    return "get_ipython()", ""


def shown(found: tuple[str, str]) -> str:
    """Return a magic's name, or a command's first word: arguments may hold secrets."""
    name, argument = found
    return f"!{(argument.split() or [''])[0]}" if name == "!" else name


def instead_of(code: CellCode, line: int, name: str, argument: str) -> str | None:
    """Return the text that a magic becomes, empty for none; None when it has to stay."""
    place, bare = code.place(line), name.lstrip("%")
    if "ignore" in (code.mark, code.marks.get(line)):
        code.notes.append(f"{place}: {shown((name, argument))} was left out, as it is marked")
        return ""
    if name in ("%env", "%set_env"):
        variable, value = ([*re.split(r"[=\s]+", argument.strip(), maxsplit=1), ""])[:2]
        if code.replay and variable.isidentifier() and value and kept_of_magic(variable, value):
            return f"import os; os.environ[{variable!r}] = {value!r}"
        code.environment += [variable] * bool(variable)
        return ""
    pip = argument if name == "%pip" else ""
    if name == "!" and _PIP.match(argument):
        pip = argument[argument.index("pip") :].partition(" ")[2]
    if pip.split()[:1] == ["install"]:
        code.pip += _words(pip)[1:]
        return ""
    if name == "%time":
        code.notes.append(f"{place}: %time was left out, its statement kept")
        return argument
    if name.startswith("%") and bare in _DROPPED | _INSPECTING:
        what = f"%{bare}" if bare in _DROPPED else f"looking at {argument}"
        code.notes.append(f"{place}: {what} was left out")
        return ""
    if bare in OURS:
        return ""
    return _out_of_place(code, place, name, argument) if code.replay else None


def _out_of_place(code: CellCode, place: str, name: str, argument: str) -> str | None:
    """Return what takes the place of a magic or command that a function cannot hold.

    Of the measured cell, what may be the training itself stays, and is refused.
    """
    bare = name.lstrip("%")
    if name.startswith("%") and bare in _TIMED:
        statement = re.sub(r"^(\s*-\w+(\s+\d+)?(?=\s))*\s*", "", argument)
        if name.startswith("%%"):
            return None
        code.notes.append(f"{place}: {name} was left out, its statement kept, to run once")
        return statement or ""
    if name == "!" and _LOOKED.match(argument):
        code.notes.append(
            f"{place}: {shown((name, argument))} was left out: it only shows something"
        )
        return ""
    if code.own and (name == "!" or name in ("%run", "%%bash", "%%sh", "%%script", "%%cython")):
        return None
    words = shown((name, argument))
    if name == "!" and _INSTALLED.match(argument):
        instead = "say it in the Dockerfile"
    elif name == "!" and _FETCHED.search(argument):
        instead = "mount its files, or let the image hold them"
    elif name in ("%cd", "%pushd", "%popd"):
        instead = "the function runs in its own folder"
    elif name == "%%writefile":
        instead = "the file is copied where the code imports it"
    elif name.startswith("%%") and bare in ("html", "javascript", "js", "latex", "markdown", "svg"):
        instead = "it only shows something"
    else:
        instead = "do by hand what it did, where the function runs"
    code.notes.append(f"{place}: {words} was left out: {instead}")
    return ""


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()
