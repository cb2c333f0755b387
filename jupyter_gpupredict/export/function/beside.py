"""Modules that stand beside the notebook: found, read, and copied with what they import."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import TraceError, UnsupportedCell
from jupyter_gpupredict.core.files import read_given_text
from jupyter_gpupredict.export.function.requirements import is_editable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_MAX_FILES, _MAX_BYTES = 200, 4 << 20
"""More than this beside a notebook is a project, which should be installed."""
_TAKEN = frozenset({"train_fn", "handler", "adapters", "function", "deploy", "func", "main"})


@dataclass(slots=True)
class Modules:
    """What the code imports: copied files, and names of what has to be installed."""

    files: dict[str, str] = field(default_factory=dict)
    """Path in the folder -> source."""
    names: dict[str, str] = field(default_factory=dict)
    """Dotted name -> where it is imported."""
    optional: set[str] = field(default_factory=set)
    """Those imported where their absence is caught."""
    notes: list[str] = field(default_factory=list)
    installed: bool = True
    """Whether what is installed here is what the code imports."""


def modules(
    roots: Iterable[tuple[ast.AST, str]], folder: Path, *, installed: bool = True
) -> Modules:
    """Return what these trees import, the modules beside the notebook with their own imports.

    Args:
        roots: Trees of the notebook's code, each with its place.
        folder: Where the notebook stands.
        installed: Whether what is installed here is what the code imports.

    Raises:
        UnsupportedCell: A relative import leads nowhere, or what is beside is too much to copy.
    """
    found = Modules(installed=installed)
    for tree, place in roots:
        for dotted, level, optional in _imported(tree):
            if level > 1:
                raise UnsupportedCell(
                    f"{place}: an import from the folder above the notebook's",
                    "put the module beside the notebook, or install it",
                )
            _take(dotted, folder, place, found, relative=level == 1, optional=optional)
    return found


def _take(
    dotted: str, folder: Path, place: str, found: Modules, *, relative: bool, optional: bool
) -> None:
    root = dotted.partition(".")[0]
    if not root or root in sys.stdlib_module_names:
        return
    if f"{root}.py" in found.files or any(path.startswith(f"{root}/") for path in found.files):
        return
    files = _files(root, folder)
    if not files and not relative and root != "jupyter_gpupredict":
        elsewhere = is_editable(root) if found.installed else None
        if elsewhere is not None:
            files = _files(root, elsewhere)
            found.notes.append(f"{root} is installed from a local folder; its code was copied")
    if not files:
        if relative:
            raise UnsupportedCell(f"{place}: no module {root} beside the notebook", "")
        found.names.setdefault(dotted, place)
        if optional:
            found.optional.add(dotted)
        return
    if root in _TAKEN:
        raise UnsupportedCell(
            f"{place}: a module beside the notebook is called {root}, as a file of the folder is",
            "rename the module",
        )
    for path, source in files.items():
        found.files[path] = source
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            raise UnsupportedCell(f"{path} is no Python: {error.msg}", "") from error
        for inner, level, maybe in _imported(tree):
            if level == 0:
                _take(inner, folder, f"{path}", found, relative=False, optional=maybe)


def _files(root: str, folder: Path) -> dict[str, str]:
    """Return a module's files, path -> source; empty when it is not in this folder."""
    single, package = folder / f"{root}.py", folder / root
    if package.is_dir():
        paths = sorted(p for p in package.rglob("*.py") if "__pycache__" not in p.parts)
    else:
        paths = []
    if not paths and single.is_file():
        paths = [single]
    if len(paths) > _MAX_FILES or sum(path.stat().st_size for path in paths) > _MAX_BYTES:
        raise UnsupportedCell(f"{root} beside the notebook is too large to copy", "install it")
    try:
        return {p.relative_to(folder).as_posix(): read_given_text(p) for p in paths}
    except (OSError, UnicodeDecodeError, TraceError) as error:
        raise UnsupportedCell(f"cannot read module {root} beside the notebook", "") from error


def _imported(tree: ast.AST) -> Iterator[tuple[str, int, bool]]:
    """Yield (dotted name, level, whether its absence is caught) of each import, nested ones too."""
    caught = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and node.handlers
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        optional = id(node) in caught
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, 0, optional
        elif isinstance(node, ast.ImportFrom):
            if node.level and not node.module:
                for alias in node.names:
                    yield alias.name, node.level, optional
            elif node.level:
                yield node.module or "", node.level, optional
            else:
                for alias in node.names:  # the name may be a module of a namespace
                    yield f"{node.module}.{alias.name}", 0, optional
