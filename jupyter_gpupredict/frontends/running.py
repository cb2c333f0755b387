"""Which cells a kernel runs now, as far as IPython's hooks and the stack show it.

What the hooks hand over proves nothing. IPython makes a new result where showing an error fails,
none where it fails itself, and says nothing after a cell whose coroutine was dropped. So a cell is
known by its place: its thread, and how many cells stand below it on that thread's stack.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult

    from jupyter_gpupredict.frontends.cellrun import CellRun

_RUNNER = "run_cell_async"
"""IPython's function that is on the stack once for each cell there."""


@dataclass(eq=False, slots=True)
class Cell:
    """A cell that has begun."""

    thread: threading.Thread
    depth: int
    """Cells on its thread's stack, itself among them."""
    task: asyncio.Task[Any] | None
    """In which it runs; None outside of an event loop."""
    info: ExecutionInfo | None = None
    """What IPython calls it; None: it is silent."""
    run: CellRun | None = None
    """Its measuring, where it is measured."""


class Running:
    """The cells that run now, oldest first."""

    def __init__(self) -> None:
        self._cells: list[Cell] = []

    def __iter__(self) -> Iterator[Cell]:
        return iter(tuple(self._cells))

    def begin(self) -> list[Cell]:
        """Take in a cell of the calling thread; returns those that ended unseen."""
        new = Cell(threading.current_thread(), _depth(), _task())
        gone = [cell for cell in self._cells if _is_gone(cell, new)]
        self._cells = [*(cell for cell in self._cells if cell not in gone), new]
        return gone

    def newest(self) -> Cell | None:
        """Return the innermost cell of the calling thread."""
        here = threading.current_thread()
        return next((cell for cell in reversed(self._cells) if cell.thread is here), None)

    def end(self, result: ExecutionResult | None) -> list[Cell]:
        """Return the cell that this result is of, and then those within it that ended unseen.

        A result of which nothing is known is of the innermost cell that is not silent.
        """
        here, info = threading.current_thread(), result and result.info
        loud = [cell for cell in self._cells if cell.info is not None]
        known = [cell for cell in loud if cell.info is info]
        ended = (known or [cell for cell in loud if cell.thread is here])[-1:]
        within = [
            cell
            for cell in self._cells
            for outer in ended
            if cell.thread is outer.thread and cell.depth > outer.depth
        ]
        self.drop(*ended, *within)
        return [*ended, *within]

    def drop(self, *cells: Cell) -> None:
        """Forget cells."""
        self._cells = [cell for cell in self._cells if cell not in cells]


def _is_gone(cell: Cell, new: Cell) -> bool:
    """Whether a cell has ended, seen from the beginning of another one."""
    if cell.thread is not new.thread:
        return not cell.thread.is_alive()
    return cell.depth >= new.depth and (cell.task is new.task or not _awaits(cell.task))


def _awaits(task: asyncio.Task[Any] | None) -> bool:
    """Whether a task will go on."""
    return task is not None and not (task.done() or task.get_loop().is_closed())


def _depth() -> int:
    frame: FrameType | None = sys._getframe()
    depth = 0
    while frame is not None:
        depth += frame.f_code.co_name == _RUNNER
        frame = frame.f_back
    return depth


def _task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs
        return None
