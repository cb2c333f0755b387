"""From ratios, bytes and seconds to the whole figures that manifests carry: always up."""

from __future__ import annotations

import math

MIB = 1 << 20
_SLACK = 1e-9
CAUTIOUS_SM_STEP = 2
"""SM step of the driver where it was not measured: NVIDIA reports 25, 50 and 75 % of a 188-SM GPU
as 46, 94 and 140 SMs."""
MAX_MPS_CLIENTS = 48


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


def timeout_s(runtime_s: float, high_s: float | None = None) -> int:
    """Return the time limit of a run: twice the expected time in whole minutes, ten at least.

    Args:
        runtime_s: Expected seconds of the run.
        high_s: Upper bound of it; the limit is never below.

    >>> timeout_s(45.0), timeout_s(7000.0), timeout_s(7000.0, high_s=20000.0)
    (600, 14040, 20040)
    """
    limit = max(600, 60 * math.ceil(2.0 * runtime_s / 60.0 - _SLACK))
    return limit if high_s is None else max(limit, 60 * math.ceil(high_s / 60.0 - _SLACK))


def replicas(sm_percent: int, memory_mib: int | None, total_mib: int | None) -> int:
    """Return how many clients of this size share one GPU; 0 where it does not hold one.

    At most 48, which is as many clients as MPS takes on one device (MPS documentation, Volta+).

    >>> replicas(37, 5874, 143771), replicas(60, 5874, 143771), replicas(1, 5874, 143771)
    (2, 1, 24)
    """
    found = min(MAX_MPS_CLIENTS, 100 // sm_percent)
    if memory_mib is not None and total_mib is not None:
        found = min(found, total_mib // memory_mib)
    return found


def ray_gpus(sm_percent: int | None, memory_mib: int | None, total_mib: int | None) -> float:
    """Return the GPUs that Ray books, so that what it packs onto one fits; 1 without an SM share.

    >>> ray_gpus(37, 5874, 143771), ray_gpus(10, 71886, 143771), ray_gpus(None, 5874, None)
    (0.37, 0.51, 1.0)
    """
    if sm_percent is None:
        return 1.0
    hundredths = sm_percent
    if memory_mib is not None and total_mib:
        hundredths = max(hundredths, -(-100 * memory_mib // total_mib))
    return min(100, hundredths) / 100


def cpus(ratio: float, count: int) -> float:
    """Return a share of so many CPUs in half cores, rounded up.

    >>> cpus(0.3, 4), cpus(0.0, 4)
    (1.5, 0.5)
    """
    return max(1, math.ceil(2.0 * ratio * count - _SLACK)) / 2
