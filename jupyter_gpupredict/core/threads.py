"""A daemon thread for work that may never end: who waits gives up and leaves the thread behind.

Not the executors of `concurrent.futures`: the end of a process waits for their threads.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from concurrent.futures import Future, InvalidStateError, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Value = TypeVar("_Value")


@dataclass(slots=True, eq=False)
class Job:
    """Work with its future; several threads may try it, and the first one to finish counts."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: Future[Any] = field(default_factory=Future)
    tries: int = 1

    def run(self) -> None:
        """Do the work."""
        try:
            value = self.work(*self.arguments)
        except Exception as error:  # noqa: BLE001 - border: it is raised where it is waited for
            self.fail(error)
        else:
            with contextlib.suppress(InvalidStateError):  # nobody waits, or another try came first
                self.future.set_result(value)

    def fail(self, error: Exception) -> None:
        """End with an error."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)


class WorkerThread:
    """Does one job after another, from now until `end`."""

    def __init__(self, name: str) -> None:
        self.current: Job | None = None
        """What it is at."""
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"gpupredict-{name}", daemon=True)
        self._thread.start()

    @property
    def ident(self) -> int:
        """The number of the thread."""
        return self._thread.ident or 0

    @property
    def unfinished(self) -> int:
        """How many jobs are being done or wait."""
        return self._jobs.qsize() + (self.current is not None)

    def put(self, job: Job) -> None:
        """Queue a job."""
        self._jobs.put(job)

    def submit(self, work: Callable[..., _Value], *arguments: Any) -> Future[_Value]:
        """Queue `work(*arguments)` and return its future."""
        job = Job(work, arguments)
        self.put(job)
        return job.future

    def hand_over(self, other: WorkerThread) -> None:
        """Give what waits to another thread, and end."""
        with contextlib.suppress(queue.Empty):
            while (job := self._jobs.get_nowait()) is not None:
                other.put(job)
        self._jobs.put(None)

    def end(self, timeout_s: float = 0.0) -> bool:
        """End after what is queued; return whether that was done in time."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self.current = job
            job.run()
            self.current = None


def within(limit_s: float, work: Callable[..., _Value], *arguments: Any) -> _Value:
    """Return what `work(*arguments)` returns; after `limit_s` its thread is left behind.

    Raises:
        TimeoutError: It took longer.
        Exception: Whatever `work` raises.
    """
    thread = WorkerThread("deadline")
    future = thread.submit(work, *arguments)
    thread.end()
    if not wait([future], limit_s).done:
        raise TimeoutError(f"no answer in {limit_s:g} s")
    return future.result()
