"""What scripts and cells call: measure a block or a function, report progress, stop in time."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import inspect
import math
import signal
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.errors import ConfigError, GpuPredictError
from jupyter_gpupredict.core.options import listed, signature
from jupyter_gpupredict.core.progress import OTHER
from jupyter_gpupredict.frontends import report
from jupyter_gpupredict.frontends.report import Result, last
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.mps import cell_share
from jupyter_gpupredict.run import (
    SessionConfig,
    build_session,
    progress_hub,
    with_verified_in_time,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.recommendation import Recommendation
    from jupyter_gpupredict.run import Session


class ConvergenceStop:
    """Armed on the main thread, fired at most once from another one.

    No signal handler is installed: the signal of the interrupt button is sent to the main thread,
    so that the handler that is there acts, and a sleeping system call wakes up. Where there is none
    (a script in the background ignores the signal), the exception is raised without one, at the
    main thread's next bytecode.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.fired = False
        self.on_disarm: Callable[[], None] | None = None
        """Called once when the stop is disarmed."""

    def arm(self) -> bool:
        """Allow the stop from here on; returns False off the main thread, which it would hit."""
        if threading.current_thread() is not threading.main_thread():
            return False
        with self._lock:
            self._armed = True
            self._loop = _running_loop()
        return True

    def on_state(self, recommendation: Recommendation) -> None:
        """Interrupt the main thread once the prediction has converged."""
        if recommendation.state == "converged":
            self.fire()

    def fire(self) -> bool:
        """Interrupt the main thread; returns False when it is too late or was done before."""
        with self._lock:
            if not self._armed or self.fired:
                return False
            self.fired = True
            main = threading.main_thread().ident or 0
            if callable(signal.getsignal(signal.SIGINT)):
                signal.pthread_kill(main, signal.SIGINT)
            else:
                raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
                raise_in(ctypes.c_ulong(main), ctypes.py_object(KeyboardInterrupt))
            if self._loop is not None:
                # A loop that waits for a timer acts on what its signal handler asked for only when
                # the timer is due (ipykernel cancels an awaiting cell like that), or when woken.
                with contextlib.suppress(RuntimeError):  # closed meanwhile
                    self._loop.call_soon_threadsafe(lambda: None)
            return True

    def disarm(self) -> None:
        """Forbid the stop; take back an interrupt that has not been raised yet. Main thread only.

        An interrupt is raised between two bytecodes of the main thread, so one that was sent in the
        last moment would otherwise hit whatever runs next.
        """
        try:
            with self._lock:
                pending = self._armed and self.fired
                self._armed = False
            if pending:
                for _ in range(100):  # bytecodes in which a pending interrupt is raised, here
                    pass
        except KeyboardInterrupt:
            pass
        callback, self.on_disarm = self.on_disarm, None
        if callback is not None:
            callback()

    def owns(self, error: BaseException) -> bool:
        """Return whether this exception is our own interrupt (cancelled tasks included)."""
        return self.fired and isinstance(error, KeyboardInterrupt | asyncio.CancelledError)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


# ---- progress ----------------------------------------------------------------------------------


HINT = "api"
_Item = TypeVar("_Item")


def track(
    iterable: Iterable[_Item], total: float | None = None, unit: Unit = "epoch"
) -> Tracked[_Item]:
    """Return the iterable, to be looped over, which then reports how far it has come.

        for epoch in jupyter_gpupredict.track(range(10)):
            for batch in jupyter_gpupredict.track(loader, unit="step"):
                ...

    The items are the iterable's own, one for one. An item is complete when the next one is asked
    for; a `break` or an exception leaves the last one incomplete. As in a plain loop, an iterator
    that you hold yourself stays open afterwards.

    Args:
        iterable: What to loop over.
        total: How many items there are; None: its `len`, if it has one.
        unit: `epoch`; everything else is `step`, which is never mistaken for an epoch.
    """
    length = _length(iterable)
    kind = Tracked if length is None else SizedTracked
    return kind(iterable, _number(total, length), "epoch" if unit == "epoch" else "step")


class Tracked(Generic[_Item]):
    """An iterable that reports its progress."""

    def __init__(self, iterable: Iterable[_Item], total: float | None, unit: Unit) -> None:
        self._iterable = iterable
        self._total = total
        self._unit = unit

    def __iter__(self) -> Iterator[_Item]:
        report, total, unit = progress_hub().progress, self._total, self._unit
        done = 0
        report(unit, done, total, HINT)
        for item in self._iterable:
            yield item
            done += 1
            report(unit, done, total, HINT)


class SizedTracked(Tracked[_Item]):
    """One whose length is known; only this kind has `len`, for `bool` and `list` ask for it."""

    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]


_current: ContextVar[str] = ContextVar("gpupredict_phase", default=OTHER)


