"""The GPUs of a cluster's workers as one source: sampled there, merged here.

The engine carries messages; this file decides when workers are asked and compares their clocks with
ours. A separate thread asks, since a cluster that is lost may take half a minute to say so.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.errors import Malformed, SourceLost, SourceUnavailable, TelemetryError
from jupyter_gpupredict.core.series import Batch, Series, Share, SourceInfo
from jupyter_gpupredict.sources.merging import Merger
from jupyter_gpupredict.sources.messages import Bye, Duty, Hello, NodeBatch, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_gpupredict.core.protocols import Clock
    from jupyter_gpupredict.sources.messages import Engine, Message, NodeSources

HELLO_S = 8.0
"""Workers that are there say hello within half a second; those that start, within two."""
SETTLE_S = 0.5
"""After the first hello, the others are waited for so long."""
TRIPS = 8
"""The clocks are compared by the trip with the least delay of so many."""
RENEW_S = 10.0
COMPARE_S = 60.0
MUTE_S = 3.0
"""A worker that answers and has not said hello for so long has no sampler."""
ASK_S = 1.0
"""Workers that fell silent are asked for no more often."""
STOP_S = 2.0
MAX_QUEUED = 100_000

_Trip = tuple[float, float, "Mapping[str, Duty]", "Mapping[str, float | None]"]
"""(sent, received, address -> duty, address -> wall clock), on our monotonic clock."""


class ClusterSource:
    """All devices of a cluster's workers."""

    def __init__(self, engine: Engine, sources: NodeSources, clock: Clock) -> None:
        self._engine = engine
        self._sources = sources
        self._clock = clock
        self._wake, self._came, self._stop = (threading.Event() for _ in range(3))
        self._thread: threading.Thread | None = None
        self._there: frozenset[str] = frozenset()
        """Addresses of the workers that answered last."""
        self._mute: dict[str, float] = {}
        """Address -> since when a worker answers and has not said hello."""
        self.malformed = 0
        """Messages that could not be read."""
        self._reset()

    def _reset(self) -> None:
        self._messages: deque[tuple[float, Message]] = deque(maxlen=MAX_QUEUED)
        self._trips: deque[_Trip] = deque()
        self._given: dict[str, Duty] = {}
        """Address -> duty, as that worker has acknowledged it."""
        self._merger = Merger()
        self._problem: TelemetryError | None = None
        self._table: dict[str, Duty] = {}
        self._asked_s = self._compared_s = -math.inf
        self._stop.clear()

    def open(self) -> SourceInfo:
        """Start the samplers and wait for the first; `SourceUnavailable` where there is none."""
        self.close()
        self._reset()
        self._engine.start(self._sources, self._take_message)
        self._thread = threading.Thread(target=self._tend, name="gpupredict-cluster", daemon=True)
        self._thread.start()
        try:
            return self._first()
        except BaseException:
            self.close()
            raise

    def read(self, *, slow: bool) -> Batch:
        """Return what the workers have sent since the last call.

        A cluster that is lost is not tried again: its library does so for half a minute, and a
        scheduler that comes back has other workers. All devices count as lost.
        """
        if self._thread is None:
            return Batch()
        now_s = self._clock.monotonic_s()
        self._drain()
        if self._problem is not None:
            self._merger.end(self._problem.message)
        self._ask(now_s)
        return self._merger.take(now_s)

    def close(self) -> None:
        """End the samplers; may be called twice, and takes no longer than 2 s."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        self._wake.set()
        thread.join(STOP_S)

    def _take_message(self, message: Message) -> None:
        """Keep a message; on the engine's thread."""
        self._messages.append((self._clock.monotonic_s(), message))
        self._came.set()

    def _drain(self) -> None:
        merger = self._merger
        while self._messages:
            came_s, message = self._messages.popleft()
            try:
                said = parse(message)
            except Malformed:
                self.malformed += 1
                continue
            if isinstance(said, Hello):
                if said.address not in merger.workers:
                    self._compared_s = -math.inf  # its clock is not known yet
                merger.hello(said, came_s, __version__)
            elif isinstance(said, NodeBatch):
                merger.batch(said, came_s)
            elif isinstance(said, Bye):
                merger.bye(said)
        while self._trips:
            self._compare(self._trips.popleft())

    def _compare(self, trip: _Trip) -> None:
        """Use one round trip: workers that answered are there, and gave their time halfway."""
        merger, (sent_s, received_s, table, answers) = self._merger, trip
        self._there = frozenset(answers)
        half_s = (received_s - sent_s) / 2.0
        for address in tuple(merger.workers):
            if answers and address not in answers:
                merger.gone(address)
        for address, wall_s in answers.items():
            if wall_s is not None and math.isnan(wall_s):
                continue  # it is there, and too busy to answer
            if wall_s is not None:
                self._given[address] = table.get(address, Duty())
                merger.compared(address, wall_s - sent_s - half_s, half_s, received_s)
            elif address not in merger.workers:
                since_s = self._mute.setdefault(address, received_s)
                if received_s - since_s > MUTE_S:
                    why = "no sampler runs there; is jupyter_gpupredict installed?"
                    merger.refuse(address, address, "its host", why)

    def _ask(self, now_s: float) -> None:
        """Wake the asking thread where that is due."""
        table = self._merger.table()
        doubtful = self._merger.doubtful(now_s) and now_s - self._asked_s > ASK_S
        if table != self._table or doubtful or now_s - self._asked_s > RENEW_S:
            self._table, self._asked_s = table, now_s
            self._wake.set()

    def _tend(self) -> None:
        """Ask, on the asking thread, until the source is closed."""
        try:
            while not self._stop.is_set():
                self._wake.wait(RENEW_S)
                self._wake.clear()
                now_s = self._clock.monotonic_s()
                trips = TRIPS if now_s - self._compared_s > COMPARE_S else 1
                if trips > 1:
                    self._compared_s = now_s
                for _ in range(trips):
                    if self._stop.is_set():
                        break
                    sent_s = self._clock.monotonic_s()
                    table = self._table
                    answers = self._engine.tend(table)
                    self._trips.append((sent_s, self._clock.monotonic_s(), table, answers))
                self._came.set()
        except TelemetryError as error:
            self._problem = error
        except Exception as error:  # noqa: BLE001 - border: the cluster's library, in any state
            self._problem = SourceLost(f"the cluster is lost: {error}", "", "timed_out")
        finally:
            self._came.set()
            try:
                self._engine.stop()
            except Exception as error:  # noqa: BLE001 - border, as above; the lease ends the rest
                self._problem = self._problem or SourceLost(str(error), "", "timed_out")

    def _first(self) -> SourceInfo:
        """Wait for the first workers and give them their devices."""
        began_s = self._clock.monotonic_s()
        settled_s = math.inf
        while True:
            self._came.wait(0.05)
            self._came.clear()
            now_s = self._clock.monotonic_s()
            self._drain()
            if self._problem is not None:
                raise SourceUnavailable(self._problem.message, self._problem.hint)
            self._ask(now_s)
            table = self._merger.table()
            given = all(self._given.get(address) == duty for address, duty in table.items())
            known = given and not self._merger.doubtful(now_s)
            if known if self._merger.workers else self._merger.refuses(self._there):
                settled_s = min(settled_s, now_s)
            if now_s - settled_s >= SETTLE_S or now_s - began_s > HELLO_S:
                if self._merger.workers:
                    return self._info()
                why = "; ".join(self._merger.notes[:3]) or "has it any?"
                raise SourceUnavailable("no worker of the cluster can be sampled", why)

    def _info(self) -> SourceInfo:
        merger = self._merger
        offers = [one.offer for one in merger.workers.values() if one.offer is not None]
        offer = offers[0]
        devices = merger.devices()
        notes = [*merger.notes, *merger.uncertain()]
        if len({one.share for one in offers}) > 1:
            notes.append("the workers' GPUs are measured differently; each figure names its metric")
        merger.name_devices()  # those that come later are reported as they come
        hosts = merger.hosts()
        counted = f"{len(devices)} devices of {len(merger.workers)} workers on {hosts} hosts"
        merger.share, merger.period_s = offer.share, max(one.period_s for one in offers)

        first, _, first_rank = devices[0]

        def of(metric: str) -> Series | None:
            return Series(metric, first, first_rank) if metric else None

        memory, process_memory = of(offer.memory), of(offer.process_memory)
        return SourceInfo(
            source=offer.source,
            devices=tuple(replace(device, uuid=label) for label, device, _ in devices),
            series=tuple(
                Series(metric, label, rank) for label, _, rank in devices for metric in offer.series
            ),
            hosts=hosts,
            share=Series(offer.share, first, first_rank),
            memory=memory,
            process_memory=process_memory,
            duty=of(offer.duty),
            also=tuple(
                Share(Series(metric, first, first_rank), None, memory, process_memory)
                for metric in offer.also
            ),
            period_s=merger.period_s,
            buffer_s=COMPARE_S,  # the workers go on by themselves; reading late loses nothing
            live_s=merger.pace_s(),
            simulated=any(one.simulated for one in offers),
            origin=offer.origin,
            scope=offer.scope,
            ranks=True,
            versions=(("driver", offer.driver),) if offer.driver else (),
            notes=(f"cluster: {counted}", *notes),
        )
