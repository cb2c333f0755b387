"""What MPS grants to a run, why a capped run predicts nothing, and which share was verified."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jupyter_gpupredict.core.recommendation import Recommendation

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
