"""GPM: activity of engine, SMs, tensor cores and memory on Hopper and later, between two snapshots.

Source: NVML's GPM functions. A pair of snapshots more than 0.1 s apart gives each metric over
exactly that time; there is no value before the second one.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.devices import is_mig
from jupyter_gpupredict.sources.driver.nvml import NvmlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.sources.driver.nvml import Nvml

MIN_APART_S = 0.1
"""Snapshots nearer than this give invalid values."""
ENGINE, SM, OCCUPANCY, TENSOR, DRAM = 1, 2, 3, 5, 10
"""NVML_GPM_METRIC_GRAPHICS_UTIL, SM_UTIL, SM_OCCUPANCY, ANY_TENSOR_UTIL, DRAM_BW_UTIL; percent."""
NOT_SUPPORTED = 3


class Gpm:
    """The snapshots of one device, which may be a MIG instance."""

    def __init__(self, nvml: Nvml, uuid: str, metrics: Sequence[int]) -> None:
        self._nvml = nvml
        self._uuid = uuid
        self._metrics = tuple(metrics)
        self._buffers: list[Any] = []
        self._newest = 0
        """Which of the two buffers was written last."""
        self._valid = False
        """Whether it holds a snapshot."""
        self._request: Any = None
        self._gpu: Any = None
        self._instance: int | None = None
        """GPU instance, where the device is one of MIG's."""

    def open(self) -> None:
        """Make room for two snapshots and take the first.

        Raises:
            NvmlError: The device has no GPM, or it may not be read.
        """
        nvml = self._nvml
        self._gpu, self._instance = nvml.handles[self._uuid], None
        if is_mig(self._uuid):  # support is a matter of the GPU, samples are not
            self._instance = nvml.call("nvmlDeviceGetGpuInstanceId", self._gpu)
            self._gpu = nvml.call("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", self._gpu)
        support = nvml.call("nvmlGpmQueryDeviceSupport", self._gpu)
        if not support.isSupportedDevice:
            raise NvmlError(NOT_SUPPORTED, "nvmlGpmQueryDeviceSupport", "no GPM on this device")
        self._request = nvml.binding.c_nvmlGpmMetricsGet_t()  # 477 slots: made once
        self._request.version = nvml.binding.NVML_GPM_METRICS_GET_VERSION
        self._request.numMetrics = len(self._metrics)
        for slot, metric in enumerate(self._metrics):
            self._request.metrics[slot].metricId = metric
        self._buffers = [nvml.call("nvmlGpmSampleAlloc") for _ in range(2)]
        self._snapshot()

    def read(self) -> dict[int, float]:
        """Return metric -> ratio over the time since the last call; NaN where it cannot be had.

        Raises:
            NvmlError: No snapshot can be taken; the next call begins anew, without a value.
        """
        continues = self._valid
        self._snapshot()
        if not continues:
            return dict.fromkeys(self._metrics, math.nan)
        request = self._request
        request.sample1 = self._buffers[1 - self._newest]
        request.sample2 = self._buffers[self._newest]
        found = self._nvml.call("nvmlGpmMetricsGet", request)
        return {metric: _ratio(found.metrics[slot]) for slot, metric in enumerate(self._metrics)}

    def close(self) -> None:
        """Free the snapshots; may be called twice."""
        for buffer in self._buffers:
            with contextlib.suppress(NvmlError):  # the library may be lost already
                self._nvml.call("nvmlGpmSampleFree", buffer)
        self._buffers, self._valid = [], False

    def _snapshot(self) -> None:
        """Write the older buffer; a failure leaves no snapshot to go on from."""
        older, self._valid = 1 - self._newest, False
        buffer = self._buffers[older]
        if self._instance is None:
            self._nvml.call("nvmlGpmSampleGet", self._gpu, buffer)
        else:
            self._nvml.call("nvmlGpmMigSampleGet", self._gpu, self._instance, buffer)
        self._newest, self._valid = older, True


def _ratio(metric: Any) -> float:
    value = float(metric.value)
    if metric.nvmlReturn != 0 or math.isnan(value) or not 0.0 <= value <= 100.0:
        return math.nan
    return value / 100.0
