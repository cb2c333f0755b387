"""A run as people look at it, folded from its events: the same for a live run and a stored one."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.errors import Truncated
from jupyter_gpupredict.core.metrics import causes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_gpupredict.core.recommendation import (
        AllocatorPeak,
        AppliedShare,
        HostPeak,
        Recommendation,
        Verified,
    )
    from jupyter_gpupredict.core.series import Readings, Series

Row = tuple[float, float, float]
"""(time_s at the end of the span, smallest, largest value in it); NaN where nothing was read."""
MAX_WINDOWS = 60
"""Windows kept for drawing; older ones are forgotten."""
MAX_FURTHER, FURTHER_ROWS = 8, 60
"""Devices drawn beside the first one, and rows of each: all of them in four kilobytes."""
MAX_STAMPS = 101
"""Stamps that the refresh period is measured on."""


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
    further: tuple[tuple[Series, tuple[Row, ...]], ...]
    """The same metric of further devices or ranks, the first ones, at most 60 rows each."""
    windows: tuple[ev.WindowClosed, ...]
    states: tuple[ev.StateChanged, ...]
    unavailable: tuple[ev.MetricUnavailable, ...]
    gaps: tuple[ev.GapObserved, ...]
    losses: tuple[ev.SourceLost | ev.SourceRecovered, ...]
    errors: tuple[str, ...]
    """What failed in the measuring itself, not in the user's cell."""
    progress: ev.ProgressMade | None = None
    allocator: AllocatorPeak | None = None
    host_peak: HostPeak | None = None
    others: tuple[Recommendation, ...] = ()
    """What is recommended of further shares; never mixed with the main one."""
    applied: AppliedShare | None = None
    """How the run stood to MPS; None where it was not asked for and not seen."""
    verified: Verified | None = None
    """The SM share at which the code was shown to keep its speed; preferred over the estimate."""
    processes: int = 1
    """CUDA processes of the run's own on one GPU, at most at one time."""
    used: tuple[str, ...] = ()
    """UUIDs of the watched devices that the run's own processes were on; (): it is not known."""
    other_processes: int = 0
    """CUDA processes of others on one of the run's GPUs, at most at one time. One that is on two
    counts once; the MPS servers, which work for their clients, do not count."""
    refresh_s: float = math.nan
    """Seconds from one reading of the share to the next, as they came; NaN: too few to tell."""
    throttled: tuple[tuple[str, float], ...] = ()
    """(why the clocks were held down, share of the time)."""

    partial: tuple[str, ...] = ()
    """What of several devices was lost and not found again, with its reason."""
    missing_s: float = 0.0
    """Seconds that certainly have no readings."""
    lost_reason: str = ""
    """Why the source does not answer now, or did not at the end; empty: it does."""
    error: str = ""
    """Name of the exception that ended the code; empty: none did."""

    @property
    def ranks(self) -> tuple[Recommendation, ...]:
        """What is recommended of each rank of a distributed run; empty for any other."""
        main = self.recommendation
        if main is None or main.device:
            return ()
        return tuple(one for one in self.others if one.device)

    @property
    def beside(self) -> tuple[Recommendation, ...]:
        """What is recommended of further shares, ranks left out."""
        return tuple(one for one in self.others if one not in self.ranks)

    @property
    def capped(self) -> bool:
        """Whether MPS gave the run less than all SMs, so that it predicts nothing."""
        return self.recommendation is not None and self.recommendation.capped

    @property
    def session_id(self) -> str:
        """The run's id, which is also its trace's name."""
        return self.started.session_id

    @property
    def gpus(self) -> int:
        """How many GPUs a function needs that does the same; a rank is a function of its own."""
        return 1 if self.ranks else max(1, len(self.used))

    @property
    def on_one_gpu(self) -> bool:
        """Whether it is known that one GPU is all that was used; shares are verified on one."""
        known = bool(self.used or self.ranks) or len(self.started.devices) <= 1
        return known and self.gpus == 1

    @property
    def verified_sm_ratio(self) -> float | None:
        """The verified share; None: none is, or it does not hold for several GPUs."""
        if self.verified is None or not self.on_one_gpu:
            return None
        return self.verified.percent / 100

    def each_gpu(self) -> tuple[Recommendation, ...]:
        """Return the main recommendation and the same one of every further GPU that was used.

        A distributed run's main figures are the largest of its ranks already.
        """
        main = self.recommendation
        if main is None or self.ranks:
            return () if main is None else (main,)
        also = (one for one in self.others if one.metric == main.metric)
        return (main, *(one for one in also if one.device in self.used))


