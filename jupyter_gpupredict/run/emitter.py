"""Makes numbered events, on a run's own time, of what its source and its code bring."""

from __future__ import annotations

import bisect
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core import progress
from jupyter_gpupredict.core.metrics import whole_percent
from jupyter_gpupredict.core.recommendation import judged, withheld
from jupyter_gpupredict.core.run import RunFold
from jupyter_gpupredict.core.series import Readings, in_pieces
from jupyter_gpupredict.run.allocators import AllocatorPoll

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.protocols import Clock, HostMemory
    from jupyter_gpupredict.core.recommendation import AppliedShare, Recommendation, SmNeed
    from jupyter_gpupredict.core.series import Batch, Device, Loss
    from jupyter_gpupredict.run.analysis import Analysis, Change
    from jupyter_gpupredict.run.ranks import Ranks
    from jupyter_gpupredict.run.threads import Channel, Delivery

T = TypeVar("T")
LATER = -1
"""The number of an event until it is emitted."""
MOST_READINGS = 10_000
"""In one event: lines are bounded, and a replay may bring all of its readings at once."""
EMIT_EVERY_S = 1.9
"""How often the trace is written while no view is attached: that costs as much as reading. A change
of state is written at once."""
LIVE_EMIT_EVERY_S = 0.15
"""The same while one is: at each look of a frame's period, not at each of a shorter one."""
FULL_UPDATE_S = 10.0
"""A recommendation is sent this often even when nothing visible changed."""


