"""What a predictor concludes: `Estimate` from a rule, `Recommendation` for people and exporters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_gpupredict.core.metrics import Basis

LEAST_ACTIVE_S, LEAST_N_EFF = 30.0, 5.0
"""A figure is settled after so much activity, and so many independent seconds; not before."""
State = Literal["warming", "watching", "converged", "stale", "abstained"]


LEAST_WINDOWS = 3
"""Of recorded kernels: after the warm-up, in the middle, late."""


@dataclass(frozen=True, slots=True)
class RuleOptions:
    """Options of a stop rule; None where the rule's own value stands."""

    window_s: float | None = None
    agree: int | None = None
    tolerance_points: float | None = None
    coverage: float = 0.95
    period_s: float = 0.1
    """Nominal seconds between readings; a window holds at least ten of them."""
    epochs: int | None = None
    noise: float = 5.0
    """How many of their standard errors windows that agree may lie apart."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a stop rule concluded at the moment it fired (or at the end, when it never did)."""

    converged_at_s: float
    """Time of the last reading used; of a recommendation, of the reading that proved it."""
    target_ratio: float
    """Covering usage of the pooled windows, a whole percent, at least 0.01."""
    mean_ratio: float
    times_s: tuple[float, ...]
    """Stamps of the pooled readings, shape (n,); what confidence and guard start from."""
    values: tuple[float, ...]
    """The pooled readings, shape (n,), ratio."""
    allowed_exceedance: Mapping[str, float] = field(default_factory=dict)
    """Phase -> share of its time that may lie above the target before the guard objects."""
    earlier_s: float = 0.0
    """Seconds of earlier epochs or runs that bear it out beside the pooled readings."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """What the watched part certifies (prediction.md section 4 of the specification)."""

    n_eff: float
    """Effective number of independent seconds."""
    g_s: float
    """Seconds that count as one."""
    certified_ratio: float | None
    """Largest covering level certified at `level`; None when not even one half is."""
    required_ratio: float = 0.90
    level: float = 0.95
    lower_ratio: float | None = None
    """The covering usage of the watched regime is at least this, at `level`; None: not bounded."""
    upper_ratio: float | None = None
    """It is at most this, at `level`; None: not bounded."""

    @property
    def certified(self) -> bool:
        """Whether the required covering level is certified."""
        return self.certified_ratio is not None and self.certified_ratio >= self.required_ratio


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The memory peak with its margin."""

    peak_bytes: float
    """Largest reading so far; NaN before the first."""
    target_bytes: float | None
    """The peak with its margin, at most the card; None while it is too recent to be believed, or
    says nothing of need."""
    basis: str
    """`process`, `device-wide`, `rss`, or `allocator`: the framework's own, and the context."""
    reason: str
    """Why there is no target, or what the target rests on."""
    preallocated: bool = False
    """The framework took nearly all memory at once: its use says nothing about need."""


@dataclass(frozen=True, slots=True)
class HostPeak:
    """Most memory of the machine that the run's processes held at one time.

    Pages that several of them share count once in all (Linux, proportional set size), so that
    processes which were forked are not counted as often as they are.
    """

    memory_bytes: float
    shared_bytes: float
    """Most of it in shared memory, such as what data loaders hand over by /dev/shm."""


@dataclass(frozen=True, slots=True)
class AllocatorPeak:
    """Highest memory that a framework's allocator had during the run."""

    framework: str
    allocated_bytes: float
    """In tensors at one time."""
    reserved_bytes: float
    """Held from the driver at one time, used or not."""
    at_least: bool = False
    """Its peak did not rise during the run: these are the largest that were seen, once a second."""


