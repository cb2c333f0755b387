"""What the routes of one server share: threads, runs, devices and news."""

from __future__ import annotations

import asyncio
import platform
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import TelemetryError, TraceError
from jupyter_gpupredict.core.summary import News
from jupyter_gpupredict.core.threads import WorkerThread
from jupyter_gpupredict.run import Runs, device_watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.devices import DeviceTable
    from jupyter_gpupredict.core.protocols import DeviceWatch
    from jupyter_gpupredict.core.summary import Cursor


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
    def occupied(self) -> bool:
        """Whether something is being done or waits."""
        return self.unfinished > 0

    @property
    def unfinished(self) -> int:
        """How much is being done or waits."""
        return 0 if self._thread is None else self._thread.unfinished

    async def do(
        self, work: Callable[..., _Value], *arguments: Any, limit_s: float | None = None
    ) -> _Value:
        """Return what `work(*arguments)` returns.

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


# ---- devices, runs, news -----------------------------------------------------------------------


KEEP_S = 1.0
GLANCE_S = 0.5
"""How long answers that hold more than the devices wait for these."""
DRIVER_SHARE = 0.05
"""Of the time may go into reading: what took longer is kept longer."""
SLOW_MESSAGE = "the driver did not answer in time"
SLOW_HINT = "nvidia-smi may hang too: see the system log for Xid errors"


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest devices, and what was wrong with the last try."""

    table: DeviceTable | None = None
    """None: never read, or lost."""
    read_at: datetime | None = None
    age_s: float | None = None
    reason: str = ""
    """One of `core.metrics.REASONS`; empty: the last try went well."""
    message: str = ""
    hint: str = ""


class Devices:
    """Asks the driver on its own thread; all requests at one time share one reading."""

    def __init__(self, worker: Worker, make_watch: Callable[[], DeviceWatch]) -> None:
        self._worker = worker
        self._make_watch = make_watch
        self._watch: DeviceWatch | None = None
        self._kept = Reading()
        self._read_s = float("-inf")
        self._tried_s = float("-inf")
        self._keep_s = KEEP_S
        self._current: asyncio.Task[None] | None = None

    @property
    def hangs(self) -> bool:
        """Whether a call of the driver has not returned in time: its thread waits for it."""
        return self._worker.occupied and self._kept.reason == "timed_out"

    async def now(self, wait_s: float | None = None) -> Reading:
        """Return the devices as of a second ago, or why that cannot be had.

        Args:
            wait_s: Seconds after which what is known already will do; None: as long as it takes.
        """
        due = time.monotonic() - self._tried_s >= self._keep_s
        if self._current is None and due and not self.hangs:  # to queue behind it would not help
            self._current = asyncio.create_task(self._read())
        if self._current is not None:
            done, _ = await asyncio.wait([self._current], timeout=wait_s)
            for task in done:
                task.result()
        age_s = time.monotonic() - self._read_s if self._kept.table is not None else None
        kept = self._kept
        if kept.table is None and not kept.reason:
            kept = replace(kept, reason="no_data_yet", message="the driver has not answered yet")
        return replace(kept, age_s=age_s)

    def close(self) -> None:
        """Let go of the driver; only when the worker's thread has ended."""
        if self._watch is not None:
            self._watch.close()

    async def _read(self) -> None:
        began_s = time.monotonic()
        try:
            table = await self._worker.do(self._ask)
        except TelemetryError as error:
            self._kept = Reading(reason=error.reason, message=error.message, hint=error.hint)
        except TooSlow:
            self._fail("timed_out", SLOW_MESSAGE, SLOW_HINT)
        except Busy:
            self._fail("timed_out", "too many requests wait for the driver", "ask again later")
        else:
            self._kept = Reading(table, datetime.now(UTC))
            self._read_s = time.monotonic()
            self._keep_s = max(KEEP_S, (self._read_s - began_s) / DRIVER_SHARE)
        finally:
            self._tried_s = time.monotonic()
            self._current = None

    def _ask(self) -> DeviceTable:
        """Read; on the worker's thread, which alone touches the driver."""
        if self._watch is None:
            self._watch = self._make_watch()
        return self._watch.read()

    def _fail(self, reason: str, message: str, hint: str) -> None:
        """Keep the old devices: they are shown with their age."""
        self._kept = replace(self._kept, reason=reason, message=message, hint=hint)


PERIOD_S = 0.35
"""Kernels write at most every 250 ms, and a reading shall be on the screen within 500 ms: a longer
period leaves no room, a shorter one costs more messages."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    kernel_id: str
    cursor: Cursor
    limit: int
    done: asyncio.Future[News]


class Poller:
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
            self._task = asyncio.create_task(self._poll())
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

    async def _poll(self) -> None:
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
                found.append(None)  # the next look shows whether it lasts
            else:
                found.append(news if news.runs else None)
        return found


RECORDING_S = 120.0
"""How long one may take to be read and predicted from."""
MAX_KERNELS = 1000
STUCK_S = 0.4
"""A disk that takes longer for one answer is not waited for: others want theirs within a second."""


class ServerState:
    """One a server. Nothing is opened and no thread runs before the first request."""

    def __init__(self) -> None:
        self.host = platform.node()
        self.runs = Runs()
        self.driver = Worker("driver", limit_s=2.0)
        """The driver library's thread: it may hang, and then it hangs alone."""
        self.doctor = Worker("doctor", limit_s=20.0)
        """It asks the driver with limits of its own, and waits for nobody."""
        self.files = Worker("files", 10.0, _is_stuck, self._give_up)
        """Lists, news and stop marks."""
        self.reading = Worker("reading", 30.0, _is_stuck, self._give_up)
        """Long traces and exports, so that no list waits for them."""
        self.recordings = Worker("recordings", limit_s=1.2 * RECORDING_S)
        """One recording at a time, which may take minutes."""
        self.devices = Devices(self.driver, device_watch)
        self.poller = Poller(self.files, self.runs)
        self._kernels: dict[str, None] = {}
        self._reported: dict[str, None] = {}

    def serves(self, kernel_id: str, running: Callable[[str], bool]) -> bool:
        """Return whether a kernel is this server's, now or since the server began."""
        if running(kernel_id):
            _remember(self._kernels, kernel_id)
            return True
        return kernel_id in self._kernels

    def is_new(self, session_id: str) -> bool:
        """Return True the first time it is asked about a run."""
        if session_id in self._reported:
            return False
        _remember(self._reported, session_id)
        return True

    @property
    def replaced(self) -> int:
        """Threads that were given up since the server began."""
        return self.files.replaced + self.reading.replaced

    def _give_up(self, thread: int) -> None:
        files.abandon(thread)
        self.runs.renew()

    def close(self) -> None:
        """End the threads."""
        self.poller.close()
        if self.driver.close():  # else a call hangs in the driver: leave it alone
            self.devices.close()
        self.doctor.close()
        self.files.close()
        self.reading.close()
        self.recordings.close()


def _is_stuck(thread: int) -> bool:
    return files.asking_s(thread) > STUCK_S


def _remember(kept: dict[str, None], key: str) -> None:
    kept[key] = None
    while len(kept) > MAX_KERNELS:
        kept.pop(next(iter(kept)))
