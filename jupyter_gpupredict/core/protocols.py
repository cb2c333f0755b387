"""The seams: what a source, a hint and a view must be. One to three methods each."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.devices import DeviceTable
    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.recommendation import AppliedShare, HostPeak
    from jupyter_gpupredict.core.series import Batch, SourceInfo


class Clock(Protocol):
    """Two clocks: one that only moves forward and one that people read."""

    def monotonic_s(self) -> float:
        """Return seconds on a clock that never jumps; its zero means nothing."""

    def wall(self) -> datetime:
        """Return the time of day with a time zone."""


class SystemClock:
    """The machine's clocks, whatever the user's code puts in their place: many tests do."""

    _monotonic = staticmethod(time.monotonic)

    def monotonic_s(self) -> float:
        """Return `time.monotonic()`."""
        return self._monotonic()

    def wall(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.now(UTC)


class TelemetrySource(Protocol):
    """Where readings come from. The constructor does nothing; `open` does."""

    def open(self) -> SourceInfo:
        """Open the source and return what it gives.

        Raises:
            SourceUnavailable: It cannot be used here; the message says why.
        """

    def read(self, *, slow: bool) -> Batch:
        """Return what is new since the last call, oldest first, stamped in monotonic seconds.

        Args:
            slow: True about once a second: also read what is expensive (process lists, power).

        Raises:
            SourceLost: The source stopped answering; the caller may `close` and `open` again.
        """

    def close(self) -> None:
        """Release everything; may be called twice."""


class DeviceWatch(Protocol):
    """Sees all devices of this machine and who uses them. The constructor does nothing."""

    def read(self) -> DeviceTable:
        """Return every device as it is now; opens what has to be opened, again after a loss.

        Raises:
            TelemetryError: There is no driver, or it is lost.
        """

    def close(self) -> None:
        """Release everything; may be called twice."""


class ProgressSink(Protocol):
    """Receives what a hint sees of the user's loop; cheap, and from any thread."""

    def progress(self, unit: Unit, done: float, total: float | None, hint: str) -> None:
        """Report how many epochs or steps are complete; None: the total is not known."""

    def phase(self, name: str, hint: str) -> None:
        """Report that a phase begins, such as `train` or `validation`; `other` ends it."""


class HintSource(Protocol):
    """Reads progress from a library's loop. Never changes the loop, never raises into it."""

    module: str
    """The library's module in which the hook goes; attached once that module is imported."""

    def attach(self, sink: ProgressSink) -> None:
        """Hook into the library, which is imported; called once before `detach`."""

    def poll(self) -> None:
        """Look at the loop, about once a second on the sampler thread; an error detaches it."""

    def detach(self) -> None:
        """Remove the hook; may be called twice, and without `attach`."""


class Subscriber(Protocol):
    """Receives events on the delivery thread, in order."""

    name: str

    def deliver(self, events: Sequence[Event]) -> None:
        """Take the events since the last call. An exception detaches the subscriber."""

    def close(self) -> None:
        """No more events will come."""


class ShareHold(Protocol):
    """Applies MPS limits to this process for one run. Failures are reported, never raised."""

    def begin(self) -> AppliedShare | None:
        """Apply what was asked for; None where nothing was and no daemon is there."""

    def end(self) -> AppliedShare | None:
        """Restore the environment and return what was in force; once, after `begin`."""


class HostMemory(Protocol):
    """Follows the memory of the machine that a run's processes hold; costs little, never raises."""

    def look(self, now_s: float) -> None:
        """Take a reading where one is due."""

    def peak(self) -> HostPeak | None:
        """Return the most that was seen, and forget the processes; None where nothing was."""


class CudaUse(Protocol):
    """Sees whether processes use CUDA, by what they have mapped; changes nothing, never raises."""

    def unused(self) -> bool:
        """Return whether it is certain that they do not; False also where nobody can say."""


class ChildProcess(Protocol):
    """A process that is measured in the place of this one."""

    share: ShareHold
    """How it stands to MPS."""

    @property
    def pid(self) -> int:
        """Its process id; what it starts is measured with it."""