@dataclass(frozen=True, slots=True)
class SmNeed:
    """How many SMs a run's kernels need, by the geometry of their launches."""

    sms: int
    """Of the whole GPU."""
    low_sms: int
    """Where gaps between kernels take up the delay: an estimate."""
    high_sms: int
    """Where they do not: a bound if throughput goes with the number of SMs."""
    speed_ratio: float
    """Share of its full speed that the run keeps on so many."""
    curve: tuple[tuple[float, float, float], ...]
    """(percent of the SMs, low, high run time over that on all), by percent."""
    kernels: int
    by: str
    """What recorded them: `torch.profiler`, ..."""
    collective_sms: int = 0
    """The widest collective's: all its blocks must be resident at once."""
    windows: int = 0
    """Of the live run in which they were recorded; 0: a profile that the user took."""
    watched_s: float = 0.0
    """Seconds of those windows, or of the profile."""
    cost_s: float = 0.0
    """What opening, closing and reading those windows took beside them."""
    not_understood_ratio: float = 0.0
    """Share of the kernels' time that counts as not stretched."""
    earlier: bool = False
    """Recorded in an earlier run of the same code."""

    @property
    def low_ratio(self) -> float:
        """The lower end as a share of the SMs; no less than a collective needs."""
        return max(self.low_sms, self.collective_sms) / self.sms

    @property
    def high_ratio(self) -> float:
        """The upper end as a share of the SMs; no less than a collective needs."""
        return max(self.high_sms, self.collective_sms) / self.sms

    @property
    def settled(self) -> bool:
        """Whether enough of the run was recorded."""
        return not 0 < self.windows < LEAST_WINDOWS


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The share and memory that cover the run, with everything needed to judge them.

    Cannot be built without state, metric, basis and coverage: no figure is shown without them.
    """

    state: State
    reason: str
    """Why this state, in words."""
    metric: str
    """A share metric of `core.metrics.METRICS`."""
    basis: Basis
    coverage_target_ratio: float
    target_ratio: float | None
    """The share to provision, 0.01..1; None while warming. When stale: None (uncapped)."""
    mean_ratio: float | None
    coverage_ratio: float | None
    """Achieved coverage: share of seconds at or below the target among readings not used to choose
    it; before convergence, of the newest window against the one before. None when unknown."""
    watched_s: float
    """Seconds since the active span began."""
    converged_at_s: float | None
    memory: MemoryEstimate | None
    confidence: Confidence | None
    sampled_ratio: float
    """Share of the active span that has readings."""
    remaining_s: float | None = None
    """Predicted seconds to the end of the run, when progress is known."""
    remaining_low_s: float | None = None
    remaining_high_s: float | None = None
    """95 % interval of the remaining time; None while too little was seen."""
    total_s: float | None = None
    """Predicted seconds of the whole run, from the session's beginning."""
    total_high_s: float | None = None
    """Its upper 97.5 % bound: what a time limit must allow for."""
    progress: str = ""
    """How far the loop is, in words, and who says so."""
    device: str = ""
    """UUID of the device whose share this is; empty: a distributed run's function."""
    slowdown: tuple[float, float] | None = None
    """Of an SM share: run time under it over run time on all SMs, low and high; see
    `predict.slowdown`. None where SM activity is not known."""
    capped: bool = False
    """MPS gave the run less than all SMs: there is nothing to recommend."""
    rank: int | None = None
    """The rank of that device's process, where it is known."""
    lost: bool = False
    """The device was lost: these figures end there."""
    active_s: float | None = None
    """Seconds of the span in which the device was used; None: not recorded."""
    observed_ratio: float | None = None
    """Covering usage of all that was watched: an observation and no prediction."""
    withdrawn: tuple[float, float] | None = None
    """(ratio, time_s) of the last prediction that was withdrawn, and when; None: none was."""
    geometry: SmNeed | None = None
    """What its kernels need of the SMs; None: they were not recorded."""


Bins = tuple[tuple[int, float], ...]
"""(whole percent, seconds), where there are any."""


@dataclass(frozen=True, slots=True)
class Block:
    """Usage over a stretch of time, as it is stored."""

    bins: Bins
    mean_ratio: float

    @property
    def seconds(self) -> float:
        """Seconds of it that had readings."""
        return sum(seconds for _, seconds in self.bins)


@dataclass(frozen=True, slots=True)
class Profile:
    """A whole run: its first blocks one by one, and all the rest together."""

    block_s: float
    blocks: tuple[Block, ...]
    rest: Block | None
    """None: the run was over with its last block."""
    active_s: float
    """Length of the active span."""
