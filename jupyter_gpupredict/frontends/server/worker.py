"""A thread for what may block, so that the event loop never does.

Not `concurrent.futures`: its threads are waited for when the process ends, and a driver call that
hangs would keep the server from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Value = TypeVar("_Value")

MAX_WAITING = 32


class Busy(Exception):
    """Too much is waiting already."""


class TooSlow(Exception):
    """The work was not done in time; it goes on, and its result is dropped."""


class Worker:
    """Does one thing after another on a thread of its own, started with the first."""

    def __init__(self, name: str, limit_s: float) -> None:
        self._name = f"gpupredict-server-{name}"
        self._limit_s = limit_s
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._thread: threading.Thread | None = None

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
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_Value] = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            self._waiting -= 1
            if done.done():  # nobody waits any longer
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(value)

        def job() -> None:
            value: Any = None
            error: BaseException | None = None
            try:
                value = work(*arguments)
            except Exception as raised:  # noqa: BLE001 - border: it is raised where it is waited for
                error = raised
            try:
                loop.call_soon_threadsafe(settle, value, error)
            except RuntimeError:
                return  # the loop has ended meanwhile

        self._waiting += 1
        self._jobs.put(job)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        try:
            return await asyncio.wait_for(done, limit_s or self._limit_s)
        except TimeoutError as error:
            raise TooSlow from error

    def close(self, timeout_s: float = 1.0) -> bool:
        """End the thread after what it does now; it starts again with the next job.

        Returns:
            False when it did not end in time: what it does hangs.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        self._jobs.put(None)
        thread.join(timeout_s)
        return not thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
