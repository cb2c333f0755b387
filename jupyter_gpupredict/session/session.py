"""One measured run: source -> analysis -> numbered events -> subscribers."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core import progress
from jupyter_gpupredict.core.errors import GpuPredictError, SourceUnavailable, TelemetryError
from jupyter_gpupredict.core.run import Run, RunFold
from jupyter_gpupredict.core.series import Batch, Gap, Loss, Readings
from jupyter_gpupredict.core.share import judged, withheld
from jupyter_gpupredict.session import allocator
from jupyter_gpupredict.session.analysis import Analysis, Transition
from jupyter_gpupredict.session.delivery import Channel, Delivery
from jupyter_gpupredict.session.sampler import Sampler

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.clock import Clock
    from jupyter_gpupredict.core.protocols import ShareHold, Subscriber, TelemetrySource
    from jupyter_gpupredict.core.recommendation import AllocatorPeak, Recommendation
    from jupyter_gpupredict.core.series import Device, SourceInfo
    from jupyter_gpupredict.core.share import AppliedShare
    from jupyter_gpupredict.session.hooks import Hooks
    from jupyter_gpupredict.session.progress import Board
    from jupyter_gpupredict.session.ranks import Ranks

BUFFERED_WAKE_S = 1.0
"""The driver keeps the readings meanwhile, so waking more often would only cost."""
LIVE_WAKE_S = 0.25
"""While a view is attached: its frame period."""
MAX_BACKOFF_S = 10.0
TELL_EVERY_S = 1.9
"""How often the trace is written while no view is attached: telling costs as much as reading. A
change of state is told at once."""
LIVE_TELL_EVERY_S = 0.15
"""The same while one is: at each look of a frame's period, not at each of a shorter one."""
FULL_UPDATE_S = 10.0
"""A recommendation is sent this often even when nothing visible changed."""