class Emitter:
    """Has what comes in analysed, and emits it. One thread's at a time."""

    def __init__(
        self,
        channel: Channel,
        delivery: Delivery,
        clock: Clock,
        live: bool,
        on_state: Callable[[Recommendation], None] | None = None,
        host: HostMemory | None = None,
    ) -> None:
        self.host = host
        """What follows the memory of the machine; None where nothing does."""
        self._channel = channel
        self._delivery = delivery
        self._clock = clock
        self._every_s = LIVE_EMIT_EVERY_S if live else EMIT_EVERY_S
        self._on_state = on_state
        self.fold = RunFold()
        self.began_s = 0.0
        """Monotonic, when the run's own time began."""
        self.errors: list[str] = []
        """What went wrong in our own machinery."""
        self.need: SmNeed | None = None
        """What the run's kernels need of the SMs, as far as it is known; set from any thread."""
        self._shown: SmNeed | None = None
        self._seq = 0
        self._analysis: Analysis | Ranks | None = None
        self._others: tuple[Analysis | Ranks, ...] = ()
        """Of further shares: each has its own rule and guard, and only its figure is emitted."""
        self._lost_devices: dict[str, float] = {}
        self._joined: list[Device] = []
        self._hosts = 1
        self._allocators: AllocatorPoll | None = None
        self._updated_s = self._emitted_s = float("-inf")

    @property
    def capped(self) -> bool:
        """Whether MPS gives the run less than all SMs: it then converges to nothing."""
        applied = self.fold.applied
        return applied is not None and applied.capped

    def now_s(self) -> float:
        """Return the run's own time."""
        return self._clock.monotonic_s() - self.began_s

    def begin(
        self,
        header: ev.SessionStarted,
        analysis: Analysis | Ranks,
        others: tuple[Analysis | Ranks, ...],
        began_s: float,
    ) -> None:
        """Emit the beginning; the rest has its time from then on."""
        self.began_s = began_s
        self._analysis, self._others, self._hosts = analysis, others, header.hosts
        self._emit(replace(header, t_s=0.0))
        self._allocators = AllocatorPoll(header.share.device)
        self.ask_framework()  # its peaks so far are not the run's

    def take(self, batch: Batch, marks: Sequence[progress.Mark]) -> None:
        """Put a batch, and marks that hints made meanwhile, on the run's time and emit them."""
        now_s, began_s = self.now_s(), self.began_s
        readings = tuple(kept for kept in (_rebase(r, began_s) for r in batch.readings) if kept)
        for some in in_pieces(readings, MOST_READINGS):
            self._emit(ev.SamplesTaken(LATER, now_s, some))
        for missing in batch.unavailable:
            self._emit(
                ev.MetricUnavailable(LATER, now_s, missing.series, missing.reason, missing.detail)
            )
        for gap in batch.gaps:
            self._emit(
                ev.GapObserved(LATER, now_s, gap.from_s - began_s, gap.to_s - began_s, gap.cause)
            )
        moved = self._emit_marks([*marks, *batch.marks])
        for other in self._others:
            other.ingest(readings, moved)
        changed = self._emit_changes(self._judging.ingest(readings, moved))
        for loss in batch.losses:
            changed = self._emit_loss(loss, now_s) or changed
        self._joined += batch.joined
        self._hosts = max(self._hosts, batch.hosts)
        due = changed or now_s - self._emitted_s >= self._every_s
        if due and (changed or self._visibly_changed(now_s)):
            self._recommend(now_s)
        if due:
            self._emitted_s = now_s
            self._delivery.wake()

    def ask_framework(self) -> tuple[Readings, ...]:
        """Return what the framework's allocator says now, in monotonic seconds."""
        polled = self._allocators
        now_s = self._clock.monotonic_s()
        return () if polled is None else self._asked(lambda: polled.poll(now_s)) or ()

    def share(self, applied: AppliedShare | None) -> None:
        """Emit how the run stands to MPS; withdraw what was predicted before a cap was seen."""
        if applied is None or applied == self.fold.applied:
            return
        capped, last = self.capped, self.fold.recommendation
        self._emit(ev.ShareApplied(LATER, self.now_s(), applied))
        if self.capped and not capped and last is not None and last.state == "converged":
            reason = withheld(last, applied.cap).reason
            self._emit(ev.StateChanged(LATER, self.now_s(), last.state, "abstained", reason))

    def source_lost(self, reason: str, detail: str) -> None:
        """Emit that the source stopped answering."""
        self._emit(ev.SourceLost(LATER, self.now_s(), self._source, reason, detail))

    def source_recovered(self, outage_s: float) -> None:
        """Emit that it answers again."""
        self._emit(ev.SourceRecovered(LATER, self.now_s(), self._source, outage_s))

    def detached(self) -> None:
        """Emit which subscribers failed since the last call."""
        while self._channel.failures:
            name, error = self._channel.failures.popleft()
            self.errors.append(f"{name}: {error}")
            self._emit(ev.SubscriberDetached(LATER, self.now_s(), name, error))

    def settle(self) -> None:
        """End the analysis: no more readings come."""
        self._emit_changes(self._judging.finish())
        for other in self._others:
            other.finish()

    def finish(
        self,
        outcome: str,
        overhead_s: float,
        *,
        whole: bool,
        own_process: bool = True,
        error: str = "",
    ) -> None:
        """Emit the end.

        Args:
            outcome: As in `SessionFinished`.
            overhead_s: CPU seconds our own thread has used.
            whole: The code ran to its end and was measured to its end.
            own_process: It ran in this process, whose framework knows a peak of its own.
            error: Name of the exception that ended the code; empty: none did.
        """
        peak = self._asked(self._allocators.ended) if own_process and self._allocators else None
        now_s = self.now_s()
        self._recommend(now_s)
        self.detached()
        self._emit(
            ev.SessionFinished(
                seq=LATER,
                t_s=now_s,
                outcome=outcome,
                recommendation=self._judged(self._judging),
                samples=self.fold.samples,
                duration_s=now_s,
                overhead_s=overhead_s,
                errors=tuple(self.errors),
                others=self._further(),
                profile=self._judging.profile() if whole else None,
                allocator=peak,
                host_peak=None if self.host is None else self.host.peak(),
                partial=tuple(self.fold.lost.values()),
                own_processes=dict(self.fold.neighbors.own),
                joined=tuple(self._joined),
                hosts=self._hosts,
                surroundings=self.fold.surroundings(),
                error=error,
            )
        )

    # ---- inside -------------------------------------------------------------------------------

    @property
    def _judging(self) -> Analysis | Ranks:
        assert self._analysis is not None  # noqa: S101 - set by `begin`
        return self._analysis

    @property
    def _source(self) -> str:
        return self.fold.started.source if self.fold.started else ""

    def _judged(self, analysis: Analysis | Ranks) -> Recommendation:
        """Return what an analysis recommends; of a capped run, nothing."""
        found = judged(analysis.recommendation(), self.fold.applied)
        if self.need is None or found.capped or analysis is not self._analysis:
            return found
        return replace(found, geometry=self.need)

    def _further(self) -> tuple[Recommendation, ...]:
        """Return what is recommended of each rank, and of further shares."""
        return (*self._judging.parts(), *(self._judged(other) for other in self._others))

    def _recommend(self, now_s: float) -> None:
        self._updated_s, self._shown = now_s, self.need
        self._emit(
            ev.RecommendationUpdated(
                LATER,
                now_s,
                self._judged(self._judging),
                self._further(),
                self.fold.surroundings(),
            )
        )

    def _asked(self, ask: Callable[[], T]) -> T | None:
        """Ask the framework; what it raises is reported once, and costs its figures alone."""
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - border: the user's framework, in any state
            self.errors.append(f"no allocator peak: {type(error).__name__}: {error}")
            self._allocators = None
            return None

    def _visibly_changed(self, now_s: float) -> bool:
        """Whether a person would see other figures than the last ones, or none for long."""
        if now_s - self._updated_s >= FULL_UPDATE_S or self.need is not self._shown:
            return True
        old, new = self.fold.recommendation, self._judged(self._judging)
        return old is None or _visible(old) != _visible(new)

    def _emit_loss(self, loss: Loss, now_s: float) -> bool:
        """Emit that one of several devices went or came back; returns whether the state changed."""
        if loss.recovered:
            outage_s = now_s - self._lost_devices.pop(loss.device, now_s)
            self._emit(ev.SourceRecovered(LATER, now_s, loss.device, outage_s))
            return self._emit_changes(self._judging.regain(loss.device))
        self._lost_devices[loss.device] = now_s
        self._emit(ev.SourceLost(LATER, now_s, loss.device, loss.reason, loss.detail))
        return self._emit_changes(self._judging.lose(loss.device))

    def _emit_marks(self, marks: Sequence[progress.Mark]) -> list[progress.Mark]:
        """Put marks on the run's own time and emit them."""
        found = []
        for mark in marks:
            time_s = mark.time_s - self.began_s
            found.append(replace(mark, time_s=time_s))
            if isinstance(mark, progress.Phase):
                self._emit(ev.PhaseEntered(LATER, time_s, mark.name, mark.hint))
            else:
                self._emit(
                    ev.ProgressMade(LATER, time_s, mark.unit, mark.done, mark.total, mark.hint)
                )
        return found

    def _emit_changes(self, changes: Sequence[Change]) -> bool:
        """Emit what the analysis found; returns whether the state changed."""
        changed = False
        for change in changes:
            moved = isinstance(change, ev.StateChanged)
            if isinstance(change, ev.StateChanged) and self.capped and change.new != "watching":
                continue  # a capped run converges to nothing
            self._emit(change)
            if moved and self._on_state is not None:
                self._on_state(self._judged(self._judging))
            changed = changed or moved
        return changed

    def _emit(self, event: ev.Event) -> None:
        """Number an event and send it."""
        numbered = replace(event, seq=self._seq)
        self._seq += 1
        self.fold.add(numbered)
        self._channel.put(numbered)


def _rebase(readings: Readings, began_s: float) -> Readings | None:
    """Return the readings in session time, without those from before the session."""
    first = bisect.bisect_right(readings.times_s, began_s)
    if first == len(readings.times_s):
        return None
    return Readings(
        readings.series,
        tuple(time_s - began_s for time_s in readings.times_s[first:]),
        readings.values[first:],
    )


def _visible(recommendation: Recommendation) -> tuple[object, ...]:
    """What a person would see change: whole percents, 1 % of memory, words."""
    memory = recommendation.memory
    return (
        recommendation.state,
        recommendation.reason,
        whole_percent(recommendation.target_ratio),
        whole_percent(recommendation.mean_ratio),
        whole_percent(recommendation.coverage_ratio),
        memory is not None and memory.target_bytes is not None,
        f"{memory.peak_bytes:.2g}" if memory is not None else "",
    )
