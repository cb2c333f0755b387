"""What a cluster's workers and the notebook send one another: plain data, checked on arrival.

A message is a dict of texts, numbers and lists, so that it can be carried by msgpack or JSON and is
never evaluated. What has another form, or is too much, is refused as a whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.core.metrics import METRICS, REASONS
from jupyter_gpupredict.core.series import Device
from jupyter_gpupredict.core.trace import made_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from jupyter_gpupredict.core.protocols import Clock, TelemetrySource

Message = dict[str, Any]

PROMPT_S = 0.075
"""Between messages where few are measured: a reading is merged within a quarter of a second."""
BATCH_S = 0.25
"""Between messages where many are: they would cost the notebook more than they are worth."""
FEW = 4
MAX_READINGS = 4096
"""In one batch: 64 GPUs of one host at 10 Hz with six metrics, four times a second, and some."""
MAX_DEVICES = 256
MAX_TEXT = 512
CAUSES = ("late_thread", "source", "buffer_overrun", "transport")


@dataclass(frozen=True, slots=True)
class Offer:
    """What the source on a worker gives of each of its devices; as `SourceInfo`."""

    source: str
    share: str
    """A metric, as are all that follow down to `series`; empty: there is none."""
    duty: str
    memory: str
    process_memory: str
    also: tuple[str, ...]
    series: tuple[str, ...]
    period_s: float
    simulated: bool
    origin: str
    scope: str
    driver: str


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker says who it is and which devices it sees; once per start of its sampler."""

    address: str
    name: str
    """Survives a restart of the worker, where the address does not."""
    host: str
    boot: str
    """Tells two hosts of one name apart."""
    namespace: str
    """What its process number counts in: only there another worker can look it up."""
    pid: int
    rank: int | None
    version: str
    """Of this package."""
    devices: tuple[Device, ...]
    offer: Offer | None
    problem: str = ""
    """Why it offers nothing."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Readings of one metric of one device, stamped with the worker's wall clock."""

    metric: str
    uuid: str
    times_s: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class NodeBatch:
    """What a worker has read since its last message; empty ones say that it is there."""

    address: str
    seq: int
    """Gap-free from 0 for each start of a sampler."""
    sent_s: float
    """The worker's wall clock."""
    taken: tuple[Taken, ...] = ()
    lacks: tuple[tuple[str, str, str, str], ...] = ()
    """(metric, uuid, reason, detail)."""
    gaps: tuple[tuple[str, float, float, str], ...] = ()
    """(uuid, from, to, cause)."""
    lost: tuple[tuple[str, str, str], ...] = ()
    """(uuid, reason, detail) of devices whose source was lost."""


@dataclass(frozen=True, slots=True)
class Bye:
    """A worker's sampler ends."""

    address: str
    why: str
    orderly: bool = True
    """The worker closes, or the notebook wanted it; not an error, and not a lease that ran out."""


def batch_s(count: int) -> float:
    """Return the seconds between messages, or between looks at them, for so many to measure."""
    return min(BATCH_S, PROMPT_S * max(1.0, count / FEW))


@dataclass(frozen=True, slots=True)
class Duty:
    """What a worker is to sample."""

    uuids: tuple[str, ...] = ()
    peers: tuple[int, ...] = ()
    """Process numbers of workers beside it that see these devices: their use is the run's own."""
    batch_s: float = BATCH_S
    """How often to send what was read."""


class NodeSources(Protocol):
    """What a worker samples with: picklable, made by `config`, opened on the worker."""

    def clock(self) -> Clock:
        """Return the worker's clock."""

    def place(self) -> tuple[str, str, str]:
        """Return (host name, boot id, namespace of process numbers)."""

    def devices(self) -> tuple[Device, ...]:
        """Return the devices that the worker's process may use.

        Raises:
            TelemetryError: They cannot be known.
        """

    def source(self, uuid: str, peers: Callable[[], Collection[int]]) -> TelemetrySource:
        """Return the source of one device, not opened yet; `peers` as in `SourceOptions`."""

    def offered(self, uuid: str) -> TelemetrySource:
        """Return the same to see what it gives; a driver that hangs is not waited for."""


