"""One measured cell, from its first line to its end, and which cells a kernel runs now.

What IPython's hooks hand over proves nothing. It makes a new result where showing an error fails,
none where it fails itself, and says nothing after a cell whose coroutine was dropped. So a cell is
known by its place: its thread, and how many cells stand below it on that thread's stack.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.display import display

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.frontends import executed, report
from jupyter_gpupredict.frontends.measure import ConvergenceStop
from jupyter_gpupredict.frontends.report import Result
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.frontends.views import View, cell_key, notebook, open_view
from jupyter_gpupredict.mps import cell_share, process_mps
from jupyter_gpupredict.run import build_session, with_verified_in_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

    from jupyter_gpupredict.frontends.options import MagicOptions
    from jupyter_gpupredict.mps import IsolatedRun
    from jupyter_gpupredict.run import Session


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


# ---- one measured cell -------------------------------------------------------------------------


def quiet_interrupt(shell: InteractiveShell, stop: ConvergenceStop) -> None:
    """Until the next interrupt or the end of the run, show no traceback for our interrupt.

    IPython offers one place for such a handler; what was there before is put back by the handler
    itself and serves every exception that is not ours.
    """
    before = (shell.custom_exceptions, getattr(shell, "CustomTB", None))

    def restore() -> None:
        shell.custom_exceptions, custom = before
        if custom is not None:
            shell.CustomTB = custom

    def handler(
        self: InteractiveShell, kind: type[BaseException], value: BaseException, trace: Any
    ) -> list[str] | None:
        restore()
        if stop.owns(value):
            return []
        if isinstance(value, before[0]) and before[1] is not None:
            shown: list[str] | None = before[1](kind, value, trace)
            return shown
        self.showtraceback((kind, value, trace), running_compiled_code=True)
        return None

    shell.custom_exceptions = (KeyboardInterrupt, asyncio.CancelledError)
    shell.CustomTB = types.MethodType(handler, shell)
    stop.on_disarm = restore


_MARK = "_gpupredict_leaves"


def release_on_shutdown(shell: InteractiveShell) -> None:
    """End this kernel's MPS contexts when it shuts down or restarts; once per kernel.

    The request arrives on the kernel's control thread, also while a cell keeps the main thread
    busy. What follows it, unless the kernel ends in time, is SIGKILL; and a client that is killed
    with work under way leaves its server undefined for all others (MPS documentation).
    """
    kernel: Any = getattr(shell, "kernel", None)
    if kernel is None or getattr(kernel, _MARK, False):
        return
    shut_down = kernel.do_shutdown

    def do_shutdown(restart: bool) -> Any:
        process_mps().release()
        return shut_down(restart)

    kernel.do_shutdown = do_shutdown
    setattr(kernel, _MARK, True)


def warn(message: str) -> None:
    """Write one line of warning where the cell's own warnings go, if they still go anywhere."""
    with contextlib.suppress(Exception):  # the cell may have closed or replaced the stream
        say(f"gpupredict: {message}", error=True)


