"""Thread one: begins, wakes at absolute deadlines and calls the session's tick, and ends."""

from __future__ import annotations

import contextlib
import threading
from time import thread_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.clock import Clock

SLOW_EVERY_S = 1.0
"""Period of the slow tier: process lists and power cost milliseconds each."""


class Sampler:
    """Calls `tick(slow)` until told to stop or until `tick` returns False.

    Args:
        begin: Called first; returns how many seconds apart the ticks are, None for none at all.
        tick: Returns whether to go on.
        end: Called last, in any case.
        clock: Tells when a tick is due.
        on_crash: Takes what `begin` and `tick` raise.
    """

    def __init__(
        self,
        begin: Callable[[], float | None],
        tick: Callable[[bool], bool],
        end: Callable[[], None],
        clock: Clock,
        on_crash: Callable[[Exception], None],
    ) -> None:
        self._begin = begin
        self._tick = tick
        self._end = end
        self._clock = clock
        self._on_crash = on_crash
        self._stop = threading.Lock()
        """Free once the thread shall end. An `Event` waits in Python, which costs several times as
        much at each wake-up."""
        self._stop.acquire()
        self._thread: threading.Thread | None = None
        self.cpu_s = 0.0
        """CPU time of the ticks."""

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="gpupredict-sampler", daemon=True)
        self._thread.start()

    def ask_to_end(self) -> None:
        """Have the thread end by itself, after one tick at least; from any thread, idempotent."""
        with contextlib.suppress(RuntimeError):  # it is free already
            self._stop.release()

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end and wait for it; idempotent.

        Returns:
            False when the thread did not end in time (a driver call that hangs).
        """
        self.ask_to_end()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        with contextlib.suppress(RuntimeError):  # it has not begun, and ends when it does
            thread.join(timeout_s)
        return not thread.is_alive()

    def _run(self) -> None:
        try:
            interval_s = self._begin()
            if interval_s is not None:
                self._tick_every(interval_s)
        except Exception as error:  # noqa: BLE001 - border: a bug of ours must not reach the cell
            self._on_crash(error)
        finally:
            self._end()

    def _tick_every(self, interval_s: float) -> None:
        began_s = thread_time()
        due_s, slow_due_s = self._clock.monotonic_s(), 0.0
        try:
            while True:
                now_s = self._clock.monotonic_s()
                slow = now_s >= slow_due_s
                if slow:
                    # half a wake-up early counts as due: else jitter would skip every other one
                    slow_due_s = now_s + SLOW_EVERY_S - interval_s / 2
                if not self._tick(slow):
                    return
                due_s += interval_s
                behind_s = self._clock.monotonic_s() - due_s
                if behind_s > 0:  # never chase missed deadlines: go on from here
                    due_s += (int(behind_s / interval_s) + 1) * interval_s
                if self._stop.acquire(timeout=max(0.0, due_s - self._clock.monotonic_s())):
                    return
        finally:
            self.cpu_s = thread_time() - began_s
