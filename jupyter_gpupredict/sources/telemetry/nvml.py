"""NVIDIA's driver library: utilization from the driver's own buffer, and SM activity through GPM.

Utilization: each reading of the buffer once, on our clock. Its stamps may be of another clock, and
it may run dry while the device idles; where a device has no buffer, it is polled (source: gpu.md's
facts of nvmlDeviceGetSamples).

GPM: how wide the running kernels are, apart from how long they run, on Hopper and later. A pair of
snapshots more than 0.1 s apart gives each metric over exactly that time; there is no value before
the second one (source: NVML's GPM functions). `breadth_ratio` is SM activity over engine activity:
the share of the SMs that a running kernel occupies, which is what an MPS percentage caps. It is
defined where the engine was busy; the share of the time that was busy is `gr_active_ratio`, a time
share, which is predicted beside it.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.devices import is_mig
from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.core.metrics import breadth_ratio
from jupyter_gpupredict.core.series import Gap, Readings, SourceInfo, SourceOptions
from jupyter_gpupredict.sources.driver.nvml import Nvml, NvmlError, Sample, ratio
from jupyter_gpupredict.sources.driver.watch import DriverSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.protocols import Clock

SHARE = "gpu_util_ratio"
POLL_S = 0.2
"""Period where there is no sample buffer; utilization is rarely newer than this."""
DEFAULT_PERIOD_S = 0.167
"""Assumed refresh of the driver until the buffer has shown its own."""
GPM_PERIOD_S = 0.5
MIN_APART_S = 0.1
"""GPM snapshots nearer than this give invalid values."""
ENGINE, SM, OCCUPANCY, TENSOR, DRAM = 1, 2, 3, 5, 10
"""NVML_GPM_METRIC_GRAPHICS_UTIL, SM_UTIL, SM_OCCUPANCY, ANY_TENSOR_UTIL, DRAM_BW_UTIL; percent."""
BREADTH, DUTY, SM_ACTIVE = "breadth_ratio", "gr_active_ratio", "sm_active_ratio"
METRICS = {
    ENGINE: DUTY,
    SM: SM_ACTIVE,
    OCCUPANCY: "sm_occupancy_ratio",
    TENSOR: "tensor_active_ratio",
    DRAM: "dram_active_ratio",
}
NOT_SUPPORTED = 3


class NvmlSource(DriverSource):
    """Utilization comes late and complete from the driver's buffers, with its own stamps."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        super().__init__(options, clock)
        self._buffers: tuple[SampleBuffer, ...] = ()

    def _inspect(self) -> SourceInfo:
        uuids = [one.device.uuid for one in self._devices]
        if any(is_mig(uuid) for uuid in uuids):
            hint = "SM activity is read there on Hopper and later: --source gpm"
            message = "the driver gives no utilization of a MIG instance"
            raise SourceUnavailable(message, hint, "mig")
        interval_s = self._options.interval_s
        self._buffers = tuple(
            SampleBuffer(self._nvml, uuid, self._clock, interval_s) for uuid in uuids
        )
        for buffer in self._buffers:
            buffer.open()
        depths_s = [one.depth_s for one in self._buffers if one.depth_s is not None]
        polled = len(depths_s) < len(self._buffers)
        return self._info(
            "nvml",
            (SHARE,),
            (one.share(SHARE) for one in self._devices),
            max(buffer.period_s for buffer in self._buffers),
            buffer_s=None if polled else min(depths_s),
            notes=("no driver sample buffer: utilization is polled",) if polled else (),
        )

    def _shares(self, now_s: float) -> tuple[list[Readings], list[Gap]]:
        readings: list[Readings] = []
        gaps: list[Gap] = []
        for one, buffer in zip(self._devices, self._buffers, strict=True):
            if readings and self._pressed():
                break
            found = one.ask(SHARE, lambda buffer=buffer: buffer.read(now_s, gaps))  # type: ignore[misc]
            if found is not None and found[0]:
                readings.append(Readings(one.series(SHARE), *found))
        return readings, gaps


