"""`%%gpupredict --isolate`: the cell in a process of its own, and all of it as in the notebook."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from jupyter_gpupredict import mps
from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.frontends import executed
from jupyter_gpupredict.frontends.cellrun import warn
from jupyter_gpupredict.mps import isolate

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_gpupredict.frontends.cellrun import CellRun
    from jupyter_gpupredict.frontends.options import Isolation, MagicOptions
    from jupyter_gpupredict.mps import Ended, Fault, Isolated, IsolatedRun

    Measure = Callable[[MagicOptions, str, IsolatedRun], CellRun | None]


class IsolatedError(Exception):
    """Stands for an exception of an isolated cell that cannot be brought here itself."""


def run(shell: InteractiveShell, options: MagicOptions, cell: str, measure: Measure) -> Any:
    """Run a cell isolated and measured; returns its value, and raises what it raises.

    Raises:
        UsageError: One clear line; the cell did not run.
        BaseException: The cell's own.
    """
    isolation = options.isolation
    assert isolation is not None  # noqa: S101 - the caller has looked
    try:
        code = executed.code_now(shell, cell, setup=isolation.setup)
        isolated = isolate(code, isolation.returns)
        for note in isolated.notes:
            warn(note)
        with mps.child_lease(options.config) as lease:
            child = mps.IsolatedRun(isolated, lease, on_output=_write, on_note=warn)
            try:
                child.start()
                ended, ours = _attend(child, lambda: measure(options, cell, child))
                value, error = _outcome(shell, isolation, isolated, child, ended, ours=ours)
            finally:
                rung = child.stop()
                if rung.startswith("SIG"):
                    warn(f"the cell's process did not end when asked, and was ended by {rung}")
    except GpuPredictError as refusal:
        raise UsageError(str(refusal)) from None
    if error is not None:
        raise error
    return value


def _attend(child: IsolatedRun, measure: Callable[[], CellRun | None]) -> tuple[Ended | None, bool]:
    """See the cell to its end, where the measuring ends, too.

    Returns:
        How it ended, None when it was given up after an interrupt; and whether it was our own
        interrupt that ended it, because the prediction has converged.
    """
    measured: CellRun | None = None
    ended: Ended | None = None
    outcome = "failed"
    try:
        measured = measure()
        child.go()
        ended = child.wait()
        outcome = "interrupted" if ended is None else ended.outcome
    except KeyboardInterrupt:
        outcome = "interrupted"
    finally:
        ours = outcome == "interrupted" and measured is not None and measured.stopped_by_us()
        if measured is not None:
            how = "failed" if outcome == "died" else outcome
            failure = ended.error.name if ended is not None and ended.error else ""
            measured.end("stopped" if ours else how, "" if ours else failure)
    return ended, ours


def _outcome(
    shell: InteractiveShell,
    isolation: Isolation,
    isolated: Isolated,
    child: IsolatedRun,
    ended: Ended | None,
    *,
    ours: bool,
) -> tuple[Any, BaseException | None]:
    """Return the cell's value and what it raised; the names that were asked for come back first."""
    fault = ended.error if ended is not None else None
    value = None
    if ended is not None and ended.outcome != "died":
        value = _bring_back(shell, isolation, isolated, child, shows=fault is None)
    if ours:
        return None, None
    if ended is None:
        return None, KeyboardInterrupt()
    return value, None if fault is None else _as_raised(fault, child, shell.user_ns)


def _bring_back(
    shell: InteractiveShell,
    isolation: Isolation,
    isolated: Isolated,
    child: IsolatedRun,
    *,
    shows: bool,
) -> Any:
    """Put the names that were asked for into the notebook; returns the cell's value."""
    for name, fetched in child.fetch(isolation.returns, shell.user_ns).items():
        if fetched.reason:
            warn(f"{name} was not brought back: {fetched.reason}")
        else:
            shell.user_ns[name] = fetched.value
    if not (shows and isolated.shows):
        return None
    value = child.shown(shell.user_ns)
    if value.reason == "text":
        return _Shown(value.value)
    if value.reason:
        warn(f"the cell's value was not brought back: {value.reason}")
    return value.value


class _Shown:
    """The repr of a value that stayed in the cell's process."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _as_raised(fault: Fault, child: IsolatedRun, namespace: dict[str, Any]) -> BaseException:
    """Return the cell's exception; a notebook shows the traceback that it had in its process."""
    error: Any = child.raised(fault, namespace)
    if error is None:
        error = type(fault.name, (IsolatedError,), {})(fault.message)
    lines = fault.traceback.rstrip("\n").splitlines()
    note = child.fault_note(fault)
    if note:
        lines.append(f"gpupredict: {note}")
        warn(note)
    # IPython's way to let an exception bring its own traceback, made for remote ones
    error._render_traceback_ = lambda: lines
    raised: BaseException = error
    return raised


def _write(stream: str, text: str) -> None:
    file = sys.stdout if stream == "stdout" else sys.stderr
    file.write(text)
    file.flush()
