"""What a cluster's workers and the notebook say to one another: plain data, checked when it comes.

A message is a dict of texts, numbers and lists, so that it can be carried by msgpack or JSON and is
never evaluated. Whatever has another form, or is too much, is refused as a whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.core.metrics import METRICS, REASONS
from jupyter_gpupredict.core.series import Device

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from jupyter_gpupredict.core.protocols import Clock, TelemetrySource

Message = dict[str, Any]

PROMPT_S = 0.075
"""Between messages where few are measured: a reading is merged within a quarter of a second."""
BATCH_S = 0.25
"""Between messages where many are: they would cost the notebook more than they tell it."""
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
    buffered: bool
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
        ...

    def place(self) -> tuple[str, str, str]:
        """Return (host name, boot id, namespace of process numbers)."""
        ...

    def devices(self) -> tuple[Device, ...]:
        """Return the devices that the worker's process may use.

        Raises:
            TelemetryError: They cannot be known.
        """
        ...

    def source(self, uuid: str, peers: Callable[[], Collection[int]]) -> TelemetrySource:
        """Return the source of one device, not opened yet; `peers` as in `SourceOptions`."""
        ...

    def offered(self, uuid: str) -> TelemetrySource:
        """Return the same to see what it gives; a driver that hangs is not waited for."""
        ...


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
        ...

    def tend(self, table: Mapping[str, Duty]) -> Mapping[str, float | None]:
        """Renew every worker's lease and give it its devices.

        Args:
            table: Address -> what it is to sample; a worker that is not in it has not been heard.

        Returns:
            Address -> its wall clock meanwhile, of every worker that is there; NaN where it is too
            busy to say, None where no sampler runs.

        Raises:
            SourceLost: The cluster is gone.
        """
        ...

    def stop(self) -> None:
        """Take the samplers away again; what cannot be reached ends with its lease."""
        ...


def hello_message(hello: Hello) -> Message:
    """Return a hello as a message."""
    offer = hello.offer
    return {
        "kind": "hello",
        "address": hello.address,
        "name": hello.name[:MAX_TEXT],
        "host": hello.host[:MAX_TEXT],
        "boot": hello.boot,
        "namespace": hello.namespace,
        "pid": hello.pid,
        "rank": -1 if hello.rank is None else hello.rank,
        "version": hello.version,
        "devices": [
            [d.uuid, d.name, -1 if d.index is None else d.index, d.memory_total_bytes or 0]
            for d in hello.devices
        ],
        "offer": None
        if offer is None
        else {
            "source": offer.source,
            "share": offer.share,
            "duty": offer.duty,
            "memory": offer.memory,
            "process_memory": offer.process_memory,
            "also": list(offer.also),
            "series": list(offer.series),
            "period_s": offer.period_s,
            "buffered": offer.buffered,
            "simulated": offer.simulated,
            "origin": offer.origin,
            "scope": offer.scope,
            "driver": offer.driver,
        },
        "problem": hello.problem[:MAX_TEXT],
    }


def batch_message(batch: NodeBatch) -> Message:
    """Return a batch as a message."""
    return {
        "kind": "batch",
        "address": batch.address,
        "seq": batch.seq,
        "sent_s": batch.sent_s,
        "taken": [[t.metric, t.uuid, list(t.times_s), list(t.values)] for t in batch.taken],
        "lacks": [[m, u, r, d[:MAX_TEXT]] for m, u, r, d in batch.lacks],
        "gaps": [list(gap) for gap in batch.gaps],
        "lost": [[u, r, d[:MAX_TEXT]] for u, r, d in batch.lost],
    }


def bye_message(bye: Bye) -> Message:
    """Return a bye as a message."""
    return {
        "kind": "bye",
        "address": bye.address,
        "why": bye.why[:MAX_TEXT],
        "orderly": bye.orderly,
    }


def parse(message: object) -> Hello | NodeBatch | Bye:
    """Return what a message says.

    Raises:
        Malformed: It has another form, or is too long.
    """
    try:
        return _parse(cast("Message", message))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed("a worker's message has another form", "the same version there?") from error


def _parse(message: Message) -> Hello | NodeBatch | Bye:
    kind, address = message["kind"], _text(message["address"])
    if kind == "bye":
        return Bye(address, _text(message["why"]), message["orderly"] is True)
    if kind == "batch":
        return _batch(message, address)
    if kind != "hello":
        raise ValueError(kind)
    rank = _whole(message["rank"])
    devices = _few(message["devices"], MAX_DEVICES)
    return Hello(
        address=address,
        name=_text(message["name"]),
        host=_text(message["host"]),
        boot=_text(message["boot"]),
        namespace=_text(message.get("namespace", "")),  # an older version's, refused by its number
        pid=_whole(message["pid"]),
        rank=rank if rank >= 0 else None,
        version=_text(message["version"]),
        devices=tuple(_device(*one) for one in devices),
        offer=None if message["offer"] is None else _offer(message["offer"]),
        problem=_text(message["problem"]),
    )


def _batch(message: Message, address: str) -> NodeBatch:
    taken = tuple(
        Taken(_metric(metric), _text(uuid), _numbers(times_s), _numbers(values))
        for metric, uuid, times_s, values in _few(message["taken"], MAX_READINGS)
    )
    if sum(len(one.values) for one in taken) > MAX_READINGS:
        raise ValueError("too many readings")
    for one in taken:
        if len(one.times_s) != len(one.values) or not all(map(math.isfinite, one.times_s)):
            raise ValueError("times")
    return NodeBatch(
        address=address,
        seq=_whole(message["seq"]),
        sent_s=_finite(message["sent_s"]),
        taken=taken,
        lacks=tuple(
            (_metric(metric), _text(uuid), _reason(reason), _text(detail))
            for metric, uuid, reason, detail in _few(message["lacks"], MAX_DEVICES)
        ),
        gaps=tuple(
            (_text(uuid), _finite(from_s), _finite(to_s), _one_of(cause, CAUSES))
            for uuid, from_s, to_s, cause in _few(message["gaps"], MAX_DEVICES)
        ),
        lost=tuple(
            (_text(uuid), _reason(reason), _text(detail))
            for uuid, reason, detail in _few(message["lost"], MAX_DEVICES)
        ),
    )


def _device(uuid: object, name: object, index: object, total: object) -> Device:
    number, size = _whole(index), _whole(total)
    return Device(_text(uuid), _text(name), number if number >= 0 else None, size or None)


def _offer(said: Message) -> Offer:
    return Offer(
        source=_text(said["source"]),
        share=_metric(said["share"]),
        duty=_metric(said["duty"], empty=True),
        memory=_metric(said["memory"], empty=True),
        process_memory=_metric(said["process_memory"], empty=True),
        also=tuple(_metric(one) for one in _few(said["also"], len(METRICS))),
        series=tuple(_metric(one) for one in _few(said["series"], len(METRICS))),
        period_s=min(3600.0, max(0.001, _finite(said["period_s"]))),
        buffered=bool(said["buffered"]),
        simulated=bool(said["simulated"]),
        origin=_text(said["origin"]),
        scope=_text(said["scope"]),
        driver=_text(said["driver"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError("text")
    return value


def _metric(value: object, *, empty: bool = False) -> str:
    return "" if empty and value == "" else _one_of(value, METRICS)


def _reason(value: object) -> str:
    return _one_of(value, REASONS)


def _one_of(value: object, known: Sequence[str] | Mapping[str, object]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(value)
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < 1 << 62:
        raise ValueError("whole number")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError("number")
    return float(value)


def _finite(value: object) -> float:
    number = _number(value)
    if not math.isfinite(number):
        raise ValueError("finite")
    return number


def _numbers(values: object) -> tuple[float, ...]:
    return tuple(map(_number, _few(values, MAX_READINGS)))


def _few(values: object, most: int) -> Sequence[Any]:
    if not isinstance(values, list | tuple) or len(values) > most:
        raise ValueError("list")
    return values
