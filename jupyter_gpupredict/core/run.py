"""A run as people look at it, folded from its events: the same for a live run and a stored one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.errors import Truncated
from jupyter_gpupredict.core.history import History, Row

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from jupyter_gpupredict.core.recommendation import AllocatorPeak, Recommendation
    from jupyter_gpupredict.core.series import Series

MAX_WINDOWS = 60
"""Windows kept for drawing; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a view shows of one run. Small whatever the run's length; holds no widget."""

    started: ev.SessionStarted
    recommendation: Recommendation | None
    outcome: str
    """`running`, `completed`, `failed`, `interrupted`, `stopped`; `lost`: the trace just ends."""
    duration_s: float
    samples: int
    overhead_s: float
    share: tuple[Row, ...]
    """(time_s, lowest, highest) of the share series, at most 600 rows."""
    memory: tuple[Row, ...]
    """The same of the memory series, in bytes."""
    windows: tuple[ev.WindowClosed, ...]
    states: tuple[ev.StateChanged, ...]
    unavailable: tuple[ev.MetricUnavailable, ...]
    gaps: tuple[ev.GapObserved, ...]
    losses: tuple[ev.SourceLost | ev.SourceRecovered, ...]
    errors: tuple[str, ...]
    """What went wrong in our own machinery; the user's cell is not meant."""
    progress: ev.ProgressMade | None = None
    allocator: AllocatorPeak | None = None
    others: tuple[Recommendation, ...] = ()
    """What is recommended of further shares; never mixed with the main one."""
    verified_sm_ratio: float | None = None
    """The SM share at which the run was shown to keep its speed; preferred over the estimate."""
    processes: int = 1
    """CUDA processes that were seen."""
    gpus: int = 1
    """GPUs that were used."""
    partial: tuple[str, ...] = ()
    """What of several devices was lost and not found again, with its reason."""

    @property
    def ranks(self) -> tuple[Recommendation, ...]:
        """What is recommended of each rank of a distributed run; empty: there are none."""
        return tuple(one for one in self.others if one.device)

    @property
    def session_id(self) -> str:
        """The run's id, which is also its trace's name."""
        return self.started.session_id


@dataclass(frozen=True, slots=True)
class RunHeader:
    """One line of the list of stored runs."""

    session_id: str
    started: ev.SessionStarted
    finished: ev.SessionFinished | None
    """None: still running, or lost."""
    path: Path


@dataclass(slots=True)
class RunFold:
    """Folds events into a `Run`, in memory that does not grow with the run."""

    started: ev.SessionStarted | None = None
    share: History = field(default_factory=History)
    memory: History = field(default_factory=History)
    recommendation: Recommendation | None = None
    others: tuple[Recommendation, ...] = ()
    last_t_s: float = 0.0
    samples: int = 0
    progress: ev.ProgressMade | None = None
    finished: ev.SessionFinished | None = None
    windows: deque[ev.WindowClosed] = field(default_factory=lambda: deque(maxlen=MAX_WINDOWS))
    states: deque[ev.StateChanged] = field(default_factory=lambda: deque(maxlen=100))
    unavailable: dict[Series, ev.MetricUnavailable] = field(default_factory=dict)
    gaps: deque[ev.GapObserved] = field(default_factory=lambda: deque(maxlen=100))
    losses: deque[ev.SourceLost | ev.SourceRecovered] = field(
        default_factory=lambda: deque(maxlen=100)
    )
    detached: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    """Device -> why it is lost, of several."""

    def add(self, event: ev.Event) -> None:
        """Take the next event."""
        self.last_t_s = max(self.last_t_s, event.t_s)
        match event:
            case ev.SessionStarted():
                self.started = event
            case ev.SamplesTaken():
                self._add_readings(event)
            case ev.WindowClosed():
                self.windows.append(event)
            case ev.RecommendationUpdated():
                self.recommendation, self.others = event.recommendation, event.others
            case ev.StateChanged():
                self.states.append(event)
            case ev.MetricUnavailable():
                self.unavailable[event.series] = event
            case ev.GapObserved():
                self.gaps.append(event)
            case ev.SourceLost() | ev.SourceRecovered():
                self.losses.append(event)
                self._note_loss(event)
            case ev.ProgressMade():
                self.progress = event
            case ev.SubscriberDetached():
                self.detached.append(f"{event.name}: {event.error}")
            case ev.SessionFinished():
                self.finished = event
                self.recommendation = event.recommendation or self.recommendation
                self.others = event.others or self.others
            case ev.PhaseEntered():
                pass

    def record(self, *, live: bool = False) -> Run:
        """Return the run so far.

        Args:
            live: True while the events still come; else a run without an end counts as lost.

        Raises:
            Truncated: There is no beginning.
        """
        if self.started is None:
            raise Truncated("the trace has no beginning", "it was cut before its first line")
        finished = self.finished
        return Run(
            started=self.started,
            recommendation=self.recommendation,
            outcome=finished.outcome if finished else "running" if live else "lost",
            duration_s=finished.duration_s if finished else self.last_t_s,
            samples=finished.samples if finished else self.samples,
            overhead_s=finished.overhead_s if finished else 0.0,
            share=tuple(self.share.rows()),
            memory=tuple(self.memory.rows()),
            windows=tuple(self.windows),
            states=tuple(self.states),
            unavailable=tuple(self.unavailable.values()),
            gaps=tuple(self.gaps),
            losses=tuple(self.losses),
            errors=tuple(finished.errors if finished else self.detached),
            progress=self.progress,
            allocator=finished.allocator if finished else None,
            others=self.others,
            partial=finished.partial if finished else tuple(self.lost.values()),
        )

    def _note_loss(self, event: ev.SourceLost | ev.SourceRecovered) -> None:
        if isinstance(event, ev.SourceRecovered):
            self.lost.pop(event.source, None)
        elif self.started is not None and event.source != self.started.source:
            self.lost[event.source] = event.detail or event.reason

    def _add_readings(self, event: ev.SamplesTaken) -> None:
        if self.started is None:
            return
        for readings in event.readings:
            if readings.series == self.started.share:
                self.samples += len(readings.values)
                history = self.share
            elif readings.series == self.started.memory:
                history = self.memory
            else:
                continue
            for time_s, value in zip(readings.times_s, readings.values, strict=True):
                history.add(time_s, value)


def fold(events: Iterable[ev.Event]) -> Run:
    """Return the run that these events tell.

    Raises:
        Truncated: There is no `SessionStarted`.
    """
    state = RunFold()
    for event in events:
        state.add(event)
    return state.record()
