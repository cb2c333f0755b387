"""Thread one: wakes at absolute deadlines and calls the session's tick. Knows nothing else."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.clock import Clock

SLOW_EVERY_S = 1.0
"""Period of the slow tier: process lists and power cost milliseconds each."""


class Sampler:
    """Calls `tick(slow)` every `interval_s` until told to stop or until `tick` returns False."""

    def __init__(
        self,
        tick: Callable[[bool], bool],
        interval_s: float,
        clock: Clock,
        on_crash: Callable[[Exception], None],
    ) -> None:
        self._tick = tick
        self._interval_s = interval_s
        self._clock = clock
        self._on_crash = on_crash
        self._stop = threading.Lock()
        """Free once the thread shall end. An `Event` waits in Python, which costs several times as
        much at each wake-up."""
        self._stop.acquire()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._slow_due_s = 0.0
        self.late_count = 0
        """Wake-ups that were skipped because the thread came too late for them."""
        self.cpu_s = 0.0
        """CPU time the thread has used."""

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="gpupredict-sampler", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Ask the thread to end and wait for it; idempotent.

        Returns:
            False when the thread did not end in time (a driver call that hangs).
        """
        if not self._stopping:
            self._stopping = True
            self._stop.release()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        with contextlib.suppress(RuntimeError):  # it has not begun, and ends when it does
            thread.join(timeout_s)
        return not thread.is_alive()

    def step(self) -> bool:
        """Do one tick now, on the calling thread; return whether to go on."""
        now_s = self._clock.monotonic_s()
        slow = now_s >= self._slow_due_s
        if slow:
            # half a wake-up early counts as due: else jitter would skip every other one
            self._slow_due_s = now_s + SLOW_EVERY_S - self._interval_s / 2
        return self._tick(slow)

    def _run(self) -> None:
        deadline_s = self._clock.monotonic_s()
        try:
            while self.step():
                deadline_s += self._interval_s
                behind_s = self._clock.monotonic_s() - deadline_s
                if behind_s > 0:  # never chase missed deadlines: count them and go on from here
                    missed = int(behind_s / self._interval_s) + 1
                    self.late_count += missed
                    deadline_s += missed * self._interval_s
                if self._stop.acquire(timeout=max(0.0, deadline_s - self._clock.monotonic_s())):
                    return
        except Exception as error:  # noqa: BLE001 - border: a bug of ours must not reach the cell
            self._on_crash(error)
        finally:
            self.cpu_s = time.thread_time()
