"""NVIDIA's driver library: utilization from the driver's own buffer, memory, processes, power."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, TypeVar

from jupyter_gpupredict.core.devices import choose
from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.core.series import (
    Batch,
    Device,
    Gap,
    Readings,
    Series,
    SourceInfo,
    SourceOptions,
    Unavailable,
)
from jupyter_gpupredict.driver.nvml import Nvml, NvmlError, Sample, translated
from jupyter_gpupredict.driver.processes import ProcessTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.clock import Clock

_Value = TypeVar("_Value")

POLL_S = 0.2
"""Period where there is no sample buffer; utilization is rarely newer than this."""
DEFAULT_PERIOD_S = 0.167
"""Assumed refresh of the driver until the buffer has shown its own."""
FULL_PERCENT = 100.0


class NvmlSource:
    """One device. Utilization comes late and complete from the driver's buffer, with its stamps."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._nvml = Nvml()
        self._tree: ProcessTree | None = None
        self._device: Device | None = None
        self._buffered = False
        self._since_us = 0
        self._offset_s = 0.0
        self._last_s = -math.inf
        self._period_s = DEFAULT_PERIOD_S
        self._depth_s: float | None = None
        self._missing: dict[str, str] = {}
        self._off: set[str] = set()
        """Metrics that this device does not give; never asked again."""

    def open(self) -> SourceInfo:
        """Find the device and see what it gives.

        Raises:
            SourceUnavailable: No driver, no device, or the device gives no utilization.
            InvalidOption: `--device` names none of the devices.
        """
        self.close()
        self._nvml.open()
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
        device = self._device
        if device is None:
            return Batch()
        now_s = self._clock.monotonic_s()
        readings: list[Readings] = []
        unavailable: list[Unavailable] = []
        gaps: list[Gap] = []
        wanted: list[tuple[str, Callable[[], float]]] = [
            ("memory_used_bytes", lambda: self._nvml.memory_used_bytes(device.uuid))
        ]
        if slow:
            wanted.append(("process_memory_used_bytes", lambda: self._own_memory_bytes(device)))
            wanted.append(("power_watts", lambda: self._nvml.power_watts(device.uuid)))
        share = self._ask("gpu_util_ratio", lambda: self._utilization(now_s, gaps), unavailable)
        if share is not None and share.times_s:
            readings.append(share)
        for metric, ask in wanted:
            value = self._ask(metric, ask, unavailable)
            if value is not None:
                readings.append(Readings(self._series(metric), (now_s,), (value,)))
        return Batch(tuple(readings), tuple(unavailable), tuple(gaps))

    def close(self) -> None:
        """Let go of the library; may be called twice."""
        self._nvml.close()
        self._device = None
        if self._tree is not None:
            self._tree.close()
            self._tree = None

    def _inspect(self) -> SourceInfo:
        found = self._nvml.devices()
        device = choose(found, self._options.device, self._options.environ)
        if device is None:
            raise SourceUnavailable(
                "no GPU is visible to this process",
                "CUDA_VISIBLE_DEVICES hides them all" if found else "the driver sees none",
                "no_device",
            )
        self._device = device
        self._tree = ProcessTree()
        self._missing.clear()
        self._off.clear()
        self._probe_buffer(device)
        notes = []
        if device.assumed:
            notes.append(
                f"assumed GPU {device.index}: CUDA's order is not known on mixed machines; "
                "name it by --device UUID"
            )
        if not self._buffered:
            notes.append("no driver sample buffer: utilization is polled")
        share, memory = self._series("gpu_util_ratio"), self._series("memory_used_bytes")
        own = self._series("process_memory_used_bytes")
        return SourceInfo(
            source="nvml",
            devices=(device,),
            series=(
                share,
                memory,
                own,
                self._series("power_watts"),
            ),
            share=share,
            memory=memory,
            process_memory=own,
            period_s=self._period_s,
            buffer_s=self._depth_s if self._buffered else None,
            versions=(("driver", self._nvml.driver_version()),),
            notes=tuple(notes),
        )

    def _probe_buffer(self, device: Device) -> None:
        """See whether there is a sample buffer, how deep it is and how often it is new."""
        try:
            samples = self._nvml.utilization_samples(device.uuid, 0)
            self._buffered = True
        except NvmlError as error:
            if not error.permanent:
                raise
            self._buffered, samples = False, []
            self._period_s = self._options.interval_s or POLL_S
            self._nvml.utilization_percent(device.uuid)  # neither of the two: no source
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
        device = self._device
        assert device is not None  # noqa: S101 - `read` has checked
        series = self._series("gpu_util_ratio")
        if not self._buffered:
            return Readings(
                series, (now_s,), (_ratio(self._nvml.utilization_percent(device.uuid)),)
            )
        samples = self._nvml.utilization_samples(device.uuid, self._since_us)
        if not samples:
            # A buffer that runs dry while the device idles must not look like a dead sampler. The
            # stamp is left alone, since this reading is not the buffer's.
            if now_s - self._last_s < max(1.0, 3.0 * self._period_s):
                return Readings(series, (), ())
            self._last_s = now_s
            return Readings(
                series, (now_s,), (_ratio(self._nvml.utilization_percent(device.uuid)),)
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

    def _own_memory_bytes(self, device: Device) -> float:
        """Return the device memory of this process tree; NaN while it has none there."""
        tree = self._tree
        assert tree is not None  # noqa: S101 - opened
        tree.walk(self._clock.monotonic_s())
        listed = self._nvml.process_memory_bytes(device.uuid)
        own = [listed[pid] for pid in tree.pids() if pid in listed]
        known = [one for one in own if one is not None]
        return math.fsum(known) if known else math.nan

    def _ask(
        self, metric: str, ask: Callable[[], _Value], unavailable: list[Unavailable]
    ) -> _Value | None:
        """Ask for one metric; a failure costs this metric this time, and is told once.

        Raises:
            SourceLost: Device or driver are gone.
        """
        if metric in self._off:
            return None
        try:
            value = ask()
        except NvmlError as error:
            if error.gone:
                raise translated(error, was_open=True) from error
            if error.permanent:
                self._off.add(metric)
            if self._missing.get(metric) != error.reason:
                self._missing[metric] = error.reason
                unavailable.append(Unavailable(self._series(metric), error.reason, str(error)))
            return None
        self._missing.pop(metric, None)
        return value

    def _series(self, metric: str) -> Series:
        assert self._device is not None  # noqa: S101 - opened
        return Series(metric, self._device.uuid)


def _ratio(percent: float) -> float:
    """Return 0..1; what is above 100 is one of the driver's blank values, so NaN."""
    return percent / FULL_PERCENT if 0.0 <= percent <= FULL_PERCENT else math.nan
