"""The sampler on a worker: a thread that samples the devices it is given until nobody asks.

It reads telemetry and schedules no task; the notebook says which device is whose. When nothing is
sent from there for `LEASE_S`, it ends: a kernel that was killed leaves nothing running.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.errors import GpuPredictError, TelemetryError
from jupyter_gpupredict.sources.messages import (
    Bye,
    Duty,
    Hello,
    Message,
    NodeBatch,
    Offer,
    Taken,
    message_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.protocols import Clock, TelemetrySource
    from jupyter_gpupredict.core.series import Batch, Device, SourceInfo
    from jupyter_gpupredict.sources.messages import NodeSources

HELLO_S = 1.0
"""Hello is repeated so often until it is answered: a worker that just starts has no stream yet."""
HEARTBEAT_S = 0.5
"""A worker without readings sends an empty message so often."""
LEASE_S = 30.0
SLOW_S = 1.0
MIN_WAIT_S = 0.02
RETRY_S = 1.0
RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
"""Environment variables in which launchers give a process's rank."""


@dataclass(slots=True)
class _Sampled:
    """One device that this worker samples."""

    uuid: str
    source: TelemetrySource
    info: SourceInfo | None = None
    due_s: float = 0.0
    """Monotonic; of the next read, or of the next try to open."""
    reported_lost: bool = False

    def read(self, now_s: float, batch_s: float, *, slow: bool) -> Batch:
        """Open if need be, and read; what the driver buffers, every `batch_s`."""
        if self.info is None:
            self.source.close()
            self.info = self.source.open()
        every_s = batch_s if self.info.buffer_s is not None else self.info.period_s
        self.due_s = max(self.due_s + every_s, now_s)  # a late read is not made up for
        return self.source.read(slow=slow)


@dataclass(slots=True)
class _Pending:
    """What has been read since the last message."""

    taken: dict[tuple[str, str], tuple[list[float], list[float]]] = field(default_factory=dict)
    """(metric, uuid) -> (stamps on the wall clock, values)."""
    lacks: list[tuple[str, str, str, str]] = field(default_factory=list)
    gaps: list[tuple[str, float, float, str]] = field(default_factory=list)
    lost: list[tuple[str, str, str]] = field(default_factory=list)

    def take(self, uuid: str, batch: Batch, to_wall_s: float) -> None:
        """Append a batch of one device; its times are monotonic."""
        for readings in batch.readings:
            if readings.times_s:
                held = self.taken.setdefault((readings.series.metric, uuid), ([], []))
                held[0].extend(time_s + to_wall_s for time_s in readings.times_s)
                held[1].extend(readings.values)
        self.lacks += [
            (lack.series.metric, uuid, lack.reason, lack.detail) for lack in batch.unavailable
        ]
        self.gaps += [
            (uuid, gap.from_s + to_wall_s, gap.to_s + to_wall_s, gap.cause) for gap in batch.gaps
        ]

    def __bool__(self) -> bool:
        return bool(self.taken or self.lacks or self.gaps or self.lost)


