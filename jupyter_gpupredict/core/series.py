"""What is measured, and the readings of it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.options import option

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from jupyter_gpupredict.core.progress import Mark


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one device (and rank, in a distributed run)."""

    metric: str
    """A name of `core.metrics.METRICS`."""
    device: str
    """Device UUID, or `cpu`."""
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """Some readings of one series, oldest first.

    Tuples, not arrays: a batch holds one to ten values, is immutable and compares by value.
    """

    series: Series
    times_s: tuple[float, ...]
    """When each reading was taken, shape (n,), monotonic seconds. A reading describes the time
    before its stamp."""
    values: tuple[float, ...]
    """Shape (n,), in the metric's unit. NaN: asked and unreadable."""


def in_pieces(readings: Sequence[Readings], most: int) -> Iterator[tuple[Readings, ...]]:
    """Yield readings so that no piece holds more than `most` values, in their order.

    >>> one = Readings(Series("gpu_util_ratio", "gpu"), (1.0, 2.0, 3.0), (0.1, 0.2, 0.3))
    >>> [[len(part.values) for part in piece] for piece in in_pieces([one, one], 4)]
    [[3, 1], [2]]
    """
    piece: list[Readings] = []
    room = most
    for one in readings:
        begin = 0
        while begin < len(one.values):
            here = slice(begin, begin + room)
            part = Readings(one.series, one.times_s[here], one.values[here])
            piece.append(part)
            begin, room = begin + room, room - len(part.values)
            if room == 0:
                yield tuple(piece)
                piece, room = [], most
    if piece:
        yield tuple(piece)


UNNAMED = "recorded device"
"""Name of a device that a recording does not name."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device as a source found it."""

    uuid: str
    name: str
    index: int | None = None
    """The driver's index, for people; never used as an identity."""
    memory_total_bytes: int | None = None
    sm_count: int | None = None
    cpu_count: int | None = None
    """CPUs that the run may use, where the device is the CPU."""
    assumed: bool = False
    """True where the visible-device order could not be known for certain."""

    @property
    def label(self) -> str:
        """It as people and `--device` name it, such as `GPU 1 (NVIDIA A100)`."""
        named = self.uuid if self.index is None else f"GPU {self.index}"
        return f"{named} ({self.name})" if self.name and self.name != UNNAMED else named


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A metric that the device does not give, and why."""

    series: Series
    reason: str
    """One of `core.metrics.REASONS`."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """A hole that is certain: no reading exists between the two times."""

    from_s: float
    to_s: float
    cause: str
    """`late_thread`, `source`, `buffer_overrun` or `transport`."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One of several devices, or who reads it, is gone while the others go on; or is back."""

    device: str
    """Its label in `Series.device`, or who else is meant, in words."""
    reason: str
    """One of `core.metrics.REASONS`; empty when it is back."""
    detail: str
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read of a source brought."""

    readings: tuple[Readings, ...] = ()
    unavailable: tuple[Unavailable, ...] = ()
    """Only changes: a metric that was given before, or has not been reported yet."""
    gaps: tuple[Gap, ...] = ()
    exhausted: bool = False
    """True when a replay has no more readings."""
    marks: tuple[Mark, ...] = ()
    """Progress that came with the readings: a replay's own, in monotonic seconds."""
    losses: tuple[Loss, ...] = ()
    """Of a source with several devices: which of them went or came back."""
    joined: tuple[Device, ...] = ()
    """Of such a source: devices that were not there when it was opened."""
    hosts: int = 0
    """Hosts that its devices have been on until now; 0: as many as when it was opened."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share that is predicted beside the main one, with what belongs to it."""

    series: Series
    duty: Series | None = None
    memory: Series | None = None
    process_memory: Series | None = None
    """All as in `SourceInfo`."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What an opened source says of itself."""

    source: str
    """Registered name: nvml, cpu, replay, synthetic, ..."""
    devices: tuple[Device, ...]
    series: tuple[Series, ...]
    share: Series
    """The series the share is predicted from."""
    memory: Series | None
    """The series the memory target is predicted from, when there is one."""
    period_s: float
    """Nominal seconds between readings of the share series."""
    duty: Series | None = None
    """For a share *while busy*: the share of the time that was busy, with the same stamps. A
    reading of the share weighs as much of its time as was busy; NaN where too little was."""
    also: tuple[Share, ...] = ()
    """Further shares to predict beside the main one: a time share beside an SM share, the same
    share of another device."""
    process_memory: Series | None = None
    """The same of this process tree alone: preferred as soon as it has a reading."""
    simulated: bool = False
    """True for replayed and synthetic readings."""
    origin: str = ""
    """For a replay: the source that the recording was made from."""
    scope: str = "device"
    """Whose use the figures are: `device` (everything on it) or `process_tree`."""
    hosts: int = 1
    """Hosts that the devices were on when it was opened."""
    ranks: bool = False
    """Several devices, more of which may come: the share is that of each of them."""
    buffer_s: float | None = None
    """Depth of the driver's sample buffer, in seconds; None where the source polls."""
    live_s: float | None = None
    """Seconds between reads while a view is attached, where a buffer allows any; None: a frame."""
    brings_progress: bool = False
    """Whether its batches bring the marks: those of this process then belong to something else."""
    versions: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences for the user, such as why `auto` took this source."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Options of a source; each takes those that concern it."""

    device: str | None = None
    """UUID, unique prefix of one or index, several with commas, or `all`; None: the first visible
    device."""
    interval_s: float | None = None
    path: str | None = None
    speed: float | None = None
    """Replay so many times faster; 0 as fast as possible; None at its own pace."""
    scenario: str = "epochs"
    seed: int = 0
    root_pid: int | None = None
    """The process whose tree is looked at; None: this one."""
    peers: Callable[[], Collection[int]] = tuple
    """Returns the PIDs of the run's other processes on this machine, such as other ranks; asked
    anew each time, as they come and go."""
    url: str | None = None
    """A Prometheus server's."""
    match: str | None = None
    """Label matchers that narrow what it is asked for."""
    limit_s: float | None = None
    """Seconds after which its driver counts as not answering; None: it is waited for."""
    left_s: Callable[[], float] = lambda: math.inf
    """Returns for how many seconds readings are still taken; infinite until the run ends."""
    hand_over: Callable[[Batch], None] | None = None
    """Takes what a read has found where the rest of it may take long; None: `read` returns all."""
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options of a reader: what the recording itself does not say."""

    sms: int | None = option(
        None,
        "SMs of the whole GPU, where a profile does not say",
        metavar="N",
        low=1,
        high=1024,
        unit="SMs",
    )
    compute_capability: str | None = option(
        None,
        "of its GPU, where a profile does not say: 8.0",
        metavar="X.Y",
        longest=8,
        pattern=r"\d+\.\d+",
    )
    speed: float = option(
        0.9,
        "share of its full speed that a profiled run is to keep",
        metavar="SHARE",
        low=0.1,
        high=1.0,
        unit="of the full speed",
    )
    device: str | None = option(
        None,
        "which device of a recording: index, UUID or a prefix of one; several with commas, or all; "
        "default: the first",
        metavar="DEVICE",
    )
    columns: str | None = option(
        None,
        "titles of a log without any, such as timestamp,utilization.gpu,memory.used",
        metavar="NAME,...",
    )
    interval_s: float | None = option(
        None,
        "seconds between the rows of a log without times",
        metavar="S",
        short=("--interval",),
        low=1e-3,
        high=86400.0,
        unit="s",
    )
