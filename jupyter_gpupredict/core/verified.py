"""What was found when a run's code was run again under a share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal["verify", "sweep"]
Unit = Literal["step", "epoch", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A share that was tried, for one code on one kind of device."""

    percent: int
    """`CUDA_MPS_ACTIVE_THREAD_PERCENTAGE` of the capped runs."""
    kept: bool
    """Whether the speed was kept; a share of which that is not certain is not kept."""
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