class phase:  # noqa: N801 - reads as a verb: `with phase("validation"):`
    """Say that a block is a phase of the run, such as `train`, `validation` or `checkpoint`.

    Phases nest; after the block the former one goes on. One object may be used many times.

    Args:
        name: Any name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._former: list[str] = []

    def __enter__(self) -> Self:
        self._former.append(_current.get())
        self._enter(str(self.name))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._enter(self._former.pop() if self._former else OTHER)

    @staticmethod
    def _enter(name: str) -> None:
        # Set, not reset by token: a generator may be closed in another context than it began in.
        _current.set(name)
        progress_hub().phase(name, HINT)


class _Count:
    """Calls of `epoch` in the session that began last."""

    def __init__(self) -> None:
        self.session = -1
        self.done = 0


_count = _Count()


def epoch(total: float | None = None) -> None:
    """Say that one more epoch is complete; counted from the start of the measured cell.

    Args:
        total: How many there will be, when known.
    """
    hub = progress_hub()
    if not hub.listening:
        return
    if hub.joined_count != _count.session:
        _count.session, _count.done = hub.joined_count, 0
        hub.begin(_number(total), HINT)  # only the end of the first epoch shows that there is one
    _count.done += 1
    hub.progress("epoch", _count.done, _number(total), HINT)


def _length(iterable: Any) -> int | None:
    try:
        return len(iterable)
    except Exception:  # noqa: BLE001 - loaders raise what they like; then it has no length
        return None


def _number(*candidates: Any) -> float | None:
    """Return the first that is a count; None when none is."""
    for candidate in candidates:
        try:
            number = float(candidate)
        except Exception:  # noqa: BLE001, PERF203 - a total that is none says nothing, and no more
            continue
        if math.isfinite(number) and number >= 0:
            return number
    return None


__all__ = ["last", "measure", "measured"]

_Function = TypeVar("_Function", bound="Callable[..., Any]")


class measure:  # noqa: N801 - reads as a verb: `with measure() as run:`
    """Measure a block of code.

    The block behaves as without it: its exceptions pass, and a failure of ours costs the measuring,
    not the block. `run.result` holds the result after the block; None when nothing was measured.

    Args:
        quiet: Write nothing to stderr.
        **options: These, as on the command line.
    {options}

    Raises:
        ConfigError: An option is wrong.
    """

    def __init__(self, *, quiet: bool = False, **options: Any) -> None:
        self.config = SessionConfig(**options)
        self.quiet = quiet
        self.result: Result | None = None
        self._session: Session | None = None
        self._stop = ConvergenceStop()

    @property
    def recommendation(self) -> Recommendation | None:
        """The newest recommendation while the block runs."""
        return self._session.recommendation if self._session else None

    def __enter__(self) -> Self:
        try:
            session = build_session(
                self.config,
                on_state=self._stop.on_state if self.config.until_converged else None,
                on_limit=self._stop.fire if self.config.until_converged else None,
                share=cell_share(self.config),
            )
            session.start()
        except ConfigError:
            raise
        except GpuPredictError as error:
            self._warn(f"{error}; running unmeasured")
        except Exception as error:  # noqa: BLE001 - border: our fault must not stop the block
            self._warn(f"{type(error).__name__}: {error}; running unmeasured")
        else:
            self._session = session
            try:
                self._attend(session)
            except BaseException as error:  # no block is entered, so nothing else would end it
                self.__exit__(type(error), error, error.__traceback__)
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        ours = error is not None and self._stop.owns(error)
        name = "" if kind is None or ours else kind.__name__
        self._stop.disarm()
        if self._session is None:
            return False
        outcome = "failed"
        if ours:
            outcome = "stopped"
        elif error is None:
            outcome = "completed"
        elif isinstance(error, KeyboardInterrupt):
            outcome = "interrupted"
        try:
            self.result = Result(with_verified_in_time(self._session.stop(outcome, name)))
            report.remember(self.result)
        except GpuPredictError as nothing:
            self._warn(str(nothing))
        except Exception as fault:  # noqa: BLE001 - border: our fault must not hide the block's
            self._warn(f"{type(fault).__name__}: {fault}")
        if ours and self.result is not None:
            self._warn(f"stopped: {self.result.reason}")
        return ours

    def _attend(self, session: Session) -> None:
        """Say what is to be said of a run that has just begun."""
        if session.waiting:
            self._warn(session.waiting)
        if session.applied is not None and session.applied.reason:
            self._warn(words.mps(session.applied))
        if self.config.until_converged and not self._stop.arm():
            self._warn("until_converged works on the main thread alone; watching to the end")

    def _warn(self, message: str) -> None:
        if not self.quiet:
            with contextlib.suppress(Exception):  # the block may have closed the stream
                say(f"gpupredict: {message}", error=True)


_measure: Any = measure
_measure.__doc__ = _measure.__doc__.replace("    {options}", listed(SessionConfig))
_measure.__signature__ = signature(SessionConfig)


def measured(function: _Function | None = None, **options: Any) -> Any:
    """Return the function, measured at each call; `function.last_result` holds the newest result.

    Works with and without arguments, which are those of `measure`, and on coroutine functions.
    """
    if function is None:
        return functools.partial(measured, **options)
    target = function

    if inspect.iscoroutinefunction(target):

        @functools.wraps(target)
        async def waits(*args: Any, **kwargs: Any) -> Any:
            with measure(**options) as run:
                value = await target(*args, **kwargs)
            waits.last_result = run.result  # type: ignore[attr-defined]
            return value

        waits.last_result = None  # type: ignore[attr-defined]
        return waits

    @functools.wraps(target)
    def calls(*args: Any, **kwargs: Any) -> Any:
        value = None
        with measure(**options) as run:
            value = target(*args, **kwargs)
        calls.last_result = run.result  # type: ignore[attr-defined]
        return value

    calls.last_result = None  # type: ignore[attr-defined]
    return calls
