"""What surrounds a notebook's code: variables, paths and settings that imports depend on."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.function.secrets import is_environ, suspects

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


def files_read(tree: ast.AST) -> dict[str, int]:
    """Return the literal paths that code opens for reading, each with its first line."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        first = node.args[0]
        mode = node.args[1] if len(node.args) > 1 else None
        writes = isinstance(mode, ast.Constant) and str(mode.value)[:1] in ("w", "a", "x")
        if writes or not _READS.match(called) or not isinstance(first, ast.Constant):
            continue
        if isinstance(first.value, str) and _PATH.fullmatch(first.value):
            found.setdefault(first.value, node.lineno)
    return found
