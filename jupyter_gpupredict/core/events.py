"""The events of a session. A live run, its trace on disk, the widget and a replay share them.

Every event carries `seq` (gap-free from 0) and `t_s` (monotonic seconds since the session began).
Wall time stands once, in `SessionStarted`. A new field is free; renaming or removing one raises
`SCHEMA` and adds a fixture of the old form. A trace without `SessionFinished` reads as `lost`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_gpupredict.core.recommendation import AllocatorPeak, Profile, Recommendation
    from jupyter_gpupredict.core.series import Device, Readings, Series
    from jupyter_gpupredict.core.share import AppliedShare

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """First, once: everything that is known before the first reading."""

    seq: int
    t_s: float
    session_id: str
    started_at: str
    """ISO 8601 in UTC."""
    source: str
    simulated: bool
    share: Series
    """The series the share is predicted from."""
    memory: Series | None
    period_s: float
    devices: tuple[Device, ...]
    series: tuple[Series, ...]
    config: dict[str, str | float | int | bool | None]
    """The options of this session."""
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    scope: str = "device"
    origin: str = ""
    buffer_s: float | None = None
    kernel_id: str | None = None
    host: str = ""
    """Of the process that measures."""
    hosts: int = 1
    """Hosts that the devices were on at the beginning."""
    pid: int = 0
    code_hash: str | None = None
    """SHA-256 of the cell's source without its magic line, newlines normalised, none at its end."""
    last_time: str = ""
    """What an earlier run of the same code on the same device said, in words."""
    environment: str = ""
    """Digest of the installation whose packages the run saw; empty: not recorded."""
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class ShareApplied:
    """MPS was asked for, or is there: what was applied, and at the end whether it was in force."""

    seq: int
    t_s: float
    share: AppliedShare


@dataclass(frozen=True, slots=True)
class SamplesTaken:
    """Readings as they came from the source; times are seconds since the session began."""

    seq: int
    t_s: float
    readings: tuple[Readings, ...]


@dataclass(frozen=True, slots=True)
class WindowClosed:
    """One sliding window of the share series was judged (or found void)."""

    seq: int
    t_s: float
    from_s: float
    to_s: float
    fill_ratio: float
    """Share of the window that has readings; below 0.8 the window is void."""
    covering_ratio: float
    mean_ratio: float
    void: bool


@dataclass(frozen=True, slots=True)
class MetricUnavailable:
    """A metric has no value, and why; once per change."""

    seq: int
    t_s: float
    series: Series
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class GapObserved:
    """A hole in the readings that is certain."""

    seq: int
    t_s: float
    from_s: float
    to_s: float
    cause: str


@dataclass(frozen=True, slots=True)
class SourceLost:
    """The source stopped answering."""

    seq: int
    t_s: float
    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SourceRecovered:
    """The source answers again."""

    seq: int
    t_s: float
    source: str
    outage_s: float


@dataclass(frozen=True, slots=True)
class ProgressMade:
    """The loop moved on."""

    seq: int
    t_s: float
    unit: str
    done: float
    total: float | None
    hint: str


@dataclass(frozen=True, slots=True)
class PhaseEntered:
    """A named part of the run began."""

    seq: int
    t_s: float
    name: str
    hint: str


@dataclass(frozen=True, slots=True)
class RecommendationUpdated:
    """The recommendation changed visibly."""

    seq: int
    t_s: float
    recommendation: Recommendation
    others: tuple[Recommendation, ...] = ()
    """What is recommended of further shares, such as a time share beside an SM share."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """Convergence, guard alarm, re-learning, abstention."""

    seq: int
    t_s: float
    old: str
    new: str
    reason: str


@dataclass(frozen=True, slots=True)
class SubscriberDetached:
    """A view or the disk failed; sampling goes on."""

    seq: int
    t_s: float
    name: str
    error: str


@dataclass(frozen=True, slots=True)
class SessionFinished:
    """Last, once."""

    seq: int
    t_s: float
    outcome: str
    """`completed`, `failed`, `interrupted` or `stopped`."""
    recommendation: Recommendation | None
    samples: int
    """Readings of the share series."""
    duration_s: float
    overhead_s: float
    """CPU seconds our own threads used."""
    errors: tuple[str, ...] = field(default=())
    profile: Profile | None = None
    """What was used when, for the next run of the same code; None unless all of it was measured."""
    others: tuple[Recommendation, ...] = ()
    """As in `RecommendationUpdated`."""
    allocator: AllocatorPeak | None = None
    """What the framework's own allocator says, where one was used."""
    partial: tuple[str, ...] = ()
    """What of several devices was lost and not found again, with its reason."""
    own_processes: dict[str, int] = field(default_factory=dict)
    """Device UUID -> most compute processes of the run's own on it at one time; those that were
    used. Empty: it is not known."""
    joined: tuple[Device, ...] = ()
    """Devices that came while the run went on."""
    hosts: int = 1
    """Hosts that all the devices were on."""


Event = (
    SessionStarted
    | ShareApplied
    | SamplesTaken
    | WindowClosed
    | MetricUnavailable
    | GapObserved
    | SourceLost
    | SourceRecovered
    | ProgressMade
    | PhaseEntered
    | RecommendationUpdated
    | StateChanged
    | SubscriberDetached
    | SessionFinished
)
EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        SessionStarted,
        ShareApplied,
        SamplesTaken,
        WindowClosed,
        MetricUnavailable,
        GapObserved,
        SourceLost,
        SourceRecovered,
        ProgressMade,
        PhaseEntered,
        RecommendationUpdated,
        StateChanged,
        SubscriberDetached,
        SessionFinished,
    )
}
