"""What a predictor concludes, and what MPS grants.

`Estimate` comes from a rule, `Recommendation` is for people and exporters, `AppliedShare` says how
MPS serves a run and why a capped one predicts nothing, `Verified` which share was tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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


# ---- MPS ---------------------------------------------------------------------------------------


Method = Literal["verify", "sweep"]
Unit = Literal["step", "epoch", "run"]
PREALLOCATED_SHARE = 0.9
"""So much of the card within a minute is a framework that takes what it can get."""


@dataclass(frozen=True, slots=True)
class AppliedShare:
    """How MPS serves a run. Limits that were not applied are None, whatever was requested."""

    active: bool
    """The environment of an MPS client was set, or is inherited, when CUDA was to start."""
    percentage: int | None = None
    """Active thread percentage, of the device's SMs."""
    memory_limit_bytes: int | None = None
    """Device memory of the process, CUDA's own included."""
    pipe_directory: str = ""
    joined: bool = False
    """The daemon was there already."""
    attached: bool | None = None
    """Whether the process is known to the daemon; None: not looked yet, or cannot be shown."""
    sm_count: int | None = None
    """SMs that the process was given; None while CUDA has not started in it."""
    device_sm_count: int | None = None
    reason: str = ""
    """Why there is no MPS, or what could not be shown."""

    @property
    def capped(self) -> bool:
        """Whether the run may have had less than all SMs."""
        return self.active and ((self.percentage or 100) < 100 or self.short)

    @property
    def short(self) -> bool:
        """Whether the process is known to have had less than all SMs."""
        given, all_of_them = self.sm_count, self.device_sm_count
        return given is not None and all_of_them is not None and given < all_of_them

    def seen(
        self, attached: bool | None, sm_count: int | None, device_sm_count: int | None, reason: str
    ) -> AppliedShare:
        """Return this with what was observed, and without limits that were not in force.

        Args:
            attached: Whether the daemon or the driver knows the process, as above.
            sm_count: SMs that it was given, as above.
            device_sm_count: All SMs of the device that CUDA numbers 0 in it.
            reason: Why something could not be shown.
        """
        found = replace(
            self,
            attached=attached,
            sm_count=sm_count,
            device_sm_count=device_sm_count,
            reason=reason,
        )
        limited = self.percentage is not None or self.memory_limit_bytes is not None
        if attached is not False or not limited or found.short:
            return found
        if sm_count is None:
            reason = "CUDA did not start in it, and what it started may have had its limits"
            return replace(found, attached=None, reason=reason)
        if device_sm_count is None:
            return found  # whether any was taken away is not known
        return replace(found, percentage=None, memory_limit_bytes=None)

    @property
    def shown(self) -> bool:
        """Whether it is shown that MPS had the process: seen as a client, or its SMs counted."""
        return self.attached is True or self.sm_count is not None

    @property
    def cap(self) -> str:
        """The cap in words; empty where there is none."""
        if not self.capped:
            return ""
        if self.sm_count is not None and self.device_sm_count is not None:
            return f"{self.sm_count} of {self.device_sm_count} SMs"
        share = f"{self.percentage} % of the SMs"
        return share if self.shown else f"{share}, if MPS applied it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A share that was tried, for one code on one kind of device."""

    percent: int
    """`CUDA_MPS_ACTIVE_THREAD_PERCENTAGE` of the capped runs."""
    kept: bool
    """Whether the speed was certainly kept."""
    speed_ratio: float
    """Speed at the share, as a part of the uncapped one."""
    low_ratio: float
    high_ratio: float
    """From a verify: the 95 % interval; from a sweep: the lowest and highest of its passes."""
    method: Method
    pairs: int
    unit: Unit
    """What was counted: steps, epochs, or whole runs."""
    code_hash: str | None
    device: str
    """The device's name."""
    driver: str
    session_id: str
    """The run that was tried again; empty: none."""
    at: str
    """ISO 8601 in UTC."""
    sm_count: int | None = None
    """SMs that the capped process was given; None where it could not be asked."""
    tool_version: str = ""

    @property
    def slowdown(self) -> float:
        """How many times longer the same work takes."""
        return 1.0 / self.speed_ratio


def withheld(recommendation: Recommendation, cap: str) -> Recommendation:
    """Return what a capped run shows: what was measured, and no recommendation.

    Under a cap SM activity saturates and the busy time grows, so neither shows what is needed.
    """
    memory = recommendation.memory
    return replace(
        recommendation,
        capped=True,
        state="abstained",
        reason=f"capped at {cap} by MPS; what the code needs shows without a cap",
        target_ratio=None,
        coverage_ratio=None,
        converged_at_s=None,
        confidence=None,
        memory=memory and replace(memory, target_bytes=None, reason="the run was capped"),
    )


def judged(recommendation: Recommendation, applied: AppliedShare | None) -> Recommendation:
    """Return the recommendation of a run under this share; unchanged without a cap or limit."""
    if applied is None or not applied.active:
        return recommendation
    if applied.capped:
        return withheld(recommendation, applied.cap)
    memory, limit_bytes = recommendation.memory, applied.memory_limit_bytes
    if memory is None or memory.basis == "rss" or not near(memory.peak_bytes, limit_bytes):
        return recommendation
    reason = "it came near to its memory limit: what the code needs shows without one"
    return replace(recommendation, memory=replace(memory, target_bytes=None, reason=reason))


def near(peak_bytes: float, limit_bytes: int | None) -> bool:
    """Return whether a memory peak is so near to a limit that it may be the limit that shows.

    A framework that takes what it can get, and a cache that is emptied when memory runs out, stop
    there whatever the code needs.

    >>> near(5.7e9, 6 << 30), near(5.9e9, 6 << 30), near(5.9e9, None)
    (False, True, False)
    """
    return limit_bytes is not None and peak_bytes >= PREALLOCATED_SHARE * limit_bytes
