"""Many workers' messages -> one batch of readings on one clock, with what is missing named.

Pure: times are handed in. One sampler per (host, boot, device); a device that several workers see
is one series, and the others' readings of it are counted, not merged.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.series import Batch, Gap, Loss, Readings, Series, Unavailable
from jupyter_gpupredict.sources.messages import Duty, batch_s

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from jupyter_gpupredict.core.series import Device
    from jupyter_gpupredict.sources.messages import Bye, Hello, NodeBatch

SILENT_S = 3.0
"""Without a word for so long a worker's devices count as lost; it speaks twice a second."""
QUIET_S = 1.0
"""Without a word for so long it is worth asking whether the worker is still there."""
DELAY_S = 5.0
"""A message that took longer, or came before it was sent, says that a clock has jumped."""
APART_S = 1e-6

_Place = tuple[str, str, str]
"""(host, boot, uuid)."""


@dataclass(slots=True)
class _Worker:
    """A worker that has said hello."""

    hello: Hello
    last_seen_s: float
    offset_s: float | None = None
    """Its wall clock less our monotonic one; None: not compared yet."""
    error_s: float = math.inf
    seq: int = -1
    held: list[NodeBatch] = field(default_factory=list)
    """What came before the clocks were compared."""
    compared_s: float = -math.inf
    doubted: bool = False


@dataclass(slots=True)
class _Device:
    """A device of the cluster."""

    label: str
    """Its UUID, with the host where two hosts give it the same name."""
    device: Device
    owner: str = ""
    """Address of the worker that samples it."""
    newest_s: dict[str, float] = field(default_factory=dict)
    """Metric -> newest stamp."""
    gap: str = ""
    """Cause of the hole that the next readings end."""
    lost: bool = False
    left: bool = False
    rank: int | None = None
    ranked: bool = False
    """Its rank was given out: it stays, since it is part of the series' name."""


