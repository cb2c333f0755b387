"""Stops the main thread's work once a prediction has converged, by KeyboardInterrupt, once."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.recommendation import Recommendation


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