class Session:
    """A run from `start` to `stop`. The sampler thread alone writes its state while it runs."""

    def __init__(
        self,
        *,
        source: TelemetrySource,
        make_analysis: Callable[[SourceInfo], Analysis | Ranks],
        make_header: Callable[[SourceInfo], ev.SessionStarted],
        subscribers: Sequence[Subscriber],
        delivery: Delivery,
        clock: Clock,
        board: Board | None = None,
        hooks: Hooks | None = None,
        share: ShareHold | None = None,
        live: bool = False,
        own_process: bool = True,
        max_seconds: float | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
        on_state: Callable[[Recommendation], None] | None = None,
        on_limit: Callable[[], None] | None = None,
    ) -> None:
        self._source = source
        self._make_analysis = make_analysis
        self._make_header = make_header
        self._delivery = delivery
        self._clock = clock
        self._board = board
        self._marks: deque[progress.Mark] | None = None
        self._hooks = hooks
        self._hook_problems: deque[str] | None = None
        self._share = share
        self._live = live
        self._own_process = own_process
        self._max_seconds = max_seconds
        self._stop_requested = stop_requested
        self._on_state = on_state
        self._on_limit = on_limit
        self._channel = Channel(subscribers)
        self._fold = RunFold()
        self._seq = 0
        self._began_s = 0.0
        self._pid = 0
        self._sampler: Sampler | None = None
        self._analysis: Analysis | Ranks | None = None
        self._others: tuple[Analysis | Ranks, ...] = ()
        """Of further shares: each has its own rule and guard, and only its figure is told."""
        self._lost_devices: dict[str, float] = {}
        self._joined: list[Device] = []
        self._hosts = 0
        self._lost_since_s: float | None = None
        self._retry_at_s = 0.0
        self._backoff_s = 0.5
        self._updated_s = self._told_s = float("-inf")
        self._run: Run | None = None
        self._stop_lock = threading.Lock()
        self._ended_early = ""
        self.errors: list[str] = []
        """What went wrong in our own machinery."""

    @property
    def session_id(self) -> str:
        """The run's id; empty before `start`."""
        return self._fold.started.session_id if self._fold.started else ""

    @property
    def started(self) -> ev.SessionStarted | None:
        """The first event; None before `start`."""
        return self._fold.started

    @property
    def recommendation(self) -> Recommendation | None:
        """The newest recommendation; None before the first reading."""
        return self._fold.recommendation

    @property
    def applied(self) -> AppliedShare | None:
        """How the run stands to MPS; None where it was not asked for and not seen."""
        return self._fold.applied

    @property
    def measuring(self) -> bool:
        """Whether readings are still taken."""
        return self._sampler is not None and self._run is None and not self._ended_early

    def start(self) -> None:
        """Open the source and begin to measure.

        Raises:
            SourceUnavailable: No reading can be had; the message says why.
        """
        info = self._source.open()
        try:
            self._begin(info)
        except BaseException as error:  # such as an interrupt while MPS starts
            if self._sampler is not None:  # it may run already
                self.stop("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
                raise
            self._close_source()
            if self._share is not None:
                self._share.end()
            raise

    def _begin(self, info: SourceInfo) -> None:
        applied = self._share.begin() if self._share is not None else None
        self._pid = os.getpid()
        self._began_s = self._clock.monotonic_s()
        self._analysis = self._make_analysis(info)
        self._others = tuple(
            self._make_analysis(
                replace(
                    info,
                    share=share.series,
                    duty=share.duty,
                    memory=share.memory,
                    process_memory=share.process_memory,
                    also=(),
                )
            )
            for share in info.also
        )
        self._delivery.attach(self._channel)
        header = self._make_header(info)
        self._emit(replace(header, seq=self._next(), t_s=0.0))
        self._tell(applied)
        wake_s = info.period_s
        if info.buffer_s is not None:
            wake_s = (info.live_s or LIVE_WAKE_S) if self._live else BUFFERED_WAKE_S
        if self._board is not None and not info.brings_progress:
            self._marks = self._board.join()
        if self._hooks is not None:
            self._hook_problems = self._hooks.join()
        self._sampler = Sampler(self._tick, wake_s, self._clock, self._crashed)
        self._sampler.start()

    def stop(self, outcome: str) -> Run:
        """End the measuring, deliver what is left and return the run; idempotent.

        In a forked child nothing is done: the run belongs to the parent.

        Args:
            outcome: `completed`, `failed`, `interrupted` or `stopped`.

        Raises:
            SourceUnavailable: The session was never started.
        """
        with self._stop_lock:
            if self._run is None:
                if self._sampler is None:
                    raise SourceUnavailable("nothing was measured", "start the session first")
                self._run = self._fold.record(live=True) if self._forked else self._end(outcome)
            return self._run

    @property
    def _forked(self) -> bool:
        return os.getpid() != self._pid

    def _end(self, outcome: str) -> Run:
        sampler, analysis = self._sampler, self._analysis
        assert sampler is not None  # noqa: S101 - `stop` has checked
        assert analysis is not None  # noqa: S101
        if sampler.stop() and not self._ended_early:
            self._last_tick()
        self._close_source()
        if self._board is not None and self._marks is not None:
            self._board.leave(self._marks)
        if self._hooks is not None and self._hook_problems is not None:
            self._hooks.leave(self._hook_problems)
            self.errors.extend(self._hook_problems)
        self._report_changes(analysis.finish())
        if self._share is not None:
            self._tell(self._share.end())
        now_s = self._now_s()
        for other in self._others:
            other.finish()
        recommendation = self._judged(analysis)
        self._recommend(now_s)
        self._report_detached()
        self._emit(
            ev.SessionFinished(
                seq=self._next(),
                t_s=now_s,
                outcome=outcome,
                recommendation=recommendation,
                samples=self._fold.samples,
                duration_s=now_s,
                overhead_s=sampler.cpu_s,
                errors=tuple(self.errors),
                others=self._further(),
                profile=analysis.profile() if self._whole(outcome) else None,
                allocator=self._allocator_peak(),
                partial=tuple(self._fold.lost.values()),
                own_processes=dict(self._fold.neighbors.own),
                joined=tuple(self._joined),
                hosts=max(self._hosts, self._fold.started.hosts if self._fold.started else 1),
            )
        )
        if not self._delivery.finish(self._channel):
            self.errors.append("a view did not take its last frame in time")
        self._report_detached()
        return replace(self._fold.record(), errors=tuple(self.errors))

    def _allocator_peak(self) -> AllocatorPeak | None:
        """Ask the framework; what it raises is told and costs its figure alone."""
        started = self._fold.started
        if not self._own_process:
            return None  # what this process has allocated is not the run's
        try:
            return None if started is None else allocator.peak(started.share.device)
        except Exception as error:  # noqa: BLE001 - border: the user's framework, in any state
            self.errors.append(f"no allocator peak: {type(error).__name__}: {error}")
            return None

    def _whole(self, outcome: str) -> bool:
        """Whether the code ran to its end and was measured to its end."""
        return outcome == "completed" and not self._ended_early and not self._capped

    @property
    def _capped(self) -> bool:
        return self.applied is not None and self.applied.capped

    def _judged(self, analysis: Analysis | Ranks) -> Recommendation:
        """Return what an analysis recommends; of a capped run, nothing."""
        return judged(analysis.recommendation(), self.applied)

    def _tell(self, applied: AppliedShare | None) -> None:
        """Tell how the run stands to MPS; what was predicted before a cap was seen is withdrawn."""
        if applied is None or applied == self.applied:
            return
        capped, told = self._capped, self._fold.recommendation
        self._emit(ev.ShareApplied(self._next(), self._now_s(), applied))
        if self._capped and not capped and told is not None and told.state == "converged":
            reason = withheld(told, applied.cap).reason
            self._emit(
                ev.StateChanged(self._next(), self._now_s(), told.state, "abstained", reason)
            )

    def _last_tick(self) -> None:
        """Read once more, so that a cell of 50 ms still has its readings."""
        try:
            self._tick(True)
        except Exception as error:  # noqa: BLE001 - border: a bug of ours must not reach the cell
            self._crashed(error)

    def _tick(self, slow: bool) -> bool:
        """Read, analyse and report; returns whether to go on. On the sampler thread."""
        self._report_detached()
        now_s = self._now_s()
        if slow and self._stop_requested():
            self._ended_early = "stopped on request"
        elif self._max_seconds is not None and now_s >= self._max_seconds:
            self._ended_early = f"measured for the {self._max_seconds:g} s asked for"
            if self._on_limit is not None:
                self._on_limit()
        if slow and self._hooks is not None:
            self._hooks.poll()
        batch = self._read(slow)
        if batch is not None:
            self._take(batch)
        return not self._ended_early

    def _read(self, slow: bool) -> Batch | None:
        now_s = self._now_s()
        try:
            if self._lost_since_s is not None:
                if now_s < self._retry_at_s:
                    return None
                self._source.close()
                self._source.open()
            batch = self._source.read(slow=slow)
        except TelemetryError as error:
            self._lost(error, now_s)
            return None
        if self._lost_since_s is not None:
            outage_s = now_s - self._lost_since_s
            gap = Gap(self._began_s + self._lost_since_s, self._began_s + now_s, "source")
            batch = replace(batch, gaps=(*batch.gaps, gap))
            self._emit(ev.SourceRecovered(self._next(), now_s, self._source_name, outage_s))
            self._lost_since_s, self._backoff_s = None, 0.5
        return batch

    @property
    def _source_name(self) -> str:
        return self._fold.started.source if self._fold.started else ""

    def _lost(self, error: TelemetryError, now_s: float) -> None:
        if self._lost_since_s is None:
            self._lost_since_s = now_s
            self._emit(
                ev.SourceLost(self._next(), now_s, self._source_name, error.reason, str(error))
            )
            self._delivery.wake()  # nothing else will, until it is back
        self._retry_at_s = now_s + self._backoff_s
        self._backoff_s = min(MAX_BACKOFF_S, 2 * self._backoff_s)

    def _take(self, batch: Batch) -> None:
        """Put a batch on the session's own time and hand it on."""
        analysis = self._analysis
        assert analysis is not None  # noqa: S101 - set by `start`
        now_s = self._now_s()
        began_s = self._began_s
        readings = tuple(kept for kept in (_rebase(r, began_s) for r in batch.readings) if kept)
        if readings:
            self._emit(ev.SamplesTaken(self._next(), now_s, readings))
        for missing in batch.unavailable:
            self._emit(
                ev.MetricUnavailable(
                    self._next(), now_s, missing.series, missing.reason, missing.detail
                )
            )
        for gap in batch.gaps:
            self._emit(
                ev.GapObserved(
                    self._next(), now_s, gap.from_s - began_s, gap.to_s - began_s, gap.cause
                )
            )
        marks = self._report_marks([*self._new_marks(), *batch.marks])
        for other in self._others:
            other.ingest(readings, marks)
        changed = self._report_changes(analysis.ingest(readings, marks))
        for loss in batch.losses:
            changed = self._report_loss(loss, now_s) or changed
        every_s = LIVE_TELL_EVERY_S if self._live else TELL_EVERY_S
        due = changed or now_s - self._told_s >= every_s
        if due and (changed or self._visibly_changed(now_s)):
            self._recommend(now_s)
        self._joined += batch.joined
        self._hosts = max(self._hosts, batch.hosts)
        if batch.exhausted:
            self._ended_early = "the recording is at its end"
        if due:
            self._told_s = now_s
            self._delivery.wake()

    def _recommend(self, now_s: float) -> None:
        assert self._analysis is not None  # noqa: S101 - set by `start`
        self._updated_s = now_s
        self._emit(
            ev.RecommendationUpdated(
                self._next(),
                now_s,
                self._judged(self._analysis),
                self._further(),
            )
        )

    def _further(self) -> tuple[Recommendation, ...]:
        """Return what is recommended of each rank, and of further shares."""
        assert self._analysis is not None  # noqa: S101 - set by `start`
        return (*self._analysis.parts(), *(self._judged(other) for other in self._others))

    def _report_loss(self, loss: Loss, now_s: float) -> bool:
        """Tell that one of several devices went or came back; returns whether the state changed."""
        analysis = self._analysis
        assert analysis is not None  # noqa: S101 - set by `start`
        if loss.recovered:
            outage_s = now_s - self._lost_devices.pop(loss.device, now_s)
            self._emit(ev.SourceRecovered(self._next(), now_s, loss.device, outage_s))
            return self._report_changes(analysis.regain(loss.device))
        self._lost_devices[loss.device] = now_s
        self._emit(ev.SourceLost(self._next(), now_s, loss.device, loss.reason, loss.detail))
        return self._report_changes(analysis.lose(loss.device))

    def _new_marks(self) -> list[progress.Mark]:
        """Return what hints reported since the last call."""
        queue, found = self._marks, []
        while queue:
            found.append(queue.popleft())
        return found

    def _report_marks(self, marks: Sequence[progress.Mark]) -> list[progress.Mark]:
        """Put marks on the session's own time and tell of them."""
        found = []
        for mark in marks:
            time_s = mark.time_s - self._began_s
            found.append(replace(mark, time_s=time_s))
            if isinstance(mark, progress.Phase):
                self._emit(ev.PhaseEntered(self._next(), time_s, mark.name, mark.hint))
            else:
                self._emit(
                    ev.ProgressMade(
                        self._next(), time_s, mark.unit, mark.done, mark.total, mark.hint
                    )
                )
        return found

    def _visibly_changed(self, now_s: float) -> bool:
        """Whether a person would see other figures than those told last, or none for long."""
        assert self._analysis is not None  # noqa: S101 - set by `start`
        if now_s - self._updated_s >= FULL_UPDATE_S:
            return True
        old, new = self._fold.recommendation, self._judged(self._analysis)
        return old is None or _visible(old) != _visible(new)

    def _report_changes(self, changes: Sequence[Transition | ev.WindowClosed]) -> bool:
        """Emit what the analysis found; returns whether the state changed."""
        changed = False
        for change in changes:
            if isinstance(change, Transition) and self._capped and change.new != "watching":
                continue  # a capped run converges to nothing
            if isinstance(change, Transition):
                changed = True
                self._emit(
                    ev.StateChanged(
                        self._next(), change.at_s, change.old, change.new, change.reason
                    )
                )
                if self._on_state is not None and self._analysis is not None:
                    self._on_state(self._judged(self._analysis))
            else:
                self._emit(replace(change, seq=self._next()))
        return changed

    def _report_detached(self) -> None:
        while self._channel.failures:
            name, error = self._channel.failures.popleft()
            self.errors.append(f"{name}: {error}")
            self._emit(ev.SubscriberDetached(self._next(), self._now_s(), name, error))

    def _crashed(self, error: Exception) -> None:
        """Take a bug of ours: the run ends early, the cell does not notice."""
        self._ended_early = "an error in jupyter_gpupredict"
        self.errors.append(f"sampler: {type(error).__name__}: {error}")
        reason = "no_data_yet"
        self._emit(
            ev.SourceLost(self._next(), self._now_s(), self._source_name, reason, repr(error))
        )

    def _close_source(self) -> None:
        try:
            self._source.close()
        except GpuPredictError as error:
            self.errors.append(str(error))

    def _emit(self, event: ev.Event) -> None:
        self._fold.add(event)
        self._channel.put(event)

    def _next(self) -> int:
        self._seq += 1
        return self._seq - 1

    def _now_s(self) -> float:
        return self._clock.monotonic_s() - self._began_s


def _rebase(readings: Readings, began_s: float) -> Readings | None:
    """Return the readings in session time, without those from before the session."""
    first = 0
    while first < len(readings.times_s) and readings.times_s[first] <= began_s:
        first += 1
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
        _percent(recommendation.target_ratio),
        _percent(recommendation.mean_ratio),
        _percent(recommendation.coverage_ratio),
        memory is not None and memory.target_bytes is not None,
        f"{memory.peak_bytes:.2g}" if memory is not None else "",
    )


def _percent(ratio: float | None) -> int | None:
    return None if ratio is None else round(100 * ratio)