class Merger:
    """The cluster as its messages describe it."""

    def __init__(self, share: str = "", period_s: float = 1.0) -> None:
        self.share = share
        """The metric whose holes are reported."""
        self.period_s = period_s
        self.counts: Counter[str] = Counter()
        """What was not merged: `duplicate`, `stray`, `again`, `late`."""
        self.notes: list[str] = []
        """Sentences about workers that are not sampled, or whose clocks are far off."""
        self._workers: dict[str, _Worker] = {}
        self._devices: dict[_Place, _Device] = {}
        self._opened = False
        """Somebody has asked for the devices: from then on a rank that was given out stays."""
        self._named: set[_Place] = set()
        """Devices that have been given out."""
        self._readings: list[Readings] = []
        self._lacks: list[Unavailable] = []
        self._gaps: list[Gap] = []
        self._losses: list[Loss] = []
        self._refused: dict[str, tuple[str, str]] = {}
        """Address -> (whom a loss named, the note)."""

    # ---- what came ----------------------------------------------------------------------------

    def hello(self, said: Hello, now_s: float, version: str) -> None:
        """Take a worker in; one of the same name and host that was there before is retired.

        Args:
            said: Its words.
            now_s: Our monotonic clock.
            version: Of this package, which must be the worker's.
        """
        known = self._workers.get(said.address)
        if known is not None and known.hello == said:
            known.last_seen_s = now_s  # its hello was not answered yet
            return
        for address, worker in tuple(self._workers.items()):
            same = (worker.hello.name, worker.hello.host) == (said.name, said.host)
            if address == said.address or same:
                self.gone(address)
        why = said.problem
        if said.version != version:
            why = f"it has jupyter_gpupredict {said.version}, not {version}"
        if why or said.offer is None:
            self.refuse(said.address, said.name, said.host, why or "it offers nothing")
            return
        self._workers[said.address] = _Worker(said, now_s)
        refused = self._refused.pop(said.address, None)
        if refused is not None:
            self.notes.remove(refused[1])
            self._losses.append(Loss(refused[0], "", "", recovered=True))
        for device in said.devices:
            place = (said.host, said.boot, device.uuid)
            if place not in self._devices:
                self._devices[place] = _Device(self._label(place), device)
            self._devices[place].left = False
        self._assign()

    def refuse(self, address: str, name: str, host: str, why: str) -> None:
        """Name a worker that is not sampled; the result is partial."""
        note = f"worker {name} on {host} is not sampled: {why}"
        if note not in self.notes:
            self.notes.append(note)
            self._refused[address] = (f"worker {name}", note)
            self._losses.append(Loss(f"worker {name}", "no_data_yet", note))
        self._workers.pop(address, None)

    def refuses(self, addresses: Collection[str]) -> bool:
        """Return whether these workers are there, and named as not sampled."""
        return bool(addresses) and self._refused.keys() >= set(addresses)

    def batch(self, said: NodeBatch, now_s: float) -> None:
        """Take a worker's readings."""
        worker = self._workers.get(said.address)
        if worker is None:
            self.counts["stray"] += 1
            return
        worker.last_seen_s = now_s
        if said.seq <= worker.seq:
            self.counts["again"] += 1
            return
        if said.seq > worker.seq + 1:
            for one in self._of(said.address):
                one.gap = "transport"
        worker.seq = said.seq
        if worker.offset_s is None:
            worker.held.append(said)
            return
        delay_s = now_s - (said.sent_s - worker.offset_s)
        worker.doubted = not -max(0.05, worker.error_s) <= delay_s <= DELAY_S
        self._merge(worker, said)

    def bye(self, said: Bye) -> None:
        """Take a worker out that ends; in good order, a device that nobody else sees has left."""
        if not said.orderly:
            self.gone(said.address)
        if said.address not in self._workers:
            return
        owned = self._of(said.address)
        del self._workers[said.address]
        self._assign()
        for one in owned:
            one.left = not one.owner
            if one.left:
                one.lost = False

    def gone(self, address: str) -> None:
        """Take a worker out that is no longer there; others that see its devices take over."""
        if self._workers.pop(address, None) is not None:
            self._assign()

    def end(self, why: str) -> None:
        """Take everybody out: the cluster is lost."""
        self._workers.clear()
        for (host, _, uuid), one in self._devices.items():
            one.owner = ""
            if not one.left:
                self._lose(one, "timed_out", f"{uuid} on {host}: {why}")

    def compared(self, address: str, offset_s: float, error_s: float, now_s: float) -> None:
        """Take the offset of a worker's wall clock from our monotonic one, with its error.

        A worse one replaces a better one only where that is old or in doubt.
        """
        worker = self._workers.get(address)
        if worker is None:
            return
        if error_s > worker.error_s and not worker.doubted and now_s - worker.compared_s < 60.0:
            return
        worker.offset_s, worker.error_s, worker.compared_s = offset_s, error_s, now_s
        worker.doubted = False
        held, worker.held = worker.held, []
        for said in held:
            self._merge(worker, said)

    # ---- what is known ------------------------------------------------------------------------

    @property
    def workers(self) -> Mapping[str, Hello]:
        """Address -> hello of those that are sampled."""
        return {address: worker.hello for address, worker in self._workers.items()}

    def table(self) -> dict[str, Duty]:
        """Return address -> duty: whose device is whose, and who else is on it."""
        uuids: dict[str, list[str]] = {address: [] for address in self._workers}
        peers: dict[str, set[int]] = {address: set() for address in self._workers}
        seen = self._seen_by()
        for place, one in self._devices.items():
            if not one.owner:
                continue
            uuids[one.owner].append(place[2])
            owner = self._workers[one.owner].hello
            for address in seen.get(place, ()):
                said = self._workers[address].hello
                if said.namespace == owner.namespace and said is not owner:
                    peers[one.owner].add(said.pid)
        pace_s = self.pace_s()
        return {
            address: Duty(tuple(uuids[address]), tuple(sorted(peers[address])), pace_s)
            for address in self._workers
        }

    def pace_s(self) -> float:
        """Return the seconds between messages, and between looks at what they brought."""
        return batch_s(max(len(self._workers), len(self._devices)))

    def name_devices(self) -> tuple[Device, ...]:
        """Return the devices that have come since the last call, each under its label."""
        new = [place for place in self._devices if place not in self._named]
        self._named.update(new)
        return tuple(
            replace(self._devices[place].device, uuid=self._devices[place].label) for place in new
        )

    def hosts(self) -> int:
        """Return how many hosts have had a device."""
        return len({(host, boot) for host, boot, _ in self._devices})

    def devices(self) -> list[tuple[str, Device, int | None]]:
        """Return (label, device, rank) of each, by host and index."""
        self._opened = True
        ordered = sorted(self._devices.items(), key=lambda item: (item[0][0], item[1].label))
        return [(one.label, one.device, self._rank(place)) for place, one in ordered]

    def doubtful(self, now_s: float) -> bool:
        """Return whether a worker is silent, or a clock is in doubt: worth asking now."""
        return any(
            worker.offset_s is None or worker.doubted or now_s - worker.last_seen_s > QUIET_S
            for worker in self._workers.values()
        )

    def uncertain(self) -> list[str]:
        """Return a sentence for each host whose clock is known to worse than 50 ms."""
        return [
            f"the clock of {worker.hello.host} is known to {1000 * worker.error_s:.0f} ms"
            for worker in self._workers.values()
            if math.isfinite(worker.error_s) and worker.error_s > 0.05
        ]

    def take(self, now_s: float) -> Batch:
        """Return what has come since the last call; devices nobody speaks for are named."""
        for (host, _, uuid), one in self._devices.items():
            worker = self._workers.get(one.owner)
            silent = worker is None or now_s - worker.last_seen_s > SILENT_S
            if silent and not one.lost and not one.left:
                why = "its worker is gone" if worker is None else "its worker is silent"
                self._lose(one, "timed_out", f"{uuid} on {host}: {why}")
        batch = Batch(
            tuple(self._readings),
            tuple(self._lacks),
            tuple(self._gaps),
            losses=tuple(self._losses),
            joined=self.name_devices(),
            hosts=self.hosts(),
        )
        self._readings, self._lacks, self._gaps, self._losses = [], [], [], []
        return batch

    # ---- inside -------------------------------------------------------------------------------

    def _label(self, place: _Place) -> str:
        host, boot, uuid = place
        taken = {one.label for one in self._devices.values()}
        if uuid not in taken:
            return uuid
        named = f"{uuid}@{host}"
        return named if named not in taken else f"{named}-{boot[:8]}"

    def _seen_by(self) -> dict[_Place, list[str]]:
        """Return device -> addresses of the workers that see it."""
        found: dict[_Place, list[str]] = {}
        for address, worker in self._workers.items():
            said = worker.hello
            for device in said.devices:
                found.setdefault((said.host, said.boot, device.uuid), []).append(address)
        return found

    def _assign(self) -> None:
        """Give each device to who has it, else to the lowest address of those that see it."""
        every = self._seen_by()
        for place, one in self._devices.items():
            seen = sorted(every.get(place, ()))
            if one.owner not in seen:
                if one.owner and one.newest_s:
                    one.gap = one.gap or "source"
                one.owner = seen[0] if seen else ""

    def _rank(self, place: _Place) -> int | None:
        """Return the rank of the one worker that sees a device; None: several, or not known."""
        one = self._devices[place]
        if not one.ranked:
            seen = self._seen_by().get(place, ())
            one.rank = self._workers[seen[0]].hello.rank if len(seen) == 1 else None
            one.ranked = self._opened  # before, others that see it may still say hello
        return one.rank

    def _of(self, address: str) -> list[_Device]:
        return [one for one in self._devices.values() if one.owner == address]

    def _merge(self, worker: _Worker, said: NodeBatch) -> None:
        assert worker.offset_s is not None  # noqa: S101 - callers have compared
        offset_s = worker.offset_s
        for taken in said.taken:
            found = self._mine(worker, taken.uuid)
            if found is None:
                self.counts["duplicate"] += 1
                continue
            place, one = found
            times_s = [time_s - offset_s for time_s in taken.times_s]
            self._append(place, one, taken.metric, times_s, taken.values)
        for metric, uuid, reason, detail in said.lacks:
            found = self._mine(worker, uuid)
            if found is not None:
                place, one = found
                series = Series(metric, one.label, self._rank(place))
                self._lacks.append(Unavailable(series, reason, detail))
        for uuid, from_s, to_s, cause in said.gaps:
            if self._mine(worker, uuid) is not None:
                self._gaps.append(Gap(from_s - offset_s, to_s - offset_s, cause))
        for uuid, reason, detail in said.lost:
            found = self._mine(worker, uuid)
            if found is not None:
                self._lose(found[1], reason, f"{uuid} on {worker.hello.host}: {detail}")

    def _append(
        self,
        place: _Place,
        one: _Device,
        metric: str,
        times_s: list[float],
        values: tuple[float, ...],
    ) -> None:
        newest_s = one.newest_s.get(metric, -math.inf)
        kept = [(t, v) for t, v in zip(times_s, values, strict=True) if t >= newest_s + APART_S]
        self.counts["late"] += len(times_s) - len(kept)
        if not kept:
            return
        if metric == self.share:
            hole_s = kept[0][0] - newest_s
            if one.gap and math.isfinite(newest_s) and hole_s > 2.0 * self.period_s:
                self._gaps.append(Gap(newest_s, kept[0][0], one.gap))
            one.gap = ""
            if one.lost:
                one.lost = False
                self._losses.append(Loss(one.label, "", "", recovered=True))
        one.newest_s[metric] = kept[-1][0]
        series = Series(metric, one.label, self._rank(place))
        stamps, taken = zip(*kept, strict=True)
        self._readings.append(Readings(series, stamps, taken))

    def _mine(self, worker: _Worker, uuid: str) -> tuple[_Place, _Device] | None:
        """Return a device if this worker is the one that samples it."""
        place = (worker.hello.host, worker.hello.boot, uuid)
        one = self._devices.get(place)
        return (place, one) if one is not None and one.owner == worker.hello.address else None

    def _lose(self, one: _Device, reason: str, detail: str) -> None:
        if not one.lost:
            one.lost, one.gap = True, one.gap or "transport"
            self._losses.append(Loss(one.label, reason, detail))
