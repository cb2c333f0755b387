"""Everything a folder's code is: the module, copied files, requirements, names of variables."""

from __future__ import annotations

import ast
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Fix, InvalidOption, SecretFound, UnsupportedCell
from jupyter_gpupredict.core.files import read_given
from jupyter_gpupredict.export.deployment import SECRETS_FROM, Cell
from jupyter_gpupredict.export.function.magics import HOME, files_read
from jupyter_gpupredict.export.function.module import is_ours, module_text, parameters
from jupyter_gpupredict.export.function.needs import add_hidden, for_gpu
from jupyter_gpupredict.export.function.remedies import Remedy, with_import
from jupyter_gpupredict.export.function.requirements import (
    Requirements,
    modules,
    requirements,
    unpinned,
)
from jupyter_gpupredict.export.function.secrets import Suspect, environment_names, suspects
from jupyter_gpupredict.export.function.slicing import slice_cells

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from jupyter_gpupredict.export.deployment import CodeRequest
    from jupyter_gpupredict.export.function.requirements import Modules
    from jupyter_gpupredict.export.function.slicing import Slice

_TRAINS = re.compile(r"\.(fit\w*|train|backward|minimize|fine_tune)\(")
_SAVES = re.compile(
    r"\bsave|\bdump|\.to_(csv|parquet|pickle|json)|\.write|checkpoint", re.IGNORECASE
)
_MOST_COPIED_MIB = 16
_FOLDER = frozenset({"train_fn.py", "handler.py", "requirements.txt", "Dockerfile", "README.md",
                     "gpupredict.json", ".env.example", ".dockerignore", ".env"})  # fmt: skip
