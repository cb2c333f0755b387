"""What a function needs beside its imports, by a table: hidden modules, and builds for a GPU."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import re
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.function.container import template
from jupyter_gpupredict.export.function.requirements import owners

if TYPE_CHECKING:
    from jupyter_gpupredict.export.function.requirements import Modules, Requirements

_PIN = re.compile(r"([A-Za-z0-9._-]+)(==[^\s#]+)?(\s*#.*)?")


@functools.cache
def _table() -> dict[str, Any]:
    """Return `templates/needs.json`.

    `hidden`: module, what in the code tells of it, the module that it needs then. `gpu`: what is
    installed here, what a function on a GPU needs instead, the shape of its extra, the usual one.
    """
    found: dict[str, Any] = json.loads(template("needs.json"))
    return found


def add_hidden(found: Modules, text: str) -> None:
    """Add what the modules need for what the code does with them, where it is installed here."""
    roots = {dotted.partition(".")[0]: place for dotted, place in found.names.items()}
    for module, sign, need in _table()["hidden"]:
        if module not in roots or need in roots or not re.search(sign, text, re.DOTALL):
            continue
        if not found.installed or owners().get(need):
            found.names[need] = roots[module]
            found.notes.append(f"requirements.txt: {need}, which {module} needs for this code")


def for_gpu(needs: Requirements) -> Requirements:
    """Return the requirements with the builds that use a GPU in the place of those that do not."""
    notes = list(needs.notes)
    lines = tuple(_line(one, notes) for one in needs.lines)
    return dataclasses.replace(needs, lines=lines, notes=tuple(notes))


def _line(line: str, notes: list[str]) -> str:
    found = _PIN.fullmatch(line)
    if found is None:
        return line
    name, pin, comment = found[1].lower(), found[2] or "", found[3] or ""
    if "+cpu here" in comment:
        notes.append(f"{name}: a build for the CPU is installed here; the function takes the usual")
        return f"{found[1]}{pin}"
    if name not in _table()["gpu"]:
        return line
    instead, shape, usual = _table()["gpu"][name]
    extra = _extra(name, shape) or usual
    changed = f"{instead}[{extra}]{pin}" if extra else f"{instead}{pin}"
    notes.append(f"requirements.txt: {changed}, so that the function can use its GPU")
    return changed


def _extra(name: str, shape: str) -> str:
    """Return the extra of that shape of what is installed: the one in use, else the newest."""
    try:
        offered = importlib.metadata.metadata(name).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    fitting = sorted((one for one in offered if shape and re.fullmatch(shape, one)), key=_number)
    here = {one.name for one in importlib.metadata.distributions()}
    used = [one for one in fitting if f"{name}-{one}-plugin" in here]
    return str((used or fitting or [""])[-1])


def _number(extra: str) -> int:
    return int(re.sub(r"\D", "", extra) or 0)
