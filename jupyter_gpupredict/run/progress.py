"""Takes what hints report and hands it, stamped, to the sessions that are being measured."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.progress import Mark, Phase, Progress
from jupyter_gpupredict.core.protocols import SystemClock

if TYPE_CHECKING:
    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.protocols import Clock

MAX_QUEUED = 10_000
"""Marks kept for a sampler that hangs; what does not fit is lost, oldest first."""
STEP_EVERY_S = 0.2
"""Marks of steps are thinned to this: a fast loop makes thousands a second."""


class Board:
    """Where hints report; one per process. Reporting is cheap, and free while nothing is measured.

    Appending to a deque is atomic, so that any thread may report without a lock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._queues: tuple[deque[Mark], ...] = ()
        self._step_due_s: dict[str, float] = {}
        self.joined_count = 0
        """Sessions that have listened so far: tells one from the next."""
        self._joined_s = 0.0

    @property
    def listening(self) -> bool:
        """Whether any session would hear a report."""
        return bool(self._queues)

    def join(self) -> deque[Mark]:
        """Return a new queue that gets every mark from now on; empty it with `popleft`."""
        queue: deque[Mark] = deque(maxlen=MAX_QUEUED)
        self._queues = (*self._queues, queue)
        self.joined_count += 1
        self._joined_s = self._clock.monotonic_s()
        return queue

    def leave(self, queue: deque[Mark]) -> None:
        """Stop filling a queue; may be called twice."""
        self._queues = tuple(other for other in self._queues if other is not queue)
        if not self._queues:
            self._step_due_s = {}

    def progress(self, unit: Unit, done: float, total: float | None, hint: str) -> None:
        """Say that so many epochs or steps are complete now."""
        if not self._queues:
            return
        now_s = self._clock.monotonic_s()
        if unit == "step":
            last = total is not None and done >= total
            if now_s < self._step_due_s.get(hint, 0.0) and not last:
                return
            self._step_due_s[hint] = now_s + STEP_EVERY_S
        self._tell(
            Progress(now_s, unit, float(done), None if total is None else float(total), hint)
        )

    def begin(self, total: float | None, hint: str) -> None:
        """Say, later, that the epochs began with the newest session."""
        if self._queues:
            self._tell(Progress(self._joined_s, "epoch", 0.0, total, hint))

    def phase(self, name: str, hint: str) -> None:
        """Say that a phase begins now; `other` ends the current one."""
        if self._queues:
            self._tell(Phase(self._clock.monotonic_s(), name, hint))

    def relay(self, mark: Mark) -> None:
        """Pass on what was reported in another process, at the time that it has there."""
        self._tell(mark)

    def _tell(self, mark: Mark) -> None:
        for queue in self._queues:
            queue.append(mark)


_board = Board()


def shared() -> Board:
    """Return this process's board."""
    return _board