"""What a folder holds by itself, or must not."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYSTEM = frozenset(
    {"HOME", "PATH", "USER", "LOGNAME", "PWD", "SHELL", "HOSTNAME", "LANG", "LC_ALL", "TMPDIR",
     "TEMP", "TMP", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX"}
)  # fmt: skip
"""Variables that a container has of its own; an empty line in a file would take them away."""
_HINT = (
    "read it from os.environ with --secrets env, let the caller give it with --secrets param "
    "(secrets='env', 'param'), or insist with --allow-secrets (allow_secrets=True)"
)


@dataclass(frozen=True, slots=True)
class Code:
    """What is written beside the manifests."""

    module: str
    """`train_fn.py`."""
    files: tuple[tuple[str, str], ...]
    """Modules from beside the notebook: path and source."""
    copies: tuple[tuple[str, str], ...]
    """Files that it reads: path and bytes, as text with surrogates."""
    requirements: Requirements
    environment: tuple[str, ...]
    """Variables that the code reads or `%env` set: names only."""
    parameters: tuple[str, ...]
    required: tuple[str, ...]
    defaults: tuple[tuple[str, str], ...]
    """Parameters with their defaults, as Python writes them."""
    notes: tuple[str, ...]


def build(request: CodeRequest, name: str, extra: Iterable[str] = (), *, gpu: bool = False) -> Code:
    """Return the code of the last of the request's cells.

    Args:
        request: The cells and what may be done about them.
        name: The function's name.
        extra: Adapters' requirements.
        gpu: Whether it will have a GPU, which some libraries need another build for.

    Raises:
        UnsupportedCell: The cell needs what a folder cannot hold.
        SecretFound: The code holds what looks like a credential.
        InvalidOption: `secrets` names another way than the known ones.
    """
    label, way = request.cells[-1].label, request.secrets
    if way and way not in SECRETS_FROM:
        raise InvalidOption(f"secrets={way[:40]!r} is unknown", " or ".join(SECRETS_FROM))
    remedy = Remedy(way, set(_SYSTEM)) if way else None
    found = slice_cells(
        (*_backend(request), *request.cells),
        request.params,
        request.setup,
        drop_magics=request.drop_magics,
        remedy=remedy,
        mode=request.mode,
        folder=request.folder,
        saves=dict(request.save),
    )
    module = module_text(found, name, label)
    roots: list[tuple[ast.AST, str]] = [(one.node, one.place) for one in found.placed.imports]
    roots += [(one.node, one.place) for one in found.placed.kept]
    beside = modules(
        (one for one in roots if not is_ours(one[0])), request.folder, installed=request.pinned
    )
    if remedy is not None and way == "env":
        _remedied(beside, remedy)
    add_hidden(beside, module)
    suffixes = {Path(path).suffix for path in dict(request.save).values()}
    extra = [*extra, *(["safetensors"] if ".safetensors" in suffixes else [])]
    if request.pinned:
        needs = requirements(beside.names, beside.optional, found.pip, extra)
    else:
        needs = unpinned(beside.names, found.pip, request.python, extra)
    if gpu:
        needs = for_gpu(needs)
    files = tuple(sorted(beside.files.items()))
    notes = [*request.notes, *found.notes, *beside.notes, *needs.notes]
    notes += (
        f"the value of {name} holds for one machine, and was left out"
        for name in sorted(_SYSTEM.intersection(found.environment))
        if not any(f"value of {name} " in note for note in found.notes)
    )
    texts = [*files, ("requirements.txt", needs.text), ("README.md", "\n".join(notes))]
    notes += _secrets(found, module, texts, label, allow=request.allow_secrets)
    _refuse_home(found, [*files, ("train_fn.py", module)], label, request.folder)
    trees = [ast.parse(module), *(ast.parse(source) for _, source in files)]
    read = [one for tree in trees for one in environment_names(tree)]
    variables = sorted({*found.environment, *read} - _SYSTEM)
    defaults, required, optional = parameters(found)
    notes += _taken_out(remedy, {*read, *required}, found)
    copies = _copies(request.copy, request.folder)
    notes += _files(found, request.folder, dict(copies))
    if not request.save and _TRAINS.search(module) and not _SAVES.search(module):
        notes.append("nothing that is trained is saved: save a model with --save NAME=PATH")
    return Code(
        module=module,
        files=files,
        copies=copies,
        requirements=needs,
        environment=tuple(one for one in variables if _VARIABLE.fullmatch(one)),
        parameters=tuple(dict.fromkeys((*required, *defaults, *optional))),
        required=tuple(required),
        defaults=tuple((one, ast.unparse(value)) for one, value in defaults.items()),
        notes=tuple(dict.fromkeys(notes)),
    )


def _backend(request: CodeRequest) -> tuple[Cell, ...]:
    """Return a cell that names Keras's backend where the kernel has it from around the notebook.

    Without one Keras takes TensorFlow, which the image may lack, and which uses other memory.
    """
    variable = "KERAS_BACKEND"
    said = any(variable in one.source for one in request.cells)
    uses = any("keras" in one.source for one in request.cells)
    if said or not uses or not request.pinned:
        return ()
    keras = sys.modules.get("keras")
    found = keras.backend.backend() if keras else os.environ.get(variable, "")
    if found == "tensorflow" or not found.isalpha():
        return ()
    return (Cell("The kernel's environment", f"%env {variable}={found}"),)


def _files(found: Slice, folder: Path, copies: Collection[str]) -> list[str]:
    """Return a note for each literal path that the function reads, with what may be done."""
    notes = []
    given = {
        value.value: n for n, value in found.placed.defaults if isinstance(value, ast.Constant)
    }
    for one in found.placed.kept:
        for path in files_read(one.node):
            size = _size(folder / path)
            change = f", or give another: --param {given[path]}=PATH" if path in given else ""
            if str(PurePosixPath(path)) in copies:
                said = f"{path}, which is copied into the folder{change}"
            elif HOME.match(path):
                said = f"{path}, in a home: mount it{change}"
            elif size is None:
                said = f"{path}, which does not lie beside the notebook: mount it{change}"
            else:
                said = f"{path} ({size >> 10} KiB): copy it with --copy {path}, mount it{change}"
            notes.append(f"{one.place} reads {said}")
    return notes


def _copies(paths: Iterable[str], folder: Path) -> tuple[tuple[str, str], ...]:
    """Return the files to copy.

    Raises:
        InvalidOption: One does not lie beside the notebook, or they are too large.
    """
    found: dict[str, str] = {}
    for path in paths:
        name, place = str(PurePosixPath(path)), (folder / path).resolve()
        if not place.is_relative_to(folder.resolve()) or not place.is_file() or name in _FOLDER:
            raise InvalidOption(f"--copy {path[:100]!r}", "a file beside the notebook")
        if sum(map(len, found.values())) + place.stat().st_size > _MOST_COPIED_MIB << 20:
            raise InvalidOption(
                f"--copy {path[:100]!r}: more than {_MOST_COPIED_MIB} MiB in all",
                "mount it instead",
            )
        found[name] = read_given(place).decode("utf-8", "surrogateescape")
    return tuple(found.items())


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None


def _remedied(beside: Modules, remedy: Remedy) -> None:
    """Take the credentials out of modules that stand beside the notebook."""
    for path, source in beside.files.items():
        changed = remedy.apply(source, f"{path} line {{}}".format)
        if changed.count("os.environ[") > source.count("os.environ["):
            changed = with_import(changed)
        beside.files[path] = changed


def _taken_out(remedy: Remedy | None, used: set[str], found: Slice) -> list[str]:
    """Return a note for each credential that was taken out of what the function holds."""
    if remedy is None:
        return []
    giver = "environment" if remedy.way == "env" else "caller"
    spans = [(one.cell, *one.span) for one in found.placed.kept]
    places = {cell.place(n) for cell, first, last in spans for n in range(first, last + 1)}
    return [
        f"{one.place} held what looks like {one.kind}: "
        + (f"the {giver} gives it as {one.name}" if one.name else "the comment was left out")
        for one in remedy.taken
        if one.name in used or (not one.name and one.place in places)
    ]


def _suspicious(
    found: Slice, module: str, texts: Iterable[tuple[str, str]], label: str
) -> Iterator[tuple[str, Suspect]]:
    """Yield everything that looks like a credential, with its place."""
    cells = {id(one.cell): suspects(one.cell.source) for one in found.placed.kept}
    for statement in found.placed.kept:
        first, last = statement.span
        for one in cells[id(statement.cell)]:
            if first <= one.line <= last:
                yield statement.cell.place(one.line), one
    for name, value in _values(found):
        for one in suspects(f"{name} = {ast.unparse(value)}"):
            yield found.placed.places.get(name, label), one
    for path, source in texts:
        for one in suspects(source):
            yield f"{path} line {one.line}", one
    for one in suspects(module):  # whatever way it came in
        yield label, one


def _secrets(
    found: Slice, module: str, texts: Iterable[tuple[str, str]], label: str, *, allow: bool
) -> list[str]:
    """Return a note for each credential that stays.

    Raises:
        SecretFound: One stays that neither a pragma nor the request allows.
    """
    seen: dict[str, tuple[str, Suspect]] = {}
    for place, one in _suspicious(found, module, texts, label):
        seen.setdefault(one.value, (f"{place} holds what looks like {one.kind}", one))
    refused = [words for words, one in seen.values() if not (one.allowed or allow)]
    if refused:
        more = f", and {len(refused) - 3} more" if len(refused) > 3 else ""
        fixes = [
            Fix("The environment gives it", {"secrets": "env"}),
            Fix("The function's caller gives it", {"secrets": "param"}),
            Fix("It stays in the files as it is", {"allow_secrets": True}),
        ]
        raise SecretFound("; ".join(refused[:3]) + more, _HINT, fixes)
    return [
        f"{words}, kept {'as its pragma says' if one.allowed else 'on request'}"
        for words, one in seen.values()
    ]


def _values(found: Slice) -> Iterator[tuple[str, ast.expr]]:
    yield from found.placed.defaults
    if found.entry is not None:
        yield from found.entry.defaults


def _refuse_home(found: Slice, files: Iterable[tuple[str, str]], label: str, folder: Path) -> None:
    """Refuse paths into the user's home, or to the notebook: another machine lacks them."""
    private = {str(Path.home()), str(folder.resolve())} - {"/", "."}
    texts = [(f"{one.place} names", one.text, "") for one in found.placed.kept]
    texts += [
        (f"{found.placed.places.get(name, label)}: {name} is", ast.unparse(value), name)
        for name, value in _values(found)
    ]
    texts += [
        (f"{path} line {number} names", line, "")
        for path, source in files
        for number, line in enumerate(source.splitlines(), start=1)
    ]
    for what, text, name in texts:
        if any(re.search(rf"{re.escape(one)}(?![\w.-])", text) for one in private):
            raise UnsupportedCell(
                f"{what} a path of this machine's user",
                "make it relative, or let the caller give it with --param NAME (params=[NAME])",
                [Fix(f"The function's caller gives {name}", {"params": [name]})] if name else (),
            )
