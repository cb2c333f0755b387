"""Held requests: one look at the files, a few times a second, for all that wait."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.summary import News
from jupyter_gpupredict.frontends.server.worker import Busy, TooSlow

if TYPE_CHECKING:
    from jupyter_gpupredict.core.summary import Cursor
    from jupyter_gpupredict.frontends.server.worker import Worker
    from jupyter_gpupredict.run import Runs

PERIOD_S = 0.35
"""Kernels write at most every 250 ms, and a reading shall be on the screen within 500 ms: a longer
period leaves no room, a shorter one costs more messages."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    kernel_id: str
    cursor: Cursor
    limit: int
    done: asyncio.Future[News]


class Pulse:
    """Looks for news only while somebody waits for some."""

    def __init__(self, files: Worker, runs: Runs) -> None:
        self._files = files
        self._runs = runs
        self._waiters: list[_Waiter] = []
        self._task: asyncio.Task[None] | None = None

    async def news(self, kernel_id: str, cursor: Cursor, limit: int, wait_s: float) -> News:
        """Return news as soon as there are some; empty ones after `wait_s`.

        Raises:
            Busy, TooSlow: The files cannot be looked at now.
        """
        found = await self._files.do(self._runs.news, kernel_id, cursor, limit)
        if found.runs or wait_s <= 0:
            return found
        return await self.next(kernel_id, cursor, limit, wait_s)

    async def next(self, kernel_id: str, cursor: Cursor, limit: int, wait_s: float) -> News:
        """Return news found by the next looks; empty ones after `wait_s`."""
        done: asyncio.Future[News] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(kernel_id, cursor, limit, done)
        self._waiters.append(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._beat())
        try:
            return await asyncio.wait_for(done, wait_s)
        except TimeoutError:
            return News((), cursor)
        finally:
            self._waiters.remove(waiter)

    def close(self) -> None:
        """End the looking."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _beat(self) -> None:
        while self._waiters:
            await asyncio.sleep(PERIOD_S)
            waiting = tuple(self._waiters)
            try:
                everything = await self._files.do(self._look, waiting)
            except (Busy, TooSlow, TraceError):
                continue
            for waiter, news in zip(waiting, everything, strict=True):
                if news is not None and not waiter.done.done():
                    waiter.done.set_result(news)

    def _look(self, waiting: tuple[_Waiter, ...]) -> list[News | None]:
        found: list[News | None] = []
        for waiter in waiting:
            try:
                news = self._runs.news(waiter.kernel_id, waiter.cursor, waiter.limit)
            except (OSError, TraceError):
                found.append(None)  # the next look tells whether it lasts
            else:
                found.append(news if news.runs else None)
        return found
