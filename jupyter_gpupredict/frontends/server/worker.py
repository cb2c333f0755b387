"""Work that may block, on a thread of its own, so that the event loop never does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_gpupredict.core.threads import WorkerThread

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
        self._name = f"server-{name}"
        self._limit_s = limit_s
        self._is_stuck = is_stuck
        self._give_up = give_up
        self._thread: WorkerThread | None = None
        self.replaced = 0
        """Threads that were given up."""

    @property
    def unfinished(self) -> int:
        """How much is being done or waits."""
        return 0 if self._thread is None else self._thread.unfinished

    @property
    def occupied(self) -> bool:
        """Whether something is being done or waits."""
        return self.unfinished > 0

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
        self._thread = self._thread or WorkerThread(self._name)
        if self._thread.unfinished >= MAX_WAITING:
            raise Busy
        done = asyncio.wrap_future(self._thread.submit(work, *arguments))
        until_s = time.monotonic() + (limit_s or self._limit_s)
        try:
            while not done.done():
                left_s = until_s - time.monotonic()
                if left_s <= 0.0:
                    raise TooSlow
                await asyncio.wait({done}, timeout=min(LOOK_S, left_s))
                self._look_after()
            return done.result()
        finally:
            done.cancel()

    def close(self, timeout_s: float = 1.0) -> bool:
        """End the thread after what it does now; it starts again with the next job.

        Returns:
            False when it did not end in time: what it does hangs.
        """
        thread, self._thread = self._thread, None
        return thread is None or thread.end(timeout_s)

    def _look_after(self) -> None:
        """Put another thread in the place of one that is stuck."""
        stuck = self._thread
        if stuck is None or not self._is_stuck(stuck.ident):
            return
        job = stuck.current
        self._give_up(stuck.ident)
        self.replaced += 1
        self._thread = WorkerThread(self._name)
        if job is not None:
            job.tries += 1
            if job.tries <= TRIES:
                self._thread.put(job)
            else:
                job.fail(TooSlow())
        stuck.hand_over(self._thread)