Advising = ev.SessionFinished | ev.RecommendationUpdated
"""The events that hold a recommendation."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The beginning and the newest figures of a trace, without what is between."""

    started: ev.SessionStarted
    newest: Advising | None
    """The last event with a recommendation, as far as the end of the trace holds one."""
    problem: str
    """Why a later one cannot be read; empty where nothing is wrong."""
    ended: bool
    """`SessionFinished` is there, or what is left of it."""


class History:
    """Rows of one series, at most `max_rows`; neighbors are merged in pairs when it is full.

    >>> history = History(max_rows=4)
    >>> for second in range(6):
    ...     history.add(float(second), second / 10)
    >>> history.rows()
    [(1.0, 0.0, 0.1), (3.0, 0.2, 0.3), (5.0, 0.4, 0.5)]
    """

    def __init__(self, max_rows: int = 600) -> None:
        self._max_rows = max_rows
        self._rows: list[Row] = []
        self._merge = 1
        self._pending = 0
        self.generation = 0
        """Raised each time rows were merged: what was sent before must be sent again whole."""

    def add(self, time_s: float, value: float) -> None:
        """Add one reading; NaN marks a hole."""
        row = (time_s, value, value)
        if self._pending and self._rows:
            self._rows[-1] = _joined(self._rows[-1], row)
        else:
            self._rows.append(row)
        self._pending = (self._pending + 1) % self._merge
        if len(self._rows) > self._max_rows:
            self._halve()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    @property
    def open(self) -> bool:
        """Whether the newest row will still change."""
        return self._pending != 0

    def rows(self) -> list[Row]:
        """Return the rows, oldest first."""
        return list(self._rows)

    def _halve(self) -> None:
        odd = self._rows[-1:] if len(self._rows) % 2 else []
        pairs = zip(self._rows[0::2], self._rows[1::2], strict=False)
        self._rows = [_joined(a, b) for a, b in pairs] + odd
        if odd and self._pending == 0:
            self._pending = self._merge
        self._merge *= 2
        self._pending %= self._merge
        self.generation += 1


def _joined(a: Row, b: Row) -> Row:
    if math.isnan(a[1]):
        return b
    end_s, low, high = b
    return (end_s, a[1], a[2]) if math.isnan(low) else (end_s, min(a[1], low), max(a[2], high))


@dataclass(slots=True)
class Neighbors:
    """Counts the processes on the devices of a run, and what held their clocks down."""

    own: dict[str, int] = field(default_factory=dict)
    """Device -> most compute processes of the run's own tree at one time; only where there were."""
    others: dict[str, int] = field(default_factory=dict)
    """Device -> most compute processes of others at one time; only where there were."""
    _throttled: Counter[str] = field(default_factory=Counter)
    _asked: int = 0

    def add(self, readings: Readings) -> None:
        """Take readings; those of other metrics are ignored."""
        metric, device = readings.series.metric, readings.series.device
        if metric == "throttle_bits":
            for bits in readings.values:
                self._asked += not math.isnan(bits)
                if bits > 0.0:  # not so for NaN, and rarely so for others
                    self._throttled.update(causes(bits))
            return
        counts = {"own_process_count": self.own, "other_process_count": self.others}
        most = counts.get(metric, {})
        for count in readings.values:
            if count >= 1.0:  # not so for NaN
                most[device] = max(most.get(device, 0), int(count))

    def throttled(self) -> tuple[tuple[str, float], ...]:
        """Return (cause, share of the readings), the most frequent first."""
        return tuple((word, n / self._asked) for word, n in self._throttled.most_common())


