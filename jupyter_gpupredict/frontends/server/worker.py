"""A thread for what may block, so that the event loop never does.

Not `concurrent.futures`: its threads are waited for when the process ends, and a driver call that
hangs would keep the server from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

_Value = TypeVar("_Value")

MAX_WAITING = 32
TRIES = 2
LOOK_S = 0.1
"""How often somebody who waits looks whether the thread is stuck."""


class Busy(Exception):
    """Too much is waiting already."""


class TooSlow(Exception):
    """The work was not done in time; it goes on, and its result is dropped."""


class _Job:
    def __init__(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.work, self.arguments = work, arguments
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Any] = self.loop.create_future()
        self.tries = 0
        self.settled = False


class _Hand:
    """A thread with what it does and is to do."""

    def __init__(self, name: str, settle: Callable[[_Job, Any, Exception | None], None]) -> None:
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.current: _Job | None = None
        self._settle = settle
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (job := self.jobs.get()) is not None:
            self.current = job
            value: Any = None
            error: Exception | None = None
            try:
                value = job.work(*job.arguments)
            except Exception as raised:  # noqa: BLE001 - border: it is raised where it is waited for
                error = raised
            self.current = None
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                job.loop.call_soon_threadsafe(self._settle, job, value, error)


class Worker:
    """Does one thing after another on a thread of its own, started with the first.

    A thread that is stuck is given up: another one tries what it was doing once more, and goes on
    with what waits.
    """

    def __init__(
        self,
        name: str,
        limit_s: float,
        is_stuck: Callable[[int], bool] = lambda _: False,
        give_up: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Describe a worker.

        Args:
            name: Of its thread.
            limit_s: Seconds that somebody waits for it.
            is_stuck: Whether the thread of this number is; asked while somebody waits for it.
            give_up: Called with it then, before another one takes its place.
        """
        self._name = f"gpupredict-server-{name}"
        self._limit_s = limit_s
        self._is_stuck = is_stuck
        self._give_up = give_up
        self._waiting = 0
        self._hand: _Hand | None = None
        self.replaced = 0
        """Threads that were given up."""

    @property
    def occupied(self) -> bool:
        """Whether something is being done or waits; to be asked on the event loop."""
        return self._waiting > 0

    async def do(
        self, work: Callable[..., _Value], *arguments: Any, limit_s: float | None = None
    ) -> _Value:
        """Return what `work(*arguments)` returns.

        Args:
            work: What to do.
            arguments: With what.
            limit_s: Seconds to wait; None: the worker's own.

        Raises:
            Busy: Too much is waiting.
            TooSlow: It took too long.
            Exception: Whatever `work` raises.
        """
        if self._waiting >= MAX_WAITING:
            raise Busy
        if self._hand is None:
            self._hand = _Hand(self._name, self._settle)
        job = _Job(work, arguments)
        self._waiting += 1
        self._hand.jobs.put(job)
        until_s = time.monotonic() + (limit_s or self._limit_s)
        try:
            while not job.done.done():
                left_s = until_s - time.monotonic()
                if left_s <= 0.0:
                    raise TooSlow
                await asyncio.wait({job.done}, timeout=min(LOOK_S, left_s))
                self._look_after()
            return cast("_Value", job.done.result())
        finally:
            job.done.cancel()

    def close(self, timeout_s: float = 1.0) -> bool:
        """End the thread after what it does now; it starts again with the next job.

        Returns:
            False when it did not end in time: what it does hangs.
        """
        hand, self._hand = self._hand, None
        if hand is None:
            return True
        hand.jobs.put(None)
        hand.thread.join(timeout_s)
        return not hand.thread.is_alive()

    def _settle(self, job: _Job, value: Any, error: Exception | None) -> None:
        """Tell what came of a job, the first time; on the event loop."""
        if job.settled:
            return
        job.settled = True
        self._waiting -= 1
        if job.done.done():  # nobody waits any longer
            return
        if error is not None:
            job.done.set_exception(error)
        else:
            job.done.set_result(value)

    def _look_after(self) -> None:
        """Put another thread in the place of one that is stuck."""
        stuck = self._hand
        if stuck is None or stuck.thread.ident is None or not self._is_stuck(stuck.thread.ident):
            return
        job = stuck.current
        self._give_up(stuck.thread.ident)
        self.replaced += 1
        fresh = self._hand = _Hand(self._name, self._settle)
        if job is not None:
            job.tries += 1
            if job.tries < TRIES:
                fresh.jobs.put(job)
            else:
                self._settle(job, None, TooSlow())
        with contextlib.suppress(queue.Empty):
            while True:
                fresh.jobs.put(stuck.jobs.get_nowait())
        stuck.jobs.put(None)
