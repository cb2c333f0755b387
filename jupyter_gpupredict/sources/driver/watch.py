"""What the sources of the driver have in common: devices, asked metric by metric, and failures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from jupyter_gpupredict.core.devices import choose, is_mig
from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.core.series import (
    Batch,
    Device,
    Gap,
    Readings,
    Series,
    Share,
    SourceInfo,
    SourceOptions,
    Unavailable,
)
from jupyter_gpupredict.sources.driver import inventory
from jupyter_gpupredict.sources.driver.nvml import Nvml, NvmlError, translated
from jupyter_gpupredict.sources.driver.processes import (
    OTHER_COUNT,
    OWN_COUNT,
    OWN_MEMORY,
    OWN_UTIL,
    DeviceProcesses,
    Family,
    ProcessTree,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jupyter_gpupredict.core.protocols import Clock

_Value = TypeVar("_Value")
MEMORY, POWER, THROTTLE = "memory_used_bytes", "power_watts", "throttle_bits"
BESIDE = (MEMORY, OWN_MEMORY, OWN_UTIL, OWN_COUNT, OTHER_COUNT, POWER, THROTTLE)
"""What is read of each device, whatever its share comes from."""
BUDGET_SHARE = 0.05
"""Of the time may go into calls of the driver."""
SAVED_S = 0.5
"""What may be put by while reads are quick."""


class Budget:
    """An account of seconds: it gains `BUDGET_SHARE` of the time, and pays for each read.

    A read costs what it took, or the one before it if that took less: a driver that drags does so
    twice, while a cell that keeps the GIL for ten seconds makes one read look as slow.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._counted_s = clock, clock.monotonic_s()
        self._saved_s, self._last_s = SAVED_S, 0.0

    def allows(self, now_s: float) -> bool:
        """Return whether the reads until now are paid for."""
        self._saved_s = min(SAVED_S, self._saved_s + BUDGET_SHARE * (now_s - self._counted_s))
        self._counted_s = now_s
        return self._saved_s >= 0.0

    def pay(self, from_s: float) -> None:
        """Pay for a read that has just ended."""
        took_s = self._clock.monotonic_s() - from_s
        self._saved_s -= min(took_s, self._last_s)
        self._last_s = took_s


