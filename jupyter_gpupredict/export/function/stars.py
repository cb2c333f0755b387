"""What a star import brings: read off the module where it is loaded, else off its source."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.files import read_given_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.export.function.magics import CellCode

_DEEPEST = 12
"""Modules that hand on each other's names by star imports."""


def expand_stars(code: CellCode, codes: Sequence[CellCode], folder: Path) -> list[str]:
    """Name what star imports bring, as far as it is mentioned; return modules where it is open."""
    unknown: list[str] = []
    for node in code.tree.body:
        if not isinstance(node, ast.ImportFrom) or node.names[0].name != "*":
            continue
        module = node.module or ""
        brought = None if node.level > 1 else _brought_by(module, folder)
        if brought is None:
            unknown.append(module)
            continue
        words = {word for one in codes for word in re.findall(r"\w+", one.source)}
        found = sorted(brought & words)
        code.notes.append(
            f"{code.place(node.lineno)}: of the star import from {module} "
            + (f"{len(found)} names are imported by name" if found else "nothing is used")
        )
        node.names = [ast.alias(name) for name in found] or [ast.alias("__name__", "_")]
        code.expanded.add(node.lineno)
    return unknown


def _brought_by(module: str, folder: Path) -> frozenset[str] | None:
    """Return the names that `from module import *` binds; None when that is not known.

    Nothing is imported for it. A module beside the notebook counts as it stands there.
    """
    beside = _source(folder, module)
    loaded = sys.modules.get(module)
    if beside is None and loaded is not None:
        every = getattr(loaded, "__all__", None)
        return frozenset(every if every is not None else _public(vars(loaded)))
    try:
        return frozenset(_names(module, folder, 0))
    except (LookupError, OSError, SyntaxError, UnicodeDecodeError, ValueError, TraceError):
        return None


def _public(names: object) -> Iterator[str]:
    assert isinstance(names, dict)  # noqa: S101
    return (name for name in names if not name.startswith("_"))


def _source(folder: Path, module: str) -> Path | None:
    stem = folder.joinpath(*module.split("."))
    return next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()), None)


def _names(module: str, folder: Path, depth: int) -> set[str]:
    if depth > _DEEPEST:
        raise LookupError(module)
    path = _source(folder, module)
    if path is None:
        spec = importlib.util.find_spec(module.partition(".")[0])
        places = (spec.submodule_search_locations if spec is not None else None) or ()
        roots = [Path(one).parent for one in places]
        if spec is not None and spec.origin and not roots:
            roots = [Path(spec.origin).parent]
        path = next(filter(None, (_source(root, module) for root in roots)), None)
    if path is None:
        raise LookupError(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    every: set[str] | None = None
    for node in _flat(ast.parse(read_given_text(path)).body):
        match node:
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                whole = ".".join([*(above if node.level else ()), *filter(None, [node.module])])
                found |= _names(whole, folder, depth + 1)
            case ast.Import() | ast.ImportFrom():
                found |= {one.asname or one.name.partition(".")[0] for one in node.names}
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                every = {str(one) for one in ast.literal_eval(value)}
            case ast.AugAssign(target=ast.Name(id="__all__")):
                raise LookupError(module)
            case ast.Assign() | ast.AnnAssign() | ast.For() | ast.With():
                found |= {
                    one.id
                    for one in ast.walk(node)
                    if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
                }
    return every if every is not None else {one for one in found if not one.startswith("_")}


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield a module's statements, and those that stand in its branches."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            for inner in ("body", "orelse", "finalbody"):
                yield from _flat(getattr(node, inner, []))
            for handler in getattr(node, "handlers", []):
                yield from _flat(handler.body)
