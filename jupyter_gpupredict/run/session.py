"""One measured run: source -> analysis -> numbered events -> subscribers."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import GpuPredictError, SourceUnavailable, TelemetryError
from jupyter_gpupredict.core.series import Batch, Gap
from jupyter_gpupredict.run.emitter import Emitter
from jupyter_gpupredict.run.threads import Alarm, Channel, Sampler

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core import protocols
    from jupyter_gpupredict.core.events import SessionStarted
    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.protocols import Clock, ShareHold, Subscriber, TelemetrySource
    from jupyter_gpupredict.core.recommendation import AppliedShare, Recommendation, SmNeed
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.core.series import SourceInfo
    from jupyter_gpupredict.run.analysis import Analysis
    from jupyter_gpupredict.run.progress import Hooks, ProgressHub
    from jupyter_gpupredict.run.ranks import Ranks
    from jupyter_gpupredict.run.threads import Delivery
    from jupyter_gpupredict.run.windows import KernelWindows

BUFFERED_WAKE_S = 1.0
"""The driver keeps the readings meanwhile, so waking more often would only cost."""
LIVE_WAKE_S = 0.25
"""While a view is attached: its frame period."""
MAX_BACKOFF_S = 10.0
ALARM_STOP_S = 0.1
"""For the alarm's threads, which end at once unless the session store hangs."""
LATE = "the driver has not answered for {:g} s: the code starts, and is measured once it does"
LATE_HINT = "the driver did not answer; nvidia-smi may hang too"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the caller waits for a source. By itself every one but a driver keeps its time."""

    open_s: float | None = None
    """At `start`; None: until it is open, or says that it cannot be."""
    stop_s: float = 5.0
    """At `stop`, for its last readings and its closing."""
    whole_s: float = math.inf
    """For both together."""


class Session:
    """A run from `start` to `stop`.

    The sampler thread alone touches the source, and writes the run's state while it runs. A source
    that does not return keeps that thread and nobody else: the run goes on without it.
    """

    def __init__(
        self,
        *,
        source: TelemetrySource,
        make_analysis: Callable[[SourceInfo], Analysis | Ranks],
        make_header: Callable[[SourceInfo], SessionStarted],
        subscribers: Sequence[Subscriber],
        delivery: Delivery,
        clock: Clock,
        session_id: str = "",
        patience: Patience = Patience(),  # noqa: B008 - frozen
        progress: ProgressHub | None = None,
        hooks: Hooks | None = None,
        share: ShareHold | None = None,
        live: bool = False,
        own_process: bool = True,
        host: protocols.HostMemory | None = None,
        max_seconds: float | None = None,
        stop_requested: Callable[[], bool] | None = None,
        on_state: Callable[[Recommendation], None] | None = None,
        on_limit: Callable[[], object] | None = None,
        windows: KernelWindows | None = None,
    ) -> None:
        self.session_id = session_id
        """The run's id."""
        self.waiting = ""
        """Why nothing is measured yet, in words; empty otherwise."""
        self._patience = patience
        self._source = source
        self._make_analysis = make_analysis
        self._make_header = make_header
        self._delivery = delivery
        self._clock = clock
        self._progress = progress
        self._marks: deque[Mark] | None = None
        self._hooks = hooks
        self._hook_problems: deque[str] | None = None
        self._share = share
        self._live = live
        self._own_process = own_process
        self._on_limit = on_limit
        self._windows = windows
        self._alarm = Alarm(max_seconds, stop_requested, self._time_is_up, self._end_early)
        self._channel = Channel(subscribers)
        self._emitter = Emitter(self._channel, delivery, clock, live, on_state, host)
        self._pid = 0
        self._sampler: Sampler | None = None
        self._opened = threading.Event()
        """The source is open, or cannot be opened."""
        self._admitted = threading.Event()
        """The caller has joined what belongs to its thread."""
        self._begun = threading.Event()
        self._refused: BaseException | None = None
        self._brings_progress = False
        self._began_s: float | None = None
        """When the code began, where that was not as soon as the source was open."""
        self._asking = ("open", clock.monotonic_s())
        """What the source does, or did last, and since when."""
        self._lock = threading.Lock()
        """Held by whoever changes the run: never while the source is asked."""
        self._left = False
        """The source did not return in time, and nothing that it brings is taken any more."""
        self._holding = False
        """The share has begun and not ended."""
        self._applied: AppliedShare | None = None
        self._waited_s, self._until_s = 0.0, math.inf
        self._lost_since_s: float | None = None
        self._retry_at_s, self._backoff_s = 0.0, 0.5
        self._run: Run | None = None
        self._stop_lock = threading.Lock()
        self._ended_early = self._read_out = False
        """The measuring ends before the code does; the source must not be asked any more."""

    @property
    def errors(self) -> list[str]:
        """What went wrong in our own machinery."""
        return self._emitter.errors

    @property
    def started(self) -> SessionStarted | None:
        """The first event; None before `start`."""
        return self._emitter.fold.started

    @property
    def recommendation(self) -> Recommendation | None:
        """The newest recommendation; None before the first reading."""
        return self._emitter.fold.recommendation

    @property
    def applied(self) -> AppliedShare | None:
        """How the run stands to MPS; None where it was not asked for and not seen."""
        return self._emitter.fold.applied

    def left_s(self) -> float:
        """Return for how many seconds readings are still taken; infinite until the run ends."""
        return self._until_s - self._clock.monotonic_s()

    def hand_over(self, batch: Batch) -> None:
        """Take what a read has found before it is complete; on the sampler thread."""
        with self._lock:
            if not self._left:
                self._take(batch)

    def start(self) -> None:
        """Open the source and begin to measure.

        A source that does not answer in time joins the run when it does; `waiting` says so.

        Raises:
            SourceUnavailable: No reading can be had; the message says why.
        """
        self._pid = os.getpid()
        sampler = self._sampler = Sampler(
            self._open, self._tick, self._finish, self._clock, self._crashed
        )
        try:
            sampler.start()
            asked_s = self._clock.monotonic_s()
            in_time = self._opened.wait(self._patience.open_s)
            self._waited_s = self._clock.monotonic_s() - asked_s
            self._join(in_time=in_time)
            self._alarm.start()
        except BaseException as error:  # such as an interrupt while MPS starts
            self._admitted.set()
            with contextlib.suppress(GpuPredictError):  # nothing was measured
                self.stop("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise

    def _join(self, *, in_time: bool) -> None:
        """Join what belongs to the caller's thread, and let the sampler begin."""
        if self._refused is not None:
            raise self._refused
        if self._share is not None:
            self._holding = True
            self._applied = self._share.begin()
        if self._progress is not None and not (in_time and self._brings_progress):
            self._marks = self._progress.join()
        if self._hooks is not None:
            self._hook_problems = self._hooks.join()
        if self._applied is not None or not in_time:
            self._began_s = self._clock.monotonic_s()
        self.waiting = "" if in_time else LATE.format(self._patience.open_s)
        self._admitted.set()
        if in_time:
            self._begun.wait()
            if self._refused is not None:
                raise self._refused

    def _open(self) -> float | None:
        """Open the source, and begin once the caller has joined; on the sampler thread.

        Returns:
            How many seconds apart it is to be read; None: nothing is measured.
        """
        try:
            info = self._source.open()
            opened_s = self._clock.monotonic_s()
            self._brings_progress = info.brings_progress
            self._opened.set()
            self._admitted.wait()
            with self._lock:
                over = self._left or self._ended_early
                return None if over else self._begin(info, opened_s)
        except BaseException as error:  # noqa: BLE001 - border: it is raised in `start` or `stop`
            self._refused = error
            return None
        finally:
            self._opened.set()
            self._begun.set()

    def _begin(self, info: SourceInfo, opened_s: float) -> float:
        began_s = opened_s if self._began_s is None else self._began_s
        self.waiting = ""
        late_s = opened_s - began_s
        if late_s > 0.0:
            note = f"measured from {late_s:.1f} s on: the driver had not answered before"
            info = replace(info, notes=(*info.notes, note))
        analysis = self._make_analysis(info)
        others = [
            replace(
                info,
                share=one.series,
                duty=one.duty,
                memory=one.memory,
                process_memory=one.process_memory,
                also=(),
            )
            for one in info.also
        ]
        header = self._make_header(info)
        self._delivery.attach(self._channel)
        self._emitter.begin(header, analysis, tuple(map(self._make_analysis, others)), began_s)
        self._emitter.share(self._applied)
        if self._windows is not None:
            sms = {one.uuid: one.sm_count for one in info.devices}.get(info.share.device)
            self._windows.begin(lambda: self.recommendation, self._needs, sms)
        if late_s > 0.0:
            self._emitter.take(Batch(gaps=(Gap(began_s, opened_s, "source"),)), ())
        if info.buffer_s is None:
            return info.period_s
        return (info.live_s or LIVE_WAKE_S) if self._live else BUFFERED_WAKE_S

    def _needs(self, need: SmNeed) -> None:
        """Take what the run's kernels need; on the thread of its windows."""
        self._emitter.need = need

    def stop(self, outcome: str, error: str = "") -> Run:
        """End the measuring, deliver what is left and return the run; idempotent.

        In a forked child nothing is done: the run belongs to the parent.

        Args:
            outcome: `completed`, `failed`, `interrupted` or `stopped`.
            error: Name of the exception that ended the code; empty: none did.

        Raises:
            SourceUnavailable: Nothing was measured, or the source has not answered until now.
        """
        with self._stop_lock:
            if self._run is None:
                if self._sampler is None or (self._forked and self.started is None):
                    raise SourceUnavailable("nothing was measured", "start the session first")
                fold = self._emitter.fold
                self._run = fold.record(live=True) if self._forked else self._end(outcome, error)
            return self._run

    @property
    def _forked(self) -> bool:
        return os.getpid() != self._pid

    def _end(self, outcome: str, error: str) -> Run:
        sampler, emitter = self._sampler, self._emitter
        assert sampler is not None  # noqa: S101 - `stop` has checked
        wait_s = self._stop_wait_s()
        self._until_s = self._clock.monotonic_s() + wait_s
        sampler.ask_to_end()  # before anything that the user's code may have broken
        try:
            ended = sampler.stop(wait_s)
            if self._windows is not None:
                self._windows.end()
                self.errors.extend(filter(None, (self._windows.problem, self._windows.doubt)))
            with self._lock:
                self._left = not ended
        finally:  # also when the user interrupts the waiting
            self._leave()
            self._alarm.stop(ALARM_STOP_S)
        if self.started is None:
            raise self._refused or SourceUnavailable("nothing was measured", LATE_HINT, "timed_out")
        if not ended:
            self._leave_behind()
        emitter.settle()
        emitter.share(self._applied)
        whole = outcome == "completed" and not self._ended_early and not emitter.capped
        emitter.finish(
            outcome, sampler.cpu_s, whole=whole, own_process=self._own_process, error=error
        )
        if not self._delivery.finish(self._channel):
            self.errors.append("a view did not take its last frame in time")
        emitter.detached()
        return replace(emitter.fold.record(), errors=tuple(self.errors))

    def _stop_wait_s(self) -> float:
        if not self._opened.is_set():
            return 0.0
        left_s = self._patience.whole_s - self._waited_s
        if left_s > self._patience.stop_s:  # no `min`: the cell may have taken it out of builtins
            return self._patience.stop_s
        return left_s if left_s > 0.0 else 0.0

    def _leave(self) -> None:
        """Undo what `_join` has done, on the caller's thread."""
        if self._progress is not None and self._marks is not None:
            self._progress.leave(self._marks)
        if self._hooks is not None and self._hook_problems is not None:
            self._hooks.leave(self._hook_problems)
            self.errors.extend(self._hook_problems)
        if self._share is not None and self._holding:
            self._holding = False
            self._applied = self._share.end()

    def _leave_behind(self) -> None:
        """Report a source that does not return; its thread ends when it does."""
        what, since_s = self._asking
        late_s = self._clock.monotonic_s() - since_s
        self.errors.append(
            f"the source has not returned from its last {what} for {late_s:.1f} s: "
            "its thread is left alone"
        )
        if what == "read":
            self._ended_early = True
            self._emitter.source_lost("timed_out", f"no answer for the last {late_s:.1f} s")

    def _finish(self) -> None:
        """Read once more, so that a cell of 50 ms has its readings, and close; on the sampler."""
        try:
            if self.started is not None and not (self._read_out or self._left):
                self._tick(True)
        except Exception as error:  # noqa: BLE001 - border: a bug of ours must not reach the cell
            self._crashed(error)
        self._asking = ("close", self._clock.monotonic_s())
        try:
            self._source.close()
        except Exception as error:  # noqa: BLE001 - border, as above
            self.errors.append(f"{type(error).__name__}: {error}")

    def _tick(self, slow: bool) -> bool:
        """Read, analyse and report; returns whether to go on. On the sampler thread."""
        self._asking = ("read", self._clock.monotonic_s())
        if slow and self._hooks is not None:
            self._hooks.poll()
        if slow and self._emitter.host is not None:
            self._emitter.host.look(self._clock.monotonic_s())
        found = self._read(slow)
        if slow and self._own_process and isinstance(found, Batch):
            found = replace(found, readings=(*found.readings, *self._emitter.ask_framework()))
        with self._lock:
            if self._left:
                return False
            self._emitter.detached()
            self._take(found)
            return not self._ended_early

    def _read(self, slow: bool) -> Batch | TelemetryError | None:
        """Return what the source brings, or its failure; None before it is tried again.

        This may take as long as the driver does: nothing is held meanwhile.
        """
        now_s = self._emitter.now_s()
        if self._lost_since_s is not None and now_s < self._retry_at_s:
            return None
        try:
            if self._lost_since_s is not None:
                self._source.close()
                self._source.open()
            return self._source.read(slow=slow)
        except TelemetryError as error:
            return error

    def _take(self, found: Batch | TelemetryError | None) -> None:
        if isinstance(found, TelemetryError):
            self._lost(found, self._emitter.now_s())
        elif found is not None:
            batch = found if self._lost_since_s is None else self._recovered(found)
            queue, marks = self._marks, []
            while queue:
                marks.append(queue.popleft())
            self._emitter.take(batch, marks)
            if batch.exhausted:
                self._ended_early = self._read_out = True

    def _recovered(self, batch: Batch) -> Batch:
        """Emit that the source is back; returns its batch with the gap that it left."""
        now_s, began_s = self._emitter.now_s(), self._emitter.began_s
        lost_s = self._lost_since_s or 0.0
        self._emitter.source_recovered(now_s - lost_s)
        self._lost_since_s, self._backoff_s = None, 0.5
        gap = Gap(began_s + lost_s, began_s + now_s, "source")
        return replace(batch, gaps=(*batch.gaps, gap))

    def _lost(self, error: TelemetryError, now_s: float) -> None:
        if self._lost_since_s is None:
            self._lost_since_s = now_s
            self._emitter.source_lost(error.reason, str(error))
            self._delivery.wake()  # nothing else will, until it is back
        self._retry_at_s = now_s + self._backoff_s
        self._backoff_s = min(MAX_BACKOFF_S, 2 * self._backoff_s)

    def _time_is_up(self) -> None:
        self._end_early()
        if self._on_limit is not None:
            self._on_limit()

    def _end_early(self) -> None:
        """End the measuring, not the code; on a thread of the alarm."""
        self._ended_early = True
        self._until_s = min(self._until_s, self._clock.monotonic_s() + self._patience.stop_s)
        if self._sampler is not None:
            self._sampler.ask_to_end()

    def _crashed(self, error: Exception) -> None:
        """Take a bug of ours: the run ends early, the cell does not notice."""
        with self._lock:
            if not self._left:
                self._ended_early = self._read_out = True
                self.errors.append(f"sampler: {type(error).__name__}: {error}")
                self._emitter.source_lost("no_data_yet", repr(error))
