"""What surrounds a notebook's code: what imports depend on, and IPython's syntax elsewhere."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from jupyter_gpupredict.export.function.secrets import dotted, is_environ, suspects

if TYPE_CHECKING:
    from collections.abc import Iterator


_MACHINE = re.compile(
    r"CUDA_VISIBLE_DEVICES|NVIDIA_\w+|CUDA_MPS_\w+|CUDA_(HOME|PATH|ROOT)|GPU_DEVICE_ORDINAL"
    r"|(HIP|ROCR)_VISIBLE_DEVICES|LD_(LIBRARY_PATH|PRELOAD)|PYTHONPATH|PATH|HOME|USER|TMPDIR|TEMP"
    r"|TMP|DISPLAY|HOSTNAME|VIRTUAL_ENV|CONDA_\w+|\w*_(HOME|CACHE)|MASTER_(ADDR|PORT)|XDG_\w+"
    r"|XRT_TPU_CONFIG|COLAB_\w+|https?_proxy|HTTPS?_PROXY|NO_PROXY|SSL_CERT_FILE"
)
"""Variables whose values hold for one machine, or choose one of its devices."""
HOME = re.compile(r"~[/\\]|/home/|/root/|/Users/|[A-Za-z]:\\+Users\\+|/content/drive/")
"""Beginnings of paths that another machine lacks."""
_KEPT = re.compile(
    r"KERAS_\w+|TF_\w+|XLA_\w+|JAX_\w+|TORCH\w*|PYTORCH_\w+|TOKENIZERS_\w+|TRANSFORMERS_\w+|HF_\w+"
    r"|OMP_\w+|MKL_\w+|OPENBLAS_\w+|NUMEXPR_\w+|PYTHONHASHSEED|CUBLAS_\w+|CUDNN_\w+|CUDA_\w+"
    r"|NCCL_\w+|WANDB_(MODE|DISABLED|SILENT|PROJECT)|MPLBACKEND|NUMBA_\w+|\w*_?SEED|\w+_BACKEND"
    r"|SM_FRAMEWORK|RAY_\w+|ACCELERATE_\w+|AUTOGRAPH_\w+|GRPC_\w+|LIGHTNING_\w+|PL_\w+"
)
"""Variables that choose behaviour; of `%env` the values of no others are kept."""
EARLY = re.compile(
    r"sys\.path(\.(append|insert|extend))?|(matplotlib|mpl)\.(use|rcParams)|plt\.switch_backend"
    r"|(jax\.)?config\.(update|jax_\w+)|(os\.)?environ(\.(setdefault|update))?|os\.putenv"
)
"""What later imports depend on, so that it has to stand before them."""


def elsewhere(name: str, value: str | None) -> str:
    """Return why a variable's value does not go with the function; empty: it goes."""
    if value is not None and suspects(f'import os\nos.environ["{name}"] = {value!r}'):
        return "looks like a credential"
    if value is not None and HOME.match(value):
        return "is a path into a home"
    if _MACHINE.fullmatch(name) and not re.fullmatch(r"CUDA_DEVICE_\w+", name):
        return "holds for one machine"
    return ""


def kept_of_magic(name: str, value: str) -> bool:
    """Whether `%env` chooses behaviour, so that its value goes with the function."""
    return bool(_KEPT.fullmatch(name)) and not elsewhere(name, value)


def variables(node: ast.stmt) -> Iterator[tuple[str, str | None]]:
    """Yield name and value of the variables that a statement sets; no value: one that is computed.

    A statement that does anything else yields nothing.
    """
    key: ast.expr
    value: ast.expr
    match node:
        case ast.Assign(targets=[ast.Subscript(value=place, slice=key)], value=value) if is_environ(
            place
        ):
            pass
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(value=place, attr="setdefault"), args=[key, value])
        ) if is_environ(place):
            pass
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="putenv"), args=[key, value])):
            pass
        case _:
            return
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        known = value.value if isinstance(value, ast.Constant) else None
        yield key.value, known if isinstance(known, str) else None


_READS = re.compile(
    r"(read|load|open|scan|from)(_?\w*)$|\w*(Dataset|ImageFolder|Reader|from_pretrained)$"
)
"""Ends of the names of functions whose first text is usually a path that they read."""
_PATH = re.compile(r"[^\s:*?<>|{}%]{0,200}\.[A-Za-z0-9]{1,8}|(\.{0,2}/)?[\w.-]+(/[\w.-]+)+/?")


def path_read(node: ast.Call) -> str:
    """Return the literal path that a call opens for reading, its first argument; empty: none."""
    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
    mode = node.args[1] if len(node.args) > 1 else None
    writes = isinstance(mode, ast.Constant) and str(mode.value)[:1] in ("w", "a", "x")
    match node.args[:1]:
        case [ast.Constant(value=str(path))] if not writes and _READS.match(called):
            return path if _PATH.fullmatch(path) else ""
    return ""


def files_read(tree: ast.AST) -> dict[str, int]:
    """Return the literal paths that code opens for reading, each with its first line."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (path := path_read(node)):
            found.setdefault(path, node.lineno)
    return found


_ELSEWHERE = (
    (r"drive\.(mount|flush_and_unmount)", "", "mount the Drive's files, or copy them: --copy PATH"),
    (r"files\.(upload|download)", "", "mount the files, or copy them: --copy PATH"),
    (r"(huggingface_hub\.)?(notebook_login|interpreter_login)|huggingface_hub\.login", "HF_TOKEN",
     "the environment gives HF_TOKEN"),
    (r"wandb\.login", "WANDB_API_KEY", "the environment gives WANDB_API_KEY"),
    (r"(kaggle(hub)?|kaggle\.api)\.(login|authenticate)", "KAGGLE_KEY",
     "the environment gives KAGGLE_USERNAME and KAGGLE_KEY"),
    (r"auth\.authenticate_user", "GOOGLE_APPLICATION_CREDENTIALS",
     "the environment gives GOOGLE_APPLICATION_CREDENTIALS"),
)  # fmt: skip
"""Calls of a notebook that ask its user: what takes their place, and the variable for it."""


def left_to_others(code: CellCode, node: ast.stmt) -> bool:
    """Whether a statement does what the function's machine or user is to do: variables, logins."""
    reasons = [(name, elsewhere(name, value)) for name, value in variables(node)]
    for name, why in reasons:
        if why:
            code.environment.append(name)
            code.notes.append(
                f"{code.place(node.lineno)}: the value of {name} {why}, and was left out; see "
                ".env.example"
            )
    match node:
        case ast.Expr(value=ast.Call(func=function)) if _asks_user(code, node, dotted(function)):
            return True
    return any(why for _, why in reasons)


def _asks_user(code: CellCode, node: ast.stmt, called: str) -> bool:
    """Whether a statement is a login or the mount of a user's files: told, and left out."""
    bare = called == "login" and "huggingface_hub" in code.source
    for shape, variable, instead in _ELSEWHERE:
        if re.fullmatch(shape, "huggingface_hub.login" if bare else called):
            code.environment += [variable] * bool(variable)
            code.notes.append(f"{code.place(node.lineno)}: {called}() was left out: {instead}")
            return True
    return False


# ---- IPython -----------------------------------------------------------------------------------


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
    """What cannot run in a function is left out, and listed."""
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