class Engine(Protocol):
    """Runs our sampler beside the work of a cluster's workers."""

    def start(self, sources: NodeSources, on_message: Callable[[Message], None]) -> None:
        """Put a sampler on every worker, also on those that come later.

        Args:
            sources: What they sample with.
            on_message: Takes what they say; called on any thread.

        Raises:
            SourceUnavailable: The cluster does not answer.
        """

    def tend(self, table: Mapping[str, Duty]) -> Mapping[str, float | None]:
        """Renew every worker's lease and give it its devices.

        Args:
            table: Address -> what it is to sample; a worker that is not in it has not been met.

        Returns:
            Address -> its wall clock meanwhile, of every worker that is there; NaN where it is too
            busy to say, None where no sampler runs.

        Raises:
            SourceLost: The cluster is gone.
        """

    def stop(self) -> None:
        """Take the samplers away again; what cannot be reached ends with its lease."""


_KINDS: dict[str, type[Any]] = {"hello": Hello, "batch": NodeBatch, "bye": Bye}
_KIND_OF = {kind: word for word, kind in _KINDS.items()}
_NAMES = {one: tuple(f.name for f in fields(one)) for one in (*_KIND_OF, Offer, Taken, Device)}


def message_of(said: Hello | NodeBatch | Bye) -> Message:
    """Return what a worker sends as a message; long texts are cut."""
    if isinstance(said, Hello):  # of a device, its name and memory are enough
        devices = (Device(d.uuid, d.name, d.index, d.memory_total_bytes) for d in said.devices)
        said = replace(said, devices=tuple(devices))
    return {"kind": _KIND_OF[type(said)], **_plain(said)}


def _plain(value: Any) -> Any:
    """Return dataclasses as dicts, tuples as lists, and the beginnings of texts."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, tuple):
        return list(value) if _is_numbers(value) else [_plain(one) for one in value]
    names = _NAMES.get(type(value))
    return value if names is None else {name: _plain(getattr(value, name)) for name in names}


def _is_numbers(values: tuple[Any, ...]) -> bool:
    return bool(values) and isinstance(values[0], float)


def parse(message: Any) -> Hello | NodeBatch | Bye:
    """Return what a message says.

    Raises:
        Malformed: It has another form, or is too long.
    """
    try:
        said: Hello | NodeBatch | Bye = made_of(_KINDS[message["kind"]], message)
        if isinstance(said, Hello) and said.offer is not None:
            period_s = min(3600.0, max(0.001, said.offer.period_s))
            said = replace(said, offer=replace(said.offer, period_s=period_s))
        short = all(len(text) <= MAX_TEXT and text.isprintable() for text in _texts(said))
        if not short or not _is_known(said):
            raise ValueError("a text is too long, or a word unknown")
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("a worker's message has another form", "the same version there?") from error
    return said


def _texts(value: object) -> Iterator[str]:
    """Yield all texts in a message."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for one in () if _is_numbers(value) else value:
            yield from _texts(one)
    else:
        for name in _NAMES.get(type(value), ()):
            yield from _texts(getattr(value, name))


def _is_known(said: Hello | NodeBatch | Bye) -> bool:
    """Return whether a message has known words only, and no more than a worker measures."""
    if isinstance(said, Bye):
        return True
    if isinstance(said, Hello):
        offer = said.offer
        if offer is None:
            return len(said.devices) <= MAX_DEVICES
        metrics = {offer.share, *offer.also, *offer.series}
        metrics |= {offer.duty, offer.memory, offer.process_memory} - {""}
        return len(said.devices) <= MAX_DEVICES and metrics <= METRICS.keys()
    times_s = [time_s for one in said.taken for time_s in one.times_s]
    times_s += [time_s for gap in said.gaps for time_s in gap[1:3]]
    metrics = {one.metric for one in said.taken} | {metric for metric, _, _, _ in said.lacks}
    reasons = {one[2] for one in said.lacks} | {one[1] for one in said.lost}
    return (
        all(len(one.times_s) == len(one.values) for one in said.taken)
        and sum(len(one.values) for one in said.taken) <= MAX_READINGS
        and max(len(said.lacks), len(said.gaps), len(said.lost)) <= MAX_DEVICES
        and all(map(math.isfinite, (said.sent_s, *times_s)))
        and metrics <= METRICS.keys()
        and reasons <= set(REASONS)
        and {gap[3] for gap in said.gaps} <= set(CAUSES)
    )
