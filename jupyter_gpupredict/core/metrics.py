"""The metrics: one table that names each with its unit, basis and the driver fields beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Basis = Literal["time_share", "sm_share"]
"""What a share is a share of: time in which a kernel ran, or SMs that a running kernel used."""

REASONS = (
    "not_supported",
    "no_permission",
    "no_device",
    "no_driver",
    "version_mismatch",
    "wrong_pynvml",
    "device_lost",
    "mig",
    "under_mps",
    "no_data_yet",
    "timed_out",
    "not_recorded",
)
"""Why a metric has no value. `not_recorded`: a trace that does not hold it."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity."""

    name: str
    """Our name; its suffix is the unit (`_ratio` is 0..1)."""
    label: str
    """The words shown to people; never "SM share" for a time share."""
    basis: Basis | None
    """For shares: what they are a share of; None for other quantities."""
    nvml: str = ""
    dcgm: str = ""
    csv: str = ""
    """Column in the trace CSV and name in the JSON result (percent, MiB, W)."""
    csv_scale: float = 1.0
    """Multiply our unit by this to get the CSV's unit."""


_MIB = 1.0 / (1 << 20)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "gpu_util_ratio",
            "busy time (time share)",
            "time_share",
            nvml="NVML_GPU_UTILIZATION_SAMPLES",
            dcgm="DCGM_FI_DEV_GPU_UTIL",
            csv="gpu_util_pct",
            csv_scale=100.0,
        ),
        Metric(
            "gr_active_ratio",
            "engine busy time (time share)",
            "time_share",
            nvml="NVML_GPM_METRIC_GRAPHICS_UTIL",
            dcgm="DCGM_FI_PROF_GR_ENGINE_ACTIVE",
            csv="gr_active_pct",
            csv_scale=100.0,
        ),
        Metric(
            "sm_active_ratio",
            "SM activity",
            "sm_share",
            nvml="NVML_GPM_METRIC_SM_UTIL",
            dcgm="DCGM_FI_PROF_SM_ACTIVE",
            csv="sm_active_pct",
            csv_scale=100.0,
        ),
        Metric(
            "breadth_ratio",
            "SM share while busy",
            "sm_share",
            csv="breadth_pct",
            csv_scale=100.0,
        ),
        Metric(
            "sm_occupancy_ratio",
            "warps resident",
            None,
            nvml="NVML_GPM_METRIC_SM_OCCUPANCY",
            dcgm="DCGM_FI_PROF_SM_OCCUPANCY",
            csv="sm_occupancy_pct",
            csv_scale=100.0,
        ),
        Metric(
            "tensor_active_ratio",
            "tensor cores busy",
            None,
            nvml="NVML_GPM_METRIC_ANY_TENSOR_UTIL",
            dcgm="DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
            csv="tensor_active_pct",
            csv_scale=100.0,
        ),
        Metric(
            "dram_active_ratio",
            "memory bandwidth used",
            None,
            nvml="NVML_GPM_METRIC_DRAM_BW_UTIL",
            dcgm="DCGM_FI_PROF_DRAM_ACTIVE",
            csv="dram_active_pct",
            csv_scale=100.0,
        ),
        Metric(
            "cpu_util_ratio",
            "CPU time share",
            "time_share",
            csv="cpu_util_pct",
            csv_scale=100.0,
        ),
        Metric(
            "mem_util_ratio",
            "memory controller busy time",
            None,
            nvml="NVML_MEMORY_UTILIZATION_SAMPLES",
            dcgm="DCGM_FI_DEV_MEM_COPY_UTIL",
            csv="mem_util_pct",
            csv_scale=100.0,
        ),
        Metric(
            "memory_used_bytes",
            "device memory",
            None,
            nvml="nvmlDeviceGetMemoryInfo_v2",
            dcgm="DCGM_FI_DEV_FB_USED",
            csv="mem_used_mib",
            csv_scale=_MIB,
        ),
        Metric(
            "process_memory_used_bytes",
            "device memory of this process tree",
            None,
            nvml="nvmlDeviceGetComputeRunningProcesses",
            csv="process_mem_used_mib",
            csv_scale=_MIB,
        ),
        Metric(
            "process_util_ratio",
            "busy time of this process tree (time share)",
            "time_share",
            nvml="nvmlDeviceGetProcessUtilization",
            csv="process_util_pct",
            csv_scale=100.0,
        ),
        Metric(
            "own_process_count",
            "compute processes of this process tree",
            None,
            nvml="nvmlDeviceGetComputeRunningProcesses",
            csv="own_process_count",
        ),
        Metric(
            "other_process_count",
            "compute processes of others",
            None,
            nvml="nvmlDeviceGetComputeRunningProcesses",
            csv="other_process_count",
        ),
        Metric(
            "throttle_bits",
            "why the clocks are held down",
            None,
            nvml="nvmlDeviceGetCurrentClocksEventReasons",
            dcgm="DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
            csv="throttle_bits",
        ),
        Metric("rss_bytes", "resident memory", None, csv="rss_mib", csv_scale=_MIB),
        Metric(
            "power_watts",
            "power",
            None,
            nvml="nvmlDeviceGetPowerUsage",
            dcgm="DCGM_FI_DEV_POWER_USAGE",
            csv="power_w",
        ),
    )
}

BY_CSV = {metric.csv: metric for metric in METRICS.values()}
"""The metrics by their names in tables and results."""

SHARES = tuple(name for name, metric in METRICS.items() if metric.basis is not None)
"""The metrics a share can be predicted from."""

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


def largest(metric: str) -> float:
    """Return the largest value that a reading of this metric can have; the least is 0."""
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
