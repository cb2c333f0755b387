"""SM activity through GPM: how wide the running kernels are, apart from how long they run.

`breadth_ratio` is SM activity over engine activity: the share of the SMs that a running kernel
occupies, which is what an MPS percentage caps. It is defined where the engine was busy; the share
of the time that was busy is `gr_active_ratio`, a time share, which is predicted beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.metrics import breadth_ratio
from jupyter_gpupredict.core.series import (
    Batch,
    Readings,
    SourceInfo,
    SourceOptions,
    Unavailable,
)
from jupyter_gpupredict.driver import gpm
from jupyter_gpupredict.driver.gpm import Gpm
from jupyter_gpupredict.driver.nvml import NvmlError, translated
from jupyter_gpupredict.driver.watch import MEMORY, OWN_MEMORY, POWER, DeviceWatch

if TYPE_CHECKING:
    from jupyter_gpupredict.core.clock import Clock

PERIOD_S = 0.5
METRICS = {
    gpm.ENGINE: "gr_active_ratio",
    gpm.SM: "sm_active_ratio",
    gpm.OCCUPANCY: "sm_occupancy_ratio",
    gpm.TENSOR: "tensor_active_ratio",
    gpm.DRAM: "dram_active_ratio",
}
BREADTH = "breadth_ratio"


class GpmSource:
    """One device of compute capability 9.0 or later."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._period_s = max(options.interval_s or PERIOD_S, 2 * gpm.MIN_APART_S)
        self._clock = clock
        self._watch = DeviceWatch(options, clock)
        self._gpm: Gpm | None = None
        self._taken_s = 0.0

    def open(self) -> SourceInfo:
        """Find the device and take the first snapshot.

        Raises:
            SourceUnavailable: No driver, no device, or no GPM on it.
            PermissionDenied: This user may not read it.
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
        """Return activity since the last call, memory now, and in slow reads processes and power.

        Raises:
            SourceLost: Device or driver are gone.
        """
        watch, sampler = self._watch, self._gpm
        if sampler is None:
            return Batch()
        now_s = self._clock.monotonic_s()
        unavailable: list[Unavailable] = []
        readings: list[Readings] = []
        if now_s - self._taken_s > gpm.MIN_APART_S:
            found = watch.ask(BREADTH, sampler.read, unavailable)
            if found is not None:
                self._taken_s = now_s
                readings += self._activity(found, now_s)
        readings += watch.beside(now_s, unavailable, slow=slow)
        return Batch(tuple(readings), tuple(unavailable))

    def close(self) -> None:
        """Free the snapshots and let go of the library; may be called twice."""
        if self._gpm is not None:
            self._gpm.close()
            self._gpm = None
        self._watch.close()

    def _activity(self, found: dict[int, float], now_s: float) -> list[Readings]:
        watch = self._watch
        ratios = {name: found[metric] for metric, name in METRICS.items()}
        ratios[BREADTH] = breadth_ratio(ratios["sm_active_ratio"], ratios["gr_active_ratio"])
        return [Readings(watch.series(name), (now_s,), (r,)) for name, r in ratios.items()]

    def _inspect(self) -> SourceInfo:
        watch = self._watch
        device = watch.open()
        self._gpm = Gpm(watch.nvml, device.uuid, tuple(METRICS))
        self._gpm.open()
        self._taken_s = self._clock.monotonic_s()
        share, duty, own = (watch.series(n) for n in (BREADTH, "gr_active_ratio", OWN_MEMORY))
        memory = watch.series(MEMORY)
        beside = (memory, own, watch.series(POWER))
        return SourceInfo(
            source="gpm",
            devices=(device,),
            series=(share, *(watch.series(name) for name in METRICS.values()), *beside),
            share=share,
            memory=memory,
            period_s=self._period_s,
            duty=duty,
            also=(duty,),
            process_memory=own,
            versions=(("driver", watch.nvml.driver_version()),),
            notes=watch.notes(),
        )