class DriverSource:
    """The library and the devices that the options name; a source adds what it reads as a share."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._nvml = Nvml(options.limit_s)
        self._budget = Budget(clock)
        self._slow_due = False
        self._enough_s = math.inf
        """A read that began with twice as much left asks for no more once this is all."""
        self._family: Family | None = None
        self._devices: tuple[WatchedDevice, ...] = ()
        """Empty while closed."""
        self._lacks: list[Unavailable] = []
        """What the devices did not give since the last batch."""

    def open(self) -> SourceInfo:
        """Find the devices and see what they give.

        Raises:
            SourceUnavailable: No driver, no device, or one that does not give the share.
            PermissionDenied: This user may not read it.
            InvalidOption: `--device` names one that is not there.
        """
        self.close()
        try:
            self._nvml.open()
            found = inventory.devices(self._nvml)
            chosen = choose(found, self._options.device, self._options.environ)
            if not chosen:
                hint = "CUDA_VISIBLE_DEVICES hides them all" if found else "the driver sees none"
                raise SourceUnavailable("no GPU is visible to this process", hint, "no_device")
            self._family = Family(self._options.root_pid, self._options.peers)
            given = self._nvml, self._pressed, self._lacks
            self._devices = tuple(WatchedDevice(device, *given) for device in chosen)
            return self._inspect()
        except Exception as error:
            self.close()
            if isinstance(error, NvmlError):
                raise translated(error, was_open=False) from error
            raise

    def read(self, *, slow: bool) -> Batch:
        """Return the shares since the last call, memory now, and in slow reads processes and power.

        It is nothing while the reads before are still to be paid for. The first is free, and so is
        the last, which shows how the run ended. Raises `SourceLost` where device or driver is gone.
        """
        now_s = self._clock.monotonic_s()
        self._slow_due = self._slow_due or slow
        left_s, allowed = self._options.left_s(), self._budget.allows(now_s)
        if not self._devices or not (allowed or left_s < math.inf):
            return Batch()
        self._enough_s = left_s / 2.0
        slow, self._slow_due = self._slow_due, False
        try:
            return self._read(slow)
        finally:
            self._budget.pay(now_s)

    def close(self) -> None:
        """Close the library; may be called twice."""
        self._nvml.close()
        self._devices = ()
        self._lacks.clear()
        if self._family is not None:
            self._family.close()
            self._family = None

    def _inspect(self) -> SourceInfo:
        """Return what the devices give, once they are found; ends in `_info`."""
        raise NotImplementedError

    def _shares(self, now_s: float) -> tuple[list[Readings], list[Gap]]:
        """Return the readings of the shares since the last call, and what was lost of them."""
        raise NotImplementedError

    def _info(
        self,
        source: str,
        metrics: Iterable[str],
        shares: Iterable[Share],
        period_s: float,
        *,
        buffer_s: float | None = None,
        notes: Iterable[str] = (),
    ) -> SourceInfo:
        main, *also = shares
        devices, names = self._devices, (*metrics, *BESIDE)
        assumed = (
            f"assumed GPU {one.device.index}: CUDA's order is not known on mixed machines; "
            "name it by --device UUID"
            for one in devices
            if one.device.assumed
        )
        return SourceInfo(
            source=source,
            devices=tuple(one.device for one in devices),
            series=tuple(one.series(name) for one in devices for name in names),
            share=main.series,
            duty=main.duty,
            memory=main.memory,
            process_memory=main.process_memory,
            also=tuple(also),
            period_s=period_s,
            buffer_s=buffer_s,
            versions=(("driver", self._nvml.driver_version()),),
            notes=(*assumed, *notes),
        )

    def _read(self, slow: bool) -> Batch:
        """Return the shares of the devices with what is read beside them.

        What is there is handed over before the slow metrics are asked for, so that a driver that
        drags or hangs there costs those alone.
        """
        readings, gaps = self._shares(self._clock.monotonic_s())
        now_s, family, hand_over = self._clock.monotonic_s(), self._family, self._options.hand_over
        assert family is not None  # noqa: S101 - opened
        for one in self._devices:
            readings += one.memory(now_s)
        if slow:
            if hand_over is not None:
                hand_over(self._batch(readings, gaps))
                readings, gaps = [], []
            trees = family.trees()
            for one in self._devices:
                readings += one.slow(now_s, trees)
        return self._batch(readings, gaps)

    def _batch(self, readings: list[Readings], gaps: list[Gap]) -> Batch:
        lacks = tuple(self._lacks)
        self._lacks.clear()
        return Batch(tuple(readings), lacks, tuple(gaps))

    def _pressed(self) -> bool:
        """Return whether the run ends, and what is asked now may come too late."""
        return self._options.left_s() < self._enough_s


class WatchedDevice:
    """One device; what it does not give is appended to `lacks`."""

    def __init__(
        self, device: Device, nvml: Nvml, pressed: Callable[[], bool], lacks: list[Unavailable]
    ) -> None:
        self.device = device
        self._nvml, self._pressed, self._lacks = nvml, pressed, lacks
        self._processes = DeviceProcesses(nvml, device.uuid)
        self._missing: dict[str, str] = {}
        """Metric -> why there is no reading, as last reported."""
        self._off: set[str] = set()
        """Metrics that this device does not give; never asked again."""
        self._series: dict[str, Series] = {}

    def series(self, metric: str) -> Series:
        """Return the series of a metric of this device; the same object each time."""
        return self._series.setdefault(metric, Series(metric, self.device.uuid))

    def share(self, metric: str, duty: Series | None = None) -> Share:
        """Return a metric as a share, with the memory of the device and of our processes."""
        return Share(self.series(metric), duty, self.series(MEMORY), self.series(OWN_MEMORY))

    def ask(self, metric: str, ask: Callable[[], _Value]) -> _Value | None:
        """Ask for a metric; a failure is reported once; `SourceLost` if the device is gone."""
        if metric in self._off:
            return None
        try:
            value = ask()
        except NvmlError as error:
            if error.gone:
                raise translated(error, was_open=True) from error
            if error.permanent:
                self._off.add(metric)
            # an instance of a cut GPU lacks things that the whole GPU has
            cut = is_mig(self.device.uuid) and error.reason == "not_supported"
            self._miss(metric, "mig" if cut else error.reason, str(error))
            return None
        self._missing.pop(metric, None)
        return value

    def memory(self, now_s: float) -> list[Readings]:
        """Return the memory in use now."""
        return self._one(now_s, MEMORY, lambda: self._nvml.memory_used_bytes(self.device.uuid))

    def slow(self, now_s: float, trees: tuple[ProcessTree, ...]) -> list[Readings]:
        """Return what costs more to ask: who uses the device, its power, why it is throttled."""
        uuid, nvml, processes = self.device.uuid, self._nvml, self._processes
        if self._pressed():
            return []
        counts = self.ask(OWN_MEMORY, lambda: processes.count(trees, now_s)) or {}
        readings = [self._reading(now_s, metric, value) for metric, value in counts.items()]
        if processes.through_mps:
            why = "the driver attributes the work of MPS clients to their server"
            self._miss(OWN_UTIL, "under_mps", why)
        else:
            readings += self._one(now_s, OWN_UTIL, processes.utilization)
        readings += self._one(now_s, POWER, lambda: nvml.power_watts(uuid))
        readings += self._one(now_s, THROTTLE, lambda: float(nvml.throttle_bits(uuid)))
        return readings

    def _miss(self, metric: str, reason: str, detail: str) -> None:
        """Report once why there is no reading."""
        if self._missing.get(metric) != reason:
            self._missing[metric] = reason
            self._lacks.append(Unavailable(self.series(metric), reason, detail))

    def _one(self, now_s: float, metric: str, ask: Callable[[], float]) -> list[Readings]:
        value = None if self._pressed() else self.ask(metric, ask)
        return [] if value is None else [self._reading(now_s, metric, value)]

    def _reading(self, now_s: float, metric: str, value: float) -> Readings:
        return Readings(self.series(metric), (now_s,), (value,))
