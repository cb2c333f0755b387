"""One measured run: source -> analysis -> numbered events -> subscribers."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import GpuPredictError, SourceUnavailable, TelemetryError
from jupyter_gpupredict.core.series import Batch, Gap
from jupyter_gpupredict.session import allocator
from jupyter_gpupredict.session.delivery import Channel, Delivery
from jupyter_gpupredict.session.sampler import Sampler
from jupyter_gpupredict.session.telling import Teller

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.clock import Clock
    from jupyter_gpupredict.core.events import SessionStarted
    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.protocols import ShareHold, Subscriber, TelemetrySource
    from jupyter_gpupredict.core.recommendation import AllocatorPeak, Recommendation
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.core.series import SourceInfo
    from jupyter_gpupredict.core.share import AppliedShare
    from jupyter_gpupredict.session.analysis import Analysis
    from jupyter_gpupredict.session.hooks import Hooks
    from jupyter_gpupredict.session.progress import Board
    from jupyter_gpupredict.session.ranks import Ranks

BUFFERED_WAKE_S = 1.0
"""The driver keeps the readings meanwhile, so waking more often would only cost."""
LIVE_WAKE_S = 0.25
"""While a view is attached: its frame period."""
MAX_BACKOFF_S = 10.0


class Session:
    """A run from `start` to `stop`. The sampler thread alone writes its state while it runs."""

    def __init__(
        self,
        *,
        source: TelemetrySource,
        make_analysis: Callable[[SourceInfo], Analysis | Ranks],
        make_header: Callable[[SourceInfo], SessionStarted],
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
        self._marks: deque[Mark] | None = None
        self._hooks = hooks
        self._hook_problems: deque[str] | None = None
        self._share = share
        self._live = live
        self._own_process = own_process
        self._max_seconds = max_seconds
        self._stop_requested = stop_requested
        self._on_limit = on_limit
        self._channel = Channel(subscribers)
        self._teller = Teller(self._channel, delivery, clock, live=live, on_state=on_state)
        self._pid = 0
        self._sampler: Sampler | None = None
        self._lost_since_s: float | None = None
        self._retry_at_s = 0.0
        self._backoff_s = 0.5
        self._run: Run | None = None
        self._stop_lock = threading.Lock()
        self._ended_early = ""

    @property
    def errors(self) -> list[str]:
        """What went wrong in our own machinery."""
        return self._teller.errors

    @property
    def session_id(self) -> str:
        """The run's id; empty before `start`."""
        started = self._teller.fold.started
        return started.session_id if started else ""

    @property
    def started(self) -> SessionStarted | None:
        """The first event; None before `start`."""
        return self._teller.fold.started

    @property
    def recommendation(self) -> Recommendation | None:
        """The newest recommendation; None before the first reading."""
        return self._teller.fold.recommendation

    @property
    def applied(self) -> AppliedShare | None:
        """How the run stands to MPS; None where it was not asked for and not seen."""
        return self._teller.fold.applied

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
        began_s = self._clock.monotonic_s()
        analysis = self._make_analysis(info)
        others = tuple(
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
        self._teller.begin(self._make_header(info), analysis, others, began_s)
        self._teller.share(applied)
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
                self._run = (
                    self._teller.fold.record(live=True) if self._forked else self._end(outcome)
                )
            return self._run

    @property
    def _forked(self) -> bool:
        return os.getpid() != self._pid

    def _end(self, outcome: str) -> Run:
        sampler, teller = self._sampler, self._teller
        assert sampler is not None  # noqa: S101 - `stop` has checked
        if sampler.stop() and not self._ended_early:
            self._last_tick()
        self._close_source()
        if self._board is not None and self._marks is not None:
            self._board.leave(self._marks)
        if self._hooks is not None and self._hook_problems is not None:
            self._hooks.leave(self._hook_problems)
            self.errors.extend(self._hook_problems)
        teller.settle()
        if self._share is not None:
            teller.share(self._share.end())
        peak = self._allocator_peak()
        teller.finish(outcome, sampler.cpu_s, peak, whole=self._whole(outcome))
        if not self._delivery.finish(self._channel):
            self.errors.append("a view did not take its last frame in time")
        teller.detached()
        return replace(teller.fold.record(), errors=tuple(self.errors))

    def _allocator_peak(self) -> AllocatorPeak | None:
        """Ask the framework; what it raises is told and costs its figure alone."""
        started = self._teller.fold.started
        if not self._own_process:
            return None  # what this process has allocated is not the run's
        try:
            return None if started is None else allocator.peak(started.share.device)
        except Exception as error:  # noqa: BLE001 - border: the user's framework, in any state
            self.errors.append(f"no allocator peak: {type(error).__name__}: {error}")
            return None

    def _whole(self, outcome: str) -> bool:
        """Whether the code ran to its end and was measured to its end."""
        return outcome == "completed" and not self._ended_early and not self._teller.capped

    def _last_tick(self) -> None:
        """Read once more, so that a cell of 50 ms still has its readings."""
        try:
            self._tick(True)
        except Exception as error:  # noqa: BLE001 - border: a bug of ours must not reach the cell
            self._crashed(error)

    def _tick(self, slow: bool) -> bool:
        """Read, analyse and report; returns whether to go on. On the sampler thread."""
        self._teller.detached()
        now_s = self._teller.now_s()
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
            self._teller.take(batch, self._new_marks())
            if batch.exhausted:
                self._ended_early = "the recording is at its end"
        return not self._ended_early

    def _read(self, slow: bool) -> Batch | None:
        now_s = self._teller.now_s()
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
            began_s = self._teller.began_s
            gap = Gap(began_s + self._lost_since_s, began_s + now_s, "source")
            batch = replace(batch, gaps=(*batch.gaps, gap))
            self._teller.source_recovered(now_s - self._lost_since_s)
            self._lost_since_s, self._backoff_s = None, 0.5
        return batch

    def _lost(self, error: TelemetryError, now_s: float) -> None:
        if self._lost_since_s is None:
            self._lost_since_s = now_s
            self._teller.source_lost(error.reason, str(error))
            self._delivery.wake()  # nothing else will, until it is back
        self._retry_at_s = now_s + self._backoff_s
        self._backoff_s = min(MAX_BACKOFF_S, 2 * self._backoff_s)

    def _new_marks(self) -> list[Mark]:
        """Return what hints reported since the last call."""
        queue, found = self._marks, []
        while queue:
            found.append(queue.popleft())
        return found

    def _crashed(self, error: Exception) -> None:
        """Take a bug of ours: the run ends early, the cell does not notice."""
        self._ended_early = "an error in jupyter_gpupredict"
        self.errors.append(f"sampler: {type(error).__name__}: {error}")
        self._teller.source_lost("no_data_yet", repr(error))

    def _close_source(self) -> None:
        try:
            self._source.close()
        except GpuPredictError as error:
            self.errors.append(str(error))
