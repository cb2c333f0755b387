"""NVIDIA's driver library: utilization from the driver's own buffer, with memory and power."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.series import (
    Batch,
    Device,
    Gap,
    Readings,
    SourceInfo,
    SourceOptions,
    Unavailable,
)
from jupyter_gpupredict.driver.nvml import NvmlError, Sample, translated
from jupyter_gpupredict.driver.watch import MEMORY, OWN_MEMORY, POWER, DeviceWatch

if TYPE_CHECKING:
    from jupyter_gpupredict.core.clock import Clock

POLL_S = 0.2
"""Period where there is no sample buffer; utilization is rarely newer than this."""
DEFAULT_PERIOD_S = 0.167
"""Assumed refresh of the driver until the buffer has shown its own."""
FULL_PERCENT = 100.0
SHARE = "gpu_util_ratio"


class NvmlSource:
    """One device. Utilization comes late and complete from the driver's buffer, with its stamps."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._watch = DeviceWatch(options, clock)
        self._buffered = False
        self._since_us = 0
        self._offset_s = 0.0
        self._last_s = -math.inf
        self._period_s = DEFAULT_PERIOD_S
        self._depth_s: float | None = None

    def open(self) -> SourceInfo:
        """Find the device and see what it gives.

        Raises:
            SourceUnavailable: No driver, no device, or the device gives no utilization.
            InvalidOption: `--device` names none of the devices.
        """
        self.close()
        try:
            return self._inspect()
        except NvmlError as error:
            self.close()
            raise translated(error, was_open=False) from error
        except Exception:
            self.close()
            raise

    def read(self, *, slow: bool) -> Batch:
        """Return what the buffer gained, memory now, and in slow reads processes and power.

        Raises:
            SourceLost: Device or driver are gone.
        """
        watch = self._watch
        if not watch.opened:
            return Batch()
        now_s = self._clock.monotonic_s()
        readings: list[Readings] = []
        unavailable: list[Unavailable] = []
        gaps: list[Gap] = []
        share = watch.ask(SHARE, lambda: self._utilization(now_s, gaps), unavailable)
        if share is not None and share.times_s:
            readings.append(share)
        readings += watch.beside(now_s, unavailable, slow=slow)
        return Batch(tuple(readings), tuple(unavailable), tuple(gaps))

    def close(self) -> None:
        """Let go of the library; may be called twice."""
        self._watch.close()

    def _inspect(self) -> SourceInfo:
        watch = self._watch
        device = watch.open()
        self._probe_buffer(device)
        notes = list(watch.notes())
        if not self._buffered:
            notes.append("no driver sample buffer: utilization is polled")
        share, memory, own = watch.series(SHARE), watch.series(MEMORY), watch.series(OWN_MEMORY)
        return SourceInfo(
            source="nvml",
            devices=(device,),
            series=(share, memory, own, watch.series(POWER)),
            share=share,
            memory=memory,
            process_memory=own,
            period_s=self._period_s,
            buffer_s=self._depth_s if self._buffered else None,
            versions=(("driver", watch.nvml.driver_version()),),
            notes=tuple(notes),
        )

    def _probe_buffer(self, device: Device) -> None:
        """See whether there is a sample buffer, how deep it is and how often it is new."""
        try:
            samples = self._watch.nvml.utilization_samples(device.uuid, 0)
            self._buffered = True
        except NvmlError as error:
            if not error.permanent:
                raise
            self._buffered, samples = False, []
            self._period_s = self._options.interval_s or POLL_S
            self._watch.nvml.utilization_percent(device.uuid)  # neither of the two: no source
        self._depth_s = 0.0 if self._buffered else None
        if samples:
            self._since_us = samples[-1].time_us
            self._depth_s = (samples[-1].time_us - samples[0].time_us) / 1e6
            self._synchronise(samples[-1])
        if len(samples) > 2:
            steps = sorted(b.time_us - a.time_us for a, b in itertools.pairwise(samples))
            self._period_s = max(0.01, steps[len(steps) // 2] / 1e6)

    def _synchronise(self, newest: Sample) -> None:
        """Learn the offset of the driver's clock: a stamp can be old, never from the future.

        The smallest age ever seen of a newest stamp is taken as none at all.
        """
        offset_s = self._clock.monotonic_s() - newest.time_us / 1e6
        if self._offset_s == 0.0 or offset_s < self._offset_s or offset_s > self._offset_s + 60.0:
            self._offset_s = offset_s

    def _utilization(self, now_s: float, gaps: list[Gap]) -> Readings:
        device, series = self._watch.device, self._watch.series(SHARE)
        if not self._buffered:
            return Readings(
                series, (now_s,), (_ratio(self._watch.nvml.utilization_percent(device.uuid)),)
            )
        samples = self._watch.nvml.utilization_samples(device.uuid, self._since_us)
        if not samples:
            # A buffer that runs dry while the device idles must not look like a dead sampler. The
            # stamp is left alone, since this reading is not the buffer's.
            if now_s - self._last_s < max(1.0, 3.0 * self._period_s):
                return Readings(series, (), ())
            self._last_s = now_s
            return Readings(
                series, (now_s,), (_ratio(self._watch.nvml.utilization_percent(device.uuid)),)
            )
        if self._since_us:
            missed_s = (samples[0].time_us - self._since_us) / 1e6
            depth_s = (samples[-1].time_us - samples[0].time_us) / 1e6
            if missed_s > max(1.0, 3.0 * self._period_s) and depth_s >= 0.9 * (
                self._depth_s or 1e9
            ):
                from_s = self._since_us / 1e6 + self._offset_s
                gaps.append(
                    Gap(from_s, samples[0].time_us / 1e6 + self._offset_s, "buffer_overrun")
                )
        self._synchronise(samples[-1])
        self._since_us = samples[-1].time_us
        times_s = tuple(max(self._last_s + 1e-6, s.time_us / 1e6 + self._offset_s) for s in samples)
        self._last_s = times_s[-1]
        return Readings(series, times_s, tuple(_ratio(s.percent) for s in samples))


def _ratio(percent: float) -> float:
    """Return 0..1; what is above 100 is one of the driver's blank values, so NaN."""
    return percent / FULL_PERCENT if 0.0 <= percent <= FULL_PERCENT else math.nan
