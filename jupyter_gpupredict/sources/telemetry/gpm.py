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
    Share,
    SourceInfo,
    SourceOptions,
    Unavailable,
)
from jupyter_gpupredict.sources.driver import gpm
from jupyter_gpupredict.sources.driver.gpm import Gpm
from jupyter_gpupredict.sources.driver.tenants import OWN_MEMORY
from jupyter_gpupredict.sources.driver.watch import BESIDE, MEMORY, DeviceWatch, Watch, opening

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
BREADTH, DUTY = "breadth_ratio", "gr_active_ratio"


class GpmSource:
    """Devices of compute capability 9.0 or later, or MIG instances of such."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._period_s = max(options.interval_s or PERIOD_S, 2 * gpm.MIN_APART_S)
        self._clock = clock
        self._watch = Watch(options, clock)
        self._gpms: list[Gpm] = []
        self._taken_s = 0.0

    def open(self) -> SourceInfo:
        """Find the devices and take the first snapshots.

        Raises:
            SourceUnavailable: No driver, no device, or no GPM on it.
            PermissionDenied: This user may not read it.
            InvalidOption: `--device` names one that is not there.
        """
        return opening(self._inspect, self.close)

    def read(self, *, slow: bool) -> Batch:
        """Return activity since the last call, memory now, and in slow reads processes and power.

        Raises:
            SourceLost: Device or driver are gone.
        """
        return self._watch.paced(self._read, slow=slow)

    def close(self) -> None:
        """Free the snapshots and let go of the library; may be called twice."""
        while self._gpms:
            self._gpms.pop().close()
        self._watch.close()

    def _read(self, slow: bool) -> Batch:
        watch = self._watch
        now_s = self._clock.monotonic_s()
        unavailable: list[Unavailable] = []
        readings: list[Readings] = []
        if now_s - self._taken_s > gpm.MIN_APART_S:
            for one, sampler in zip(watch.devices, self._gpms, strict=True):
                if readings and watch.pressed():
                    break
                found = one.ask(BREADTH, sampler.read, unavailable)
                if found is not None:
                    self._taken_s = now_s
                    readings += _activity(one, found, now_s)
        return watch.complete(Batch(tuple(readings), tuple(unavailable)), slow=slow)

    def _inspect(self) -> SourceInfo:
        watch = self._watch
        watch.open()
        for one in watch.devices:
            sampler = Gpm(watch.nvml, one.device.uuid, tuple(METRICS))
            self._gpms.append(sampler)
            sampler.open()
        self._taken_s = self._clock.monotonic_s()
        shares = [share for one in watch.devices for share in _shares(one)]
        names = (BREADTH, *METRICS.values(), *BESIDE)
        return SourceInfo(
            source="gpm",
            devices=tuple(one.device for one in watch.devices),
            series=tuple(one.series(name) for one in watch.devices for name in names),
            share=shares[0].series,
            duty=shares[0].duty,
            memory=shares[0].memory,
            process_memory=shares[0].process_memory,
            also=tuple(shares[1:]),
            period_s=self._period_s,
            versions=(("driver", watch.nvml.driver_version()),),
            notes=watch.notes(),
        )


def _shares(one: DeviceWatch) -> tuple[Share, Share]:
    """Return the SM share of a device, and beside it the share of the time."""
    duty, memory, own = (one.series(name) for name in (DUTY, MEMORY, OWN_MEMORY))
    return Share(one.series(BREADTH), duty, memory, own), Share(duty, None, memory, own)


def _activity(one: DeviceWatch, found: dict[int, float], now_s: float) -> list[Readings]:
    ratios = {name: found[metric] for metric, name in METRICS.items()}
    ratios[BREADTH] = breadth_ratio(ratios["sm_active_ratio"], ratios[DUTY])
    return [Readings(one.series(name), (now_s,), (ratio,)) for name, ratio in ratios.items()]
