"""The events of a session. A live run, its trace on disk, the widget and a replay share them.

Wall time stands once, in `SessionStarted`. A new field is free; renaming or removing one raises
`SCHEMA` and adds a fixture of the old form. A trace without `SessionFinished` reads as `lost`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from jupyter_gpupredict.core.recommendation import (
        AllocatorPeak,
        AppliedShare,
        HostPeak,
        Profile,
        Recommendation,
    )
    from jupyter_gpupredict.core.series import Device, Readings, Series

SCHEMA = 1
RECORDING = "recording"
"""The source of what was read again from a file: measured once, elsewhere."""


@dataclass(frozen=True, slots=True)
class Timed:
    """What every event carries."""

    seq: int
    """Gap-free from 0."""
    t_s: float
    """Monotonic seconds since the session began."""


@dataclass(frozen=True, slots=True)
class SessionStarted(Timed):
    """First, once: everything that is known before the first reading."""

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
    notebook: str = ""
    """Path of the notebook, below the server's root where that is known; empty: not known."""
    cell_id: str = ""
    """The notebook's id of the cell."""
    first_line: str = ""
    """The cell's first line of code, its texts left out, as they may hold a credential."""
    tuning: dict[str, float] = field(default_factory=dict)
    """Numbers that people tune, such as `batch_size`, as they stand in the cell."""
    outline_hash: str | None = None
    """Digest of the cell's code without these numbers; None: it has none, or was not read."""
    changed: str = ""
    """Which of them changed since an earlier run, in words."""
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class ShareApplied(Timed):
    """MPS was requested, or is there: what was applied, and at the end whether it was in force."""

    share: AppliedShare


@dataclass(frozen=True, slots=True)
class SamplesTaken(Timed):
    """Readings as they came from the source; times are seconds since the session began."""

    readings: tuple[Readings, ...]


@dataclass(frozen=True, slots=True)
class WindowClosed(Timed):
    """One sliding window of the share series was judged (or found void)."""

    from_s: float
    to_s: float
    fill_ratio: float
    """Share of the window that has readings; below 0.8 the window is void."""
    covering_ratio: float
    mean_ratio: float
    void: bool


@dataclass(frozen=True, slots=True)
class MetricUnavailable(Timed):
    """A metric has no value, and why; once per change."""

    series: Series
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class GapObserved(Timed):
    """A hole in the readings that is certain."""

    from_s: float
    to_s: float
    cause: str


@dataclass(frozen=True, slots=True)
class SourceLost(Timed):
    """The source stopped answering."""

    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SourceRecovered(Timed):
    """The source answers again."""

    source: str
    outage_s: float


@dataclass(frozen=True, slots=True)
class ProgressMade(Timed):
    """The loop moved on."""

    unit: str
    done: float
    total: float | None
    hint: str


@dataclass(frozen=True, slots=True)
class PhaseEntered(Timed):
    """A named part of the run began."""

    name: str
    hint: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was around the run until now; for who has not read all of its readings."""

    other_processes: int = 0
    """Most compute processes of others on one of the run's GPUs at one time."""
    throttled: dict[str, float] = field(default_factory=dict)
    """Why the clocks were held down -> share of the time, the most frequent first."""
    missing_s: float = 0.0
    """Seconds that certainly have no readings."""
    refresh_s: float | None = None
    """Seconds from one reading of the share to the next, as they came; None: not known."""
    lost_reason: str = ""
    """Why the source does not answer now; empty: it does."""
    used: tuple[str, ...] = ()
    """UUIDs of the devices that the run's own processes were on."""


@dataclass(frozen=True, slots=True)
class RecommendationUpdated(Timed):
    """The recommendation changed visibly."""

    recommendation: Recommendation
    others: tuple[Recommendation, ...] = ()
    """What is recommended of further shares, such as a time share beside an SM share."""
    surroundings: Surroundings | None = None


@dataclass(frozen=True, slots=True)
class StateChanged(Timed):
    """Convergence, guard alarm, re-learning, abstention."""

    old: str
    new: str
    reason: str


@dataclass(frozen=True, slots=True)
class SubscriberDetached(Timed):
    """A view or the disk failed; sampling continues."""

    name: str
    error: str


@dataclass(frozen=True, slots=True)
class SessionFinished(Timed):
    """Last, once."""

    outcome: str
    """`completed`, `failed`, `interrupted` or `stopped`."""
    recommendation: Recommendation | None
    samples: int
    """Readings of the share series."""
    duration_s: float
    overhead_s: float
    """CPU seconds our own threads used."""
    errors: tuple[str, ...] = ()
    profile: Profile | None = None
    """What was used when, for the next run of the same code; None unless all of it was measured."""
    others: tuple[Recommendation, ...] = ()
    """As in `RecommendationUpdated`."""
    allocator: AllocatorPeak | None = None
    """What the framework's own allocator says, where one was used."""
    host_peak: HostPeak | None = None
    """Of this process and its children; None where it was not measured."""
    partial: tuple[str, ...] = ()
    """What of several devices was lost and not found again, with its reason."""
    own_processes: dict[str, int] = field(default_factory=dict)
    """Device UUID -> most compute processes of the run's own on it at one time; those that were
    used. Empty: it is not known."""
    joined: tuple[Device, ...] = ()
    """Devices that came while the run went on."""
    hosts: int = 1
    """Hosts that all the devices were on."""
    surroundings: Surroundings | None = None
    error: str = ""
    """Name of the exception that ended the code; empty: none did."""


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
EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
