"""NVIDIA's driver library: utilization from the driver's own buffer, with memory and power."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.devices import is_mig
from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.core.series import (
    Batch,
    Gap,
    Readings,
    Share,
    SourceInfo,
    SourceOptions,
    Unavailable,
)
from jupyter_gpupredict.sources.driver.buffer import SampleBuffer
from jupyter_gpupredict.sources.driver.tenants import OWN_MEMORY
from jupyter_gpupredict.sources.driver.watch import BESIDE, MEMORY, Watch, opening

if TYPE_CHECKING:
    from jupyter_gpupredict.core.clock import Clock

SHARE = "gpu_util_ratio"


class NvmlSource:
    """Utilization comes late and complete from the driver's buffers, with its own stamps."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._watch = Watch(options, clock)
        self._buffers: tuple[SampleBuffer, ...] = ()

    def open(self) -> SourceInfo:
        """Find the devices and see what they give.

        Raises:
            SourceUnavailable: No driver, no device, or a device gives no utilization.
            InvalidOption: `--device` names one that is not there.
        """
        return opening(self._inspect, self.close)

    def read(self, *, slow: bool) -> Batch:
        """Return what the buffers gained, memory now, and in slow reads processes and power.

        Raises:
            SourceLost: Device or driver are gone.
        """
        return self._watch.paced(self._read, slow=slow)

    def close(self) -> None:
        """Let go of the library; may be called twice."""
        self._watch.close()

    def _read(self, slow: bool) -> Batch:
        watch = self._watch
        now_s = self._clock.monotonic_s()
        readings: list[Readings] = []
        unavailable: list[Unavailable] = []
        gaps: list[Gap] = []
        for one, buffer in zip(watch.devices, self._buffers, strict=True):
            if readings and watch.pressed():
                break
            found = one.ask(SHARE, lambda buffer=buffer: buffer.read(now_s, gaps), unavailable)  # type: ignore[misc]
            if found is not None and found[0]:
                readings.append(Readings(one.series(SHARE), *found))
        return watch.complete(Batch(tuple(readings), tuple(unavailable), tuple(gaps)), slow=slow)

    def _inspect(self) -> SourceInfo:
        watch = self._watch
        watch.open()
        for one in watch.devices:
            if is_mig(one.device.uuid):
                raise SourceUnavailable(
                    "the driver gives no utilization of a MIG instance",
                    "SM activity is read there on Hopper and later: --source gpm",
                    "mig",
                )
        self._buffers = tuple(
            SampleBuffer(watch.nvml, one.device.uuid, self._clock, self._options.interval_s)
            for one in watch.devices
        )
        for buffer in self._buffers:
            buffer.open()
        notes = list(watch.notes())
        depths_s = [buffer.depth_s for buffer in self._buffers]
        held_s = [depth_s for depth_s in depths_s if depth_s is not None]
        if len(held_s) < len(depths_s):
            notes.append("no driver sample buffer: utilization is polled")
        main, *also = (
            Share(
                one.series(SHARE),
                memory=one.series(MEMORY),
                process_memory=one.series(OWN_MEMORY),
            )
            for one in watch.devices
        )
        return SourceInfo(
            source="nvml",
            devices=tuple(one.device for one in watch.devices),
            series=tuple(one.series(name) for one in watch.devices for name in (SHARE, *BESIDE)),
            share=main.series,
            memory=main.memory,
            process_memory=main.process_memory,
            also=tuple(also),
            period_s=max(buffer.period_s for buffer in self._buffers),
            buffer_s=min(held_s) if len(held_s) == len(depths_s) else None,
            versions=(("driver", watch.nvml.driver_version()),),
            notes=tuple(notes),
        )