class CellRun:
    """The measuring of one cell."""

    def __init__(
        self,
        shell: InteractiveShell,
        options: MagicOptions,
        code: str,
        *,
        synchronize: bool,
        child: IsolatedRun | None = None,
    ) -> None:
        self._shell = shell
        self._options = options
        self._code = code
        self._synchronize = synchronize
        self._child = child
        self._stop = ConvergenceStop()
        self._session: Session | None = None
        self._pid = os.getpid()

    def begin(self) -> None:
        """Start to measure; on the main thread, inside the cell. What it raises leaves nothing.

        Raises:
            GpuPredictError: Nothing can be measured.
            KeyboardInterrupt: The user's.
        """
        config, shell = self._options.config, self._shell
        view = None if self._options.quiet else _open_view(shell)
        session = build_session(
            config,
            code=self._code,
            kernel_id=_kernel_id(shell),
            notebook=notebook(os.environ),
            cell_id=cell_key(getattr(shell, "kernel", None)),
            subscribers=() if view is None else view.subscribers,
            live=view is not None and view.live,
            on_state=self._stop.on_state if config.until_converged else None,
            on_limit=self._stop.fire if config.until_converged else None,
            child=self._child,
            share=cell_share(config) if self._child is None else None,
            cluster=None if config.cluster is None else shell.user_ns.get(config.cluster),
        )
        if self._synchronize:
            _wait_for_gpu()
        session.start()
        self._session = session
        try:
            self._attend(session, view)
        except BaseException as error:  # such as an interrupt while the view comes up
            self.end(_outcome(error), type(error).__name__)
            raise

    def _attend(self, session: Session, view: View | None) -> None:
        """Say what is to be said of a run that has just begun, and show it."""
        config, shell = self._options.config, self._shell
        if session.waiting:
            warn(session.waiting)
        applied = session.applied
        if applied is not None and applied.reason and self._child is None:
            warn(words.mps(applied))  # an isolated cell does not depend on it: its result says so
        if applied is not None and applied.active:
            release_on_shutdown(shell)
        executed.remember(shell, session.session_id, self._code)
        if config.until_converged:
            self._stop.arm()
            quiet_interrupt(shell, self._stop)
        if view is not None:
            _show(view, session.session_id)

    @property
    def session(self) -> Session | None:
        """The run's session, once begun."""
        return self._session

    def stopped_by_us(self) -> bool:
        """Whether the cell was interrupted because the prediction converged."""
        return self._stop.fired

    def end_with(self, result: ExecutionResult) -> None:
        """End with the outcome that IPython reports for the cell."""
        error = result.error_before_exec or result.error_in_exec
        if error is not None and self._stop.owns(error):
            result.error_in_exec = None  # so that the reply is ok and Run All goes on
            self.end("stopped")
        elif error is None:
            self.end("completed")
        else:
            self.end(_outcome(error), type(error).__name__)
            with contextlib.suppress(Exception):  # its text is made by the user's code
                from jupyter_gpupredict.mps import UNREACHABLE, unreachable

                if unreachable(str(error)):
                    warn(UNREACHABLE)

    def end(self, outcome: str, error: str = "") -> None:
        """Stop measuring, show the result and bind it; a fork of the cell does nothing.

        `error` is the name of what the cell raised.

        Raises nothing but the user's interrupt.
        """
        self._stop.disarm()
        session = self._session
        if session is None or os.getpid() != self._pid:
            return
        try:
            if self._synchronize:
                _wait_for_gpu()
            result = Result(with_verified_in_time(session.stop(outcome, error)))
            report.remember(result)
            if self._options.output is not None:
                self._shell.user_ns[self._options.output] = result
            if not self._options.quiet:
                if self._stop.fired:
                    say(_why_stopped(result))
                display(result)  # type: ignore[no-untyped-call]  # IPython
        except GpuPredictError as nothing:
            warn(str(nothing))
        except Exception as fault:  # noqa: BLE001 - border: our fault must not fail the cell
            warn(f"{type(fault).__name__}: {fault}; the cell is not affected")
        for problem in getattr(session, "errors", ()):
            warn(problem)


def _open_view(shell: InteractiveShell) -> View | None:
    """Return the live view; a view that cannot be made is not a reason to skip the measuring."""
    try:
        view, hint = open_view(shell)
    except Exception as error:  # noqa: BLE001 - border: our fault must not stop the measuring
        warn(f"no live view: {type(error).__name__}: {error}")
        return None
    if hint:
        warn(hint)
    return view


def _show(view: View, session_id: str) -> None:
    """Show the live view; one that cannot be shown is not a reason to skip the measuring."""
    try:
        view.show(session_id)
    except Exception as error:  # noqa: BLE001 - border: our fault must not stop the measuring
        warn(f"no live view: {type(error).__name__}: {error}")


def _outcome(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _why_stopped(result: Result) -> str:
    if result.state == "converged":
        return f"gpupredict stopped this cell: {result.reason}"
    return f"gpupredict stopped this cell at --max-seconds, {result.state}: {result.reason}"


def _kernel_id(shell: InteractiveShell) -> str | None:
    """Return the kernel's id, which is in the name of its connection file."""
    kernel = getattr(shell, "kernel", None)
    name = getattr(getattr(kernel, "parent", None), "connection_file", "") or ""
    stem = name.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".json")
    return stem.removeprefix("kernel-") or None


def _wait_for_gpu() -> None:
    """Let queued GPU work finish, so that it is counted to the cell that queued it.

    Frameworks that are not imported, or have not started CUDA, are left alone.
    """
    torch: Any = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        cupy: Any = sys.modules.get("cupy")
        if cupy is not None and getattr(cupy, "_environment", None) is not None:
            cupy.cuda.Device().synchronize()
    except Exception as error:  # noqa: BLE001 - the user's framework, in whatever state it is
        warn(f"could not wait for the GPU: {error}")
