"""From ratios and bytes to the whole percents and MiB that manifests carry: always up."""

from __future__ import annotations

import math

MIB = 1 << 20
_SLACK = 1e-9
CAUTIOUS_SM_STEP = 2
"""SM step of the driver where it was not measured: NVIDIA reports 25, 50 and 75 % of a 188-SM GPU
as 46, 94 and 140 SMs."""


def time_percent(ratio: float) -> int:
    """Return a time share as a whole percent, 1..100, rounded up.

    >>> time_percent(0.816)
    82
    """
    return min(100, max(1, math.ceil(100.0 * ratio - _SLACK)))


def sm_percent(ratio: float, sm_count: int | None, sm_step: int = CAUTIOUS_SM_STEP) -> int:
    """Return the smallest active thread percentage that really gives this share of the SMs.

    The driver rounds a percentage down to a supported number of SMs (MPS documentation), so the
    share is first rounded up to whole SMs and the percentage is raised until it yields them.

    Args:
        ratio: Wanted share of the SMs, 0..1.
        sm_count: SMs of the device (or MIG instance); None when unknown.
        sm_step: SMs come in multiples of this.

    >>> sm_percent(0.364, None), sm_percent(0.364, 132), sm_percent(0.25, 188)
    (37, 38, 26)
    """
    if sm_count is None:
        return time_percent(ratio)
    wanted = math.ceil(ratio * sm_count - _SLACK)
    for percent in range(1, 101):
        if sm_step * (percent * sm_count // (100 * sm_step)) >= wanted:
            return percent
    return 100


def mib(size_bytes: float) -> int:
    """Return bytes as whole binary MiB, rounded up, at least 1.

    >>> mib(5873.2 * MIB)
    5874
    """
    return max(1, math.ceil(size_bytes / MIB - _SLACK))