class SampleBuffer:
    """The buffer of one device, read from where the last call ended."""

    def __init__(self, nvml: Nvml, uuid: str, clock: Clock, interval_s: float | None) -> None:
        self._nvml, self._uuid, self._clock, self._interval_s = nvml, uuid, clock, interval_s
        self._since_us = 0
        self._offset_s: float | None = None
        self._last_s = -math.inf
        self.period_s = DEFAULT_PERIOD_S
        """Spacing of the readings: the driver's own, as its stamps show it."""
        self.depth_s: float | None = None
        """Seconds that the buffer held at first; None where there is no buffer."""

    def open(self) -> None:
        """See how deep the buffer is and how often it is new; `NvmlError` without utilization."""
        try:
            samples = self._nvml.utilization_samples(self._uuid, 0)
        except NvmlError as error:
            if not error.permanent:
                raise
            self._nvml.utilization_percent(self._uuid)  # neither of the two: no utilization
            self.period_s = self._interval_s or POLL_S
            return
        self.depth_s = 0.0
        if samples:
            self._since_us = samples[-1].time_us
            self.depth_s = (samples[-1].time_us - samples[0].time_us) / 1e6
            self._synchronise(samples[-1])
        if len(samples) > 2:
            steps = sorted(b.time_us - a.time_us for a, b in itertools.pairwise(samples))
            self.period_s = max(0.01, steps[len(steps) // 2] / 1e6)

    def read(self, now_s: float, gaps: list[Gap]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return (times in monotonic seconds, ratios) since the last call; () when nothing is new.

        `gaps` takes what the buffer is known to have dropped.
        """
        if self.depth_s is None:
            return (now_s,), (ratio(self._nvml.utilization_percent(self._uuid)),)
        samples = self._nvml.utilization_samples(self._uuid, self._since_us)
        if not samples:
            # A buffer that runs dry while the device idles must not look like a dead sampler. The
            # stamp is left alone, since this reading is not the buffer's.
            if now_s - self._last_s < max(1.0, 3.0 * self.period_s):
                return (), ()
            self._last_s = now_s
            return (now_s,), (ratio(self._nvml.utilization_percent(self._uuid)),)
        self._see_overrun(samples, gaps)
        offset_s = self._synchronise(samples[-1])
        self._since_us = samples[-1].time_us
        times_s = tuple(max(self._last_s + 1e-6, s.time_us / 1e6 + offset_s) for s in samples)
        self._last_s = times_s[-1]
        return times_s, tuple(ratio(s.percent) for s in samples)

    def _see_overrun(self, samples: list[Sample], gaps: list[Gap]) -> None:
        """A buffer that is full and begins well after the last reading has dropped some."""
        if not self._since_us or self._offset_s is None:
            return
        missed_s = (samples[0].time_us - self._since_us) / 1e6
        held_s = (samples[-1].time_us - samples[0].time_us) / 1e6
        full = held_s >= 0.9 * (self.depth_s or math.inf)
        if full and missed_s > max(1.0, 3.0 * self.period_s):
            from_s = self._since_us / 1e6 + self._offset_s
            gaps.append(Gap(from_s, samples[0].time_us / 1e6 + self._offset_s, "buffer_overrun"))

    def _synchronise(self, newest: Sample) -> float:
        """Learn the offset of the driver's clock: a stamp can be old, never from the future.

        The smallest age ever seen of a newest stamp is taken as none at all.
        """
        offset_s = self._clock.monotonic_s() - newest.time_us / 1e6
        known_s = self._offset_s
        if known_s is None or offset_s < known_s or offset_s > known_s + 60.0:
            self._offset_s = known_s = offset_s
        return known_s


class GpmSource(DriverSource):
    """Devices of compute capability 9.0 or later, or MIG instances of such."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        super().__init__(options, clock)
        self._gpms: list[Gpm] = []
        self._taken_s = 0.0

    def close(self) -> None:
        """Free the snapshots and close the library; may be called twice."""
        while self._gpms:
            self._gpms.pop().close()
        super().close()

    def _inspect(self) -> SourceInfo:
        for one in self._devices:
            self._gpms.append(Gpm(self._nvml, one.device.uuid, tuple(METRICS)))
            self._gpms[-1].open()
        self._taken_s = self._clock.monotonic_s()
        shares = [
            share
            for one in self._devices
            for share in (one.share(BREADTH, one.series(DUTY)), one.share(DUTY))
        ]
        period_s = max(self._options.interval_s or GPM_PERIOD_S, 2 * MIN_APART_S)
        return self._info("gpm", (BREADTH, *METRICS.values()), shares, period_s)

    def _shares(self, now_s: float) -> tuple[list[Readings], list[Gap]]:
        readings: list[Readings] = []
        if now_s - self._taken_s <= MIN_APART_S:
            return readings, []
        for one, gpm in zip(self._devices, self._gpms, strict=True):
            if readings and self._pressed():
                break
            found = one.ask(BREADTH, gpm.read)
            if found is None:
                continue
            self._taken_s = now_s
            ratios = {name: found[metric] for metric, name in METRICS.items()}
            ratios[BREADTH] = breadth_ratio(ratios[SM_ACTIVE], ratios[DUTY])
            readings += [Readings(one.series(n), (now_s,), (v,)) for n, v in ratios.items()]
        return readings, []


class Gpm:
    """The snapshots of one device, which may be a MIG instance."""

    def __init__(self, nvml: Nvml, uuid: str, metrics: Sequence[int]) -> None:
        self._nvml, self._uuid, self._metrics = nvml, uuid, tuple(metrics)
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
        """Make room for two snapshots and take the first; raises `NvmlError` without GPM."""
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
        """Return metric -> ratio over the time since the last call; NaN where there is none.

        Raises `NvmlError` where no snapshot is given; the next call begins anew, without a value.
        """
        continues = self._valid
        self._snapshot()
        if not continues:
            return dict.fromkeys(self._metrics, math.nan)
        request = self._request
        request.sample1 = self._buffers[1 - self._newest]
        request.sample2 = self._buffers[self._newest]
        slots = self._nvml.call("nvmlGpmMetricsGet", request).metrics
        return {
            metric: math.nan if slot.nvmlReturn else ratio(float(slot.value))
            for metric, slot in zip(self._metrics, slots, strict=False)
        }

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
