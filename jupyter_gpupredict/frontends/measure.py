"""`with measure()` and `@measured`: the same result for scripts and functions, without IPython."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any, Self, TypeVar

from jupyter_gpupredict.config import SessionConfig, build_session, with_verified_in_time
from jupyter_gpupredict.core.errors import ConfigError, GpuPredictError
from jupyter_gpupredict.frontends import report, words
from jupyter_gpupredict.frontends.report import Result, last
from jupyter_gpupredict.frontends.stopping import ConvergenceStop
from jupyter_gpupredict.frontends.terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from jupyter_gpupredict.core.protocols import SessionHandle
    from jupyter_gpupredict.core.recommendation import Recommendation

__all__ = ["last", "measure", "measured"]

_Function = TypeVar("_Function", bound="Callable[..., Any]")


class measure:  # noqa: N801 - reads as a verb: `with measure() as run:`
    """Measure a block of code.

    The block behaves as without it: its exceptions pass, and a failure of ours costs the measuring,
    not the block. `run.result` holds the result after the block; None when nothing was measured.

    Args:
        quiet: Write nothing to stderr.
        **options: Fields of `SessionConfig`.

    Raises:
        ConfigError: An option is wrong.
    """

    def __init__(self, *, quiet: bool = False, **options: Any) -> None:
        self.config = SessionConfig(**options)
        self.quiet = quiet
        self.result: Result | None = None
        self._session: SessionHandle | None = None
        self._stop = ConvergenceStop()

    @property
    def recommendation(self) -> Recommendation | None:
        """The newest recommendation while the block runs."""
        return self._session.recommendation if self._session else None

    def __enter__(self) -> Self:
        try:
            session = build_session(
                self.config,
                on_state=self._on_state if self.config.until_converged else None,
                on_limit=self._on_limit if self.config.until_converged else None,
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
            self.result = Result(with_verified_in_time(self._session.stop(outcome)))
            report.remember(self.result)
        except GpuPredictError as nothing:
            self._warn(str(nothing))
        except Exception as fault:  # noqa: BLE001 - border: our fault must not hide the block's
            self._warn(f"{type(fault).__name__}: {fault}")
        if ours and self.result is not None:
            self._warn(f"stopped: {self.result.reason}")
        return ours

    def _attend(self, session: SessionHandle) -> None:
        """Say what is to be said of a run that has just begun."""
        if session.waiting:
            self._warn(session.waiting)
        if session.applied is not None and session.applied.reason:
            self._warn(words.mps(session.applied))
        if self.config.until_converged and not self._stop.arm():
            self._warn("until_converged works on the main thread alone; watching to the end")

    def _on_state(self, recommendation: Recommendation) -> None:
        if recommendation.state == "converged":
            self._stop.fire()

    def _on_limit(self) -> None:
        self._stop.fire()

    def _warn(self, message: str) -> None:
        if not self.quiet:
            with contextlib.suppress(Exception):  # the block may have closed the stream
                say(f"gpupredict: {message}", error=True)


def measured(function: _Function | None = None, **options: Any) -> Any:
    """Return the function, measured at each call; `function.last_result` holds the newest result.

    Works with and without arguments, and on coroutine functions.

    Args:
        function: The function, when used without arguments.
        **options: As for `measure`.
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
