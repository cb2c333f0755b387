"""The cells this kernel has executed, for a run's export. Lives as long as the kernel.

A result stays small and can be pickled, and the session store never holds source; so what a run
needs beside its own source, the kernel's history, is read when an export asks for it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.options import options_of
from jupyter_gpupredict.export import Cell, CodeRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEPT_RUNS = 50
"""Sources of older runs are forgotten; each is a few kilobytes."""


@dataclass(frozen=True, slots=True)
class _Measured:
    shell: Any
    position: int
    """Where the cell stands in the kernel's history, or would stand."""
    stored: bool
    source: str


_measured: OrderedDict[str, _Measured] = OrderedDict()
_failed: set[tuple[int, int]] = set()
"""(id of the shell, execution count) of cells that ended with an error."""


def remember(shell: Any, session_id: str, source: str) -> None:
    """Keep where in the kernel's history a run's cell stands; called while it runs."""
    _measured[session_id] = _placed(shell, source)
    while len(_measured) > _KEPT_RUNS:
        _measured.popitem(last=False)


def code_now(shell: Any, source: str, *, setup: Sequence[str] = ()) -> CodeRequest:
    """Return the cells of this kernel, the one that runs now as the last."""
    return _request(_placed(shell, source), setup=tuple(setup))


def _placed(shell: Any, source: str) -> _Measured:
    """Find the running cell in the history, which holds it, unless it was run without.

    The execution count does not say: IPython 9 raises it before the cell, earlier ones after it.
    """
    history = shell.history_manager.input_hist_raw
    stored = len(history) > 1 and history[-1].endswith(source.rstrip("\n"))
    position = len(history) - 1 if stored else len(history)
    whole = history[-1] if stored else source  # with its magic, so that lines are counted right
    return _Measured(shell, position, stored, whole)


def remember_failure(shell: Any, count: int | None) -> None:
    """Keep that a cell ended with an error."""
    if count is not None:
        _failed.add((id(shell), count))


def forget() -> None:
    """Forget everything; the magics are being unloaded."""
    _measured.clear()
    _failed.clear()


def code_of(session_id: str, **options: Any) -> CodeRequest | None:
    """Return the cells of a run of this kernel; None when it is none of this kernel's.

    Args:
        session_id: The run.
        **options: Those of `CodeRequest`, as people give them: mappings, lists.
    """
    found = _measured.get(session_id)
    if found is None:
        return None
    usual = {one.name: one for one in options_of(CodeRequest)}
    for name, value in options.items():
        if usual[name].several == "pairs":
            options[name] = tuple(dict(value).items())
        elif usual[name].several:
            options[name] = tuple(value)
    return _request(found, **options)


def _request(found: _Measured, **options: Any) -> CodeRequest:
    history = list(found.shell.history_manager.input_hist_raw)
    shell = id(found.shell)
    cells = [
        Cell(f"In [{number}]", source, failed=(shell, number) in _failed)
        for number, source in enumerate(history)
        if 0 < number < found.position and source.strip()
    ]
    label = f"In [{found.position}]" if found.stored else "the measured cell"
    cells.append(Cell(label, found.source))
    return CodeRequest(tuple(cells), Path.cwd(), **options)
