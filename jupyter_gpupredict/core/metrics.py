"""The metrics: one table that names each with its words, basis and DCGM field; and rounding up.

What manifests carry is whole figures of ratios, bytes and seconds, always rounded up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Basis = Literal["time_share", "sm_share"]
"""What a share is a share of: time in which a kernel ran, or SMs that a running kernel used."""

REASONS = {
    "not_supported": "this device does not offer it",
    "no_permission": "no permission to read it",
    "no_device": "no GPU was found",
    "no_driver": "the NVIDIA driver is not loaded",
    "version_mismatch": "driver and library are of different versions",
    "wrong_pynvml": "another package named pynvml shadows nvidia-ml-py",
    "device_lost": "the GPU is lost",
    "mig": "not available on a MIG instance",
    "under_mps": "not available under MPS",
    "no_data_yet": "no reading yet",
    "timed_out": "the driver did not answer in time",
    "not_recorded": "not recorded",
}
"""Why a metric has no value, and that in words. `not_recorded`: a trace that does not hold it."""


_CSV_UNITS = {"ratio": ("pct", 100.0), "bytes": ("mib", 1.0 / (1 << 20)), "watts": ("w", 1.0)}
"""Suffix of our names -> the one in tables and results, and what our unit is multiplied by."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity."""

    name: str
    """Our name; its suffix is the unit (`_ratio` is 0..1)."""
    label: str
    """The words shown to people; never "SM share" for a time share."""
    basis: Basis | None
    """For shares: what they are a share of; None for other quantities."""
    dcgm: str = ""
    """DCGM's name for it."""

    @property
    def csv(self) -> str:
        """Column in the trace CSV and name in the JSON result, such as `mem_used_mib`."""
        quantity, _, unit = self.name.replace("memory", "mem").rpartition("_")
        return f"{quantity}_{_CSV_UNITS.get(unit, (unit,))[0]}"

    @property
    def csv_scale(self) -> float:
        """Multiply our unit by this to get the CSV's unit."""
        return _CSV_UNITS.get(self.name.rpartition("_")[2], ("", 1.0))[1]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("gpu_util_ratio", "busy time (time share)", "time_share", "DCGM_FI_DEV_GPU_UTIL"),
        Metric(
            "gr_active_ratio",
            "engine busy time (time share)",
            "time_share",
            "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        ),
        Metric("sm_active_ratio", "SM activity", "sm_share", "DCGM_FI_PROF_SM_ACTIVE"),
        Metric("breadth_ratio", "SM share while busy", "sm_share"),
        Metric("sm_occupancy_ratio", "warps resident", None, "DCGM_FI_PROF_SM_OCCUPANCY"),
        Metric("tensor_active_ratio", "tensor cores busy", None, "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"),
        Metric("dram_active_ratio", "memory bandwidth used", None, "DCGM_FI_PROF_DRAM_ACTIVE"),
        Metric("cpu_util_ratio", "CPU time share", "time_share"),
        Metric("mem_util_ratio", "memory controller busy time", None, "DCGM_FI_DEV_MEM_COPY_UTIL"),
        Metric("memory_used_bytes", "device memory", None, "DCGM_FI_DEV_FB_USED"),
        Metric("process_memory_used_bytes", "device memory of this process tree", None),
        Metric("allocator_used_bytes", "memory in use by the framework", None),
        Metric("allocator_peak_bytes", "most memory in use by the framework", None),
        Metric("allocator_reserved_bytes", "memory reserved by the framework", None),
        Metric("process_util_ratio", "busy time of this process tree (time share)", "time_share"),
        Metric("own_process_count", "compute processes of this process tree", None),
        Metric("other_process_count", "compute processes of others", None),
        Metric(
            "throttle_bits",
            "why the clocks are held down",
            None,
            "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
        ),
        Metric("rss_bytes", "resident memory", None),
        Metric("power_watts", "power", None, "DCGM_FI_DEV_POWER_USAGE"),
    )
}

BY_CSV = {metric.csv: metric for metric in METRICS.values()}
"""The metrics by their names in tables and results."""

THROTTLE_CAUSES = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "temperature (software)",
    0x40: "temperature (hardware)",
    0x80: "power brake",
}
"""Why a GPU's clocks are held down. Idling and a clock that somebody chose are no throttling.

Source: NVML, nvmlClocksEventReasons; DCGM's CLOCKS_EVENT_REASONS has the same bits."""

LARGEST_NUMBER = 1e20
"""Above every quantity that we have a unit for: a mask of 64 bits is 2e19."""

BUSY_RATIO = 0.05
"""Below this engine activity a quotient by it is noise."""


LARGEST_BYTES = 2.0**47 - 1.0
"""Above every memory; from here on are the numbers by which tools say that they have none."""


def largest(metric: str) -> float:
    """Return the largest value that a reading of this metric can have; the least is 0."""
    if metric.endswith("_bytes"):
        return LARGEST_BYTES
    return 1.0 + 1e-9 if metric.endswith("_ratio") else LARGEST_NUMBER


def breadth_ratio(sm_active: float, gr_active: float) -> float:
    """Return the share of the SMs in use while the engine is busy; NaN where it hardly is.

    >>> breadth_ratio(0.2, 0.5)
    0.4
    """
    if math.isnan(sm_active) or math.isnan(gr_active) or gr_active < BUSY_RATIO:
        return math.nan
    return min(1.0, sm_active / gr_active)


def causes(bits: float) -> tuple[str, ...]:
    """Return the words of a bit mask; () where nothing holds the clocks down, or it is NaN.

    >>> causes(0x05)
    ('power cap',)
    """
    if math.isnan(bits):
        return ()
    return tuple(word for bit, word in THROTTLE_CAUSES.items() if int(bits) & bit)


# ---- rounding ----------------------------------------------------------------------------------


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


def whole_percent(ratio: float | None) -> int | None:
    """Return a ratio to the nearest whole percent; None where there is none."""
    return None if ratio is None else round(100 * ratio)


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