@dataclass(slots=True)
class RunFold:
    """Folds events into a `Run`, in memory that does not grow with the run."""

    started: ev.SessionStarted | None = None
    share: History = field(default_factory=History)
    memory: History = field(default_factory=History)
    further: dict[Series, History] = field(default_factory=dict)
    applied: AppliedShare | None = None
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
    neighbors: Neighbors = field(default_factory=Neighbors)
    share_times_s: list[float] = field(default_factory=list)
    """The first stamps of the share, which show its refresh period."""
    lost: dict[str, str] = field(default_factory=dict)
    """Device -> why it is lost, of several."""
    missing_s: float = 0.0
    reported: ev.Surroundings | None = None
    """As the newest event says."""

    def add(self, event: ev.Event) -> None:
        """Take the next event."""
        self.last_t_s = max(self.last_t_s, event.t_s)
        match event:
            case ev.SessionStarted():
                self.started = event
            case ev.ShareApplied():
                self.applied = event.share
            case ev.SamplesTaken():
                self._add_readings(event)
            case ev.WindowClosed():
                self.windows.append(event)
            case ev.RecommendationUpdated():
                self.recommendation, self.others = event.recommendation, event.others
                self.reported = event.surroundings
            case ev.StateChanged():
                self.states.append(event)
            case ev.MetricUnavailable():
                self.unavailable[event.series] = event
            case ev.GapObserved():
                self.gaps.append(event)
                self.missing_s += max(0.0, event.to_s - event.from_s)
            case ev.SourceLost():
                self.losses.append(event)
                if self.started is not None and event.source != self.started.source:
                    self.lost[event.source] = event.detail or event.reason
            case ev.SourceRecovered():
                self.losses.append(event)
                self.lost.pop(event.source, None)
            case ev.ProgressMade():
                self.progress = event
            case ev.SubscriberDetached():
                self.detached.append(f"{event.name}: {event.error}")
            case ev.SessionFinished():
                self.finished = event
                self.reported = event.surroundings
                self._add_devices(event)
                self.recommendation = event.recommendation or self.recommendation
                self.others = event.others or self.others

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
        own = self.neighbors.own or (finished.own_processes if finished else {})
        # a reader of the first and the last line alone has no readings to count in
        around = self.surroundings() if self.samples or self.reported is None else self.reported
        return Run(
            started=self.started,
            recommendation=self.recommendation,
            outcome=finished.outcome if finished else "running" if live else "lost",
            duration_s=finished.duration_s if finished else self.last_t_s,
            samples=finished.samples if finished else self.samples,
            overhead_s=finished.overhead_s if finished else 0.0,
            share=tuple(self.share.rows()),
            memory=tuple(self.memory.rows()),
            further=tuple((one, tuple(rows.rows())) for one, rows in self.further.items()),
            windows=tuple(self.windows),
            states=tuple(self.states),
            unavailable=tuple(self.unavailable.values()),
            gaps=tuple(self.gaps),
            losses=tuple(self.losses),
            errors=tuple(finished.errors if finished else self.detached),
            progress=self.progress,
            allocator=finished.allocator if finished else None,
            host_peak=finished.host_peak if finished else None,
            others=self.others,
            processes=max(own.values(), default=1),
            used=tuple(sorted(own)) or around.used,
            other_processes=around.other_processes,
            refresh_s=math.nan if around.refresh_s is None else around.refresh_s,
            throttled=tuple(around.throttled.items()),
            missing_s=around.missing_s,
            lost_reason=around.lost_reason,
            error=finished.error if finished else "",
            applied=self.applied,
            partial=finished.partial if finished else tuple(self.lost.values()),
        )

    def surroundings(self) -> ev.Surroundings:
        """Return what was around the run, from the events until now."""
        steps_s = [b - a for a, b in itertools.pairwise(self.share_times_s)]
        last = self.losses[-1] if self.losses else None
        main = isinstance(last, ev.SourceLost) and last.source not in self.lost
        return ev.Surroundings(
            other_processes=max(self.neighbors.others.values(), default=0),
            throttled=dict(self.neighbors.throttled()),
            missing_s=self.missing_s,
            refresh_s=statistics.median(steps_s) if len(steps_s) > 2 else None,
            lost_reason=(last.detail or last.reason)
            if isinstance(last, ev.SourceLost) and main
            else "",
            used=tuple(sorted(self.neighbors.own)),
        )

    def _add_devices(self, event: ev.SessionFinished) -> None:
        """Put the devices that came late beside those of the beginning."""
        if self.started is not None and event.joined:
            devices = (*self.started.devices, *event.joined)
            self.started = replace(self.started, devices=devices, hosts=event.hosts)

    def _add_readings(self, event: ev.SamplesTaken) -> None:
        if self.started is None:
            return
        for readings in event.readings:
            if readings.series == self.started.share:
                self.samples += len(readings.values)
                self.share_times_s += readings.times_s[: MAX_STAMPS - len(self.share_times_s)]
                history = self.share
            elif readings.series == self.started.memory:
                history = self.memory
            elif readings.series.metric == self.started.share.metric:
                found = self._further(readings.series)
                if found is None:
                    continue
                history = found
            else:
                self.neighbors.add(readings)
                continue
            for time_s, value in zip(readings.times_s, readings.values, strict=True):
                history.add(time_s, value)

    def _further(self, series: Series) -> History | None:
        history = self.further.get(series)
        if history is None and len(self.further) < MAX_FURTHER:
            history = self.further[series] = History(FURTHER_ROWS)
        return history


def fold(events: Iterable[ev.Event]) -> Run:
    """Return the run that these events make.

    Raises:
        Truncated: There is no `SessionStarted`.
    """
    state = RunFold()
    for event in events:
        state.add(event)
    return state.record()