class Node:
    """One worker's sampler. Picklable until it is started."""

    def __init__(self, sources: NodeSources) -> None:
        self._sources = sources

    def start(
        self,
        address: str,
        name: str,
        send: Callable[[Message], None],
        *,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start the thread; it says hello and waits for its devices.

        Args:
            address: The worker's, as the engine names it.
            name: The worker's, which survives a restart.
            send: Takes a message; safe from any thread.
            busy: Whether the worker cannot hear a renewal: the lease does not run meanwhile.
        """
        self._address, self._name, self._send, self._busy = address, name, send, busy
        self._clock: Clock = self._sources.clock()
        self._duty = Duty()
        self._known = False
        """Whether the notebook has answered its hello."""
        self._late = False
        """Whether the driver had not answered when hello was said: it is asked again."""
        self._renewed_s = self._clock.monotonic_s()
        self._seq = 0
        self._wake = threading.Event()
        self._ending = ""
        self._thread = threading.Thread(target=self._run, name="gpupredict-node", daemon=True)
        self._thread.start()

    def tend(self, duty: Duty | None) -> float | None:
        """Renew the lease and sample this; returns the wall clock, None when it has ended.

        A duty of None says that hello has not been answered yet.
        """
        if not self._thread.is_alive():
            return None
        self._duty, self._known = duty or Duty(), duty is not None
        self._renewed_s = self._clock.monotonic_s()
        return self._clock.wall().timestamp()

    def stop(self, why: str, timeout_s: float = 1.0) -> None:
        """End the thread; may be called twice."""
        self._ending = why
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        held: dict[str, _Sampled] = {}
        pending = _Pending()
        why = "the sampler failed"
        slow_s = said_s = greeted_s = -math.inf
        try:
            hello = self._hello()
            while not self._ending:
                now_s, batch_s = self._clock.monotonic_s(), self._duty.batch_s
                if not self._known and now_s - greeted_s >= HELLO_S:
                    greeted_s = now_s
                    if self._late:
                        hello = self._hello()
                    self._say(message_of(hello))
                if now_s - self._renewed_s > LEASE_S:
                    if not self._busy():
                        why = f"the notebook did not ask for {LEASE_S:g} s"
                        break
                    self._renewed_s = now_s
                slow = now_s - slow_s >= SLOW_S
                slow_s = now_s if slow else slow_s
                self._read(held, now_s, pending, slow=slow)
                if now_s - said_s >= (batch_s if pending else HEARTBEAT_S) - 0.01:
                    said_s = now_s
                    self._say(self._numbered(pending))
                    pending = _Pending()
                due_s = min((one.due_s for one in held.values()), default=math.inf)
                wait_s = max(MIN_WAIT_S, due_s - self._clock.monotonic_s())
                self._wake.wait(min(batch_s, wait_s))
        finally:
            for one in held.values():
                one.source.close()
            ending = self._ending
            self._say(message_of(Bye(self._address, ending or why, orderly=bool(ending))))

    def _hello(self) -> Hello:
        offer, problem, self._late = None, "", False
        devices: tuple[Device, ...] = ()
        try:
            devices = self._sources.devices()
            source = self._sources.offered(devices[0].uuid if devices else "")
            with contextlib.closing(source):
                offer = _offer(source.open())
        except GpuPredictError as error:
            problem = str(error)
            self._late = isinstance(error, TelemetryError) and error.reason == "timed_out"
        host, boot, namespace = self._sources.place()
        process = host, boot, namespace, os.getpid(), _rank(), __version__
        return Hello(self._address, self._name, *process, devices, offer, problem)

    def _read(
        self, held: dict[str, _Sampled], now_s: float, pending: _Pending, *, slow: bool
    ) -> None:
        wanted = self._duty.uuids
        for uuid in held.keys() - set(wanted):
            held.pop(uuid).source.close()
        for uuid in wanted:
            if uuid not in held:
                held[uuid] = _Sampled(uuid, self._sources.source(uuid, lambda: self._duty.peers))
        to_wall_s = self._clock.wall().timestamp() - self._clock.monotonic_s()
        for one in held.values():
            if now_s < one.due_s:
                continue
            try:
                batch = one.read(now_s, self._duty.batch_s, slow=slow)
            except TelemetryError as error:
                if not one.reported_lost:
                    pending.lost.append((one.uuid, error.reason, error.message))
                one.reported_lost, one.info, one.due_s = True, None, now_s + RETRY_S
                continue
            one.reported_lost = False
            pending.take(one.uuid, batch, to_wall_s)

    def _numbered(self, pending: _Pending) -> Message:
        seq, self._seq = self._seq, self._seq + 1
        sent_s = self._clock.wall().timestamp()
        taken = tuple(
            Taken(metric, uuid, tuple(times_s), tuple(values))
            for (metric, uuid), (times_s, values) in pending.taken.items()
        )
        lacks, gaps, lost = tuple(pending.lacks), tuple(pending.gaps), tuple(pending.lost)
        return message_of(NodeBatch(self._address, seq, sent_s, taken, lacks, gaps, lost))

    def _say(self, message: Message) -> None:
        # border: a worker that starts or closes cannot send; the notebook sees the missing number
        with contextlib.suppress(Exception):
            self._send(message)


def _offer(info: SourceInfo) -> Offer:
    return Offer(
        source=info.source,
        share=info.share.metric,
        duty=info.duty.metric if info.duty else "",
        memory=info.memory.metric if info.memory else "",
        process_memory=info.process_memory.metric if info.process_memory else "",
        also=tuple(one.series.metric for one in info.also),
        series=tuple(series.metric for series in info.series),
        period_s=info.period_s,
        simulated=info.simulated,
        origin=info.origin,
        scope=info.scope,
        driver=dict(info.versions).get("driver", ""),
    )


def _rank() -> int | None:
    found = (os.environ.get(name, "") for name in RANKS)
    return next((int(text) for text in found if text.isascii() and text.isdecimal()), None)
