"""The devices under watch: chosen, asked metric by metric, failures kept apart by reason.

What the sources that read the driver share: memory, processes, power and throttling beside each
source's own share of the device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from jupyter_gpupredict.core.devices import choose, is_mig
from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.core.series import (
    Batch,
    Device,
    Readings,
    Series,
    SourceOptions,
    Unavailable,
)
from jupyter_gpupredict.sources.driver import inventory
from jupyter_gpupredict.sources.driver.budget import Budget
from jupyter_gpupredict.sources.driver.nvml import Nvml, NvmlError, translated
from jupyter_gpupredict.sources.driver.processes import Family
from jupyter_gpupredict.sources.driver.tenants import (
    OTHER_COUNT,
    OWN_COUNT,
    OWN_MEMORY,
    OWN_UTIL,
    Tenants,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jupyter_gpupredict.core.clock import Clock
    from jupyter_gpupredict.core.series import SourceInfo
    from jupyter_gpupredict.sources.driver.processes import ProcessTree

_Value = TypeVar("_Value")
MEMORY, POWER, THROTTLE = "memory_used_bytes", "power_watts", "throttle_bits"
BESIDE = (MEMORY, OWN_MEMORY, OWN_UTIL, OWN_COUNT, OTHER_COUNT, POWER, THROTTLE)
"""What is read of each device, whatever its share comes from."""


def opening(inspect: Callable[[], SourceInfo], close: Callable[[], None]) -> SourceInfo:
    """Open a source anew; what cannot be opened is closed again.

    Raises:
        SourceUnavailable, PermissionDenied: A call of the library failed meanwhile.
    """
    close()
    try:
        return inspect()
    except NvmlError as error:
        close()
        raise translated(error, was_open=False) from error
    except Exception:
        close()
        raise


class Watch:
    """The library, and the devices that the options name."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self.nvml = Nvml(options.limit_s)
        self._budget = Budget(clock)
        self._slow_due = False
        self._enough_s = math.inf
        """A read that began with twice as much left asks for no more once this is all."""
        self._family: Family | None = None
        self.devices: tuple[DeviceWatch, ...] = ()
        """Empty while closed."""

    def open(self) -> None:
        """Initialise the library and find the devices.

        Raises:
            SourceUnavailable: No driver or no device.
            InvalidOption: `--device` names one that is not there.
            NvmlError: The library fails in between.
        """
        self.nvml.open()
        found = inventory.devices(self.nvml)
        chosen = choose(found, self._options.device, self._options.environ)
        if not chosen:
            raise SourceUnavailable(
                "no GPU is visible to this process",
                "CUDA_VISIBLE_DEVICES hides them all" if found else "the driver sees none",
                "no_device",
            )
        self._family = Family(self._options.root_pid, self._options.peers)
        self.devices = tuple(DeviceWatch(self.nvml, device, self.pressed) for device in chosen)

    def close(self) -> None:
        """Let go of the library; may be called twice."""
        self.nvml.close()
        self.devices = ()
        if self._family is not None:
            self._family.close()
            self._family = None

    def paced(self, read: Callable[[bool], Batch], *, slow: bool) -> Batch:
        """Return what a read brings; nothing while the ones before it are still to be paid for.

        The first is free, and so is the last, which tells how the run ended.

        Args:
            read: Takes whether the slow metrics are due, too.
            slow: Whether they have become so.
        """
        now_s = self._clock.monotonic_s()
        self._slow_due = self._slow_due or slow
        left_s, allowed = self._options.left_s(), self._budget.allows(now_s)
        if not self.devices or not (allowed or left_s < math.inf):
            return Batch()
        self._enough_s = left_s / 2.0
        slow, self._slow_due = self._slow_due, False
        try:
            return read(slow)
        finally:
            self._budget.pay(now_s)

    def notes(self) -> tuple[str, ...]:
        """Return sentences for the user about which devices these are."""
        return tuple(
            f"assumed GPU {one.device.index}: CUDA's order is not known on mixed machines; "
            "name it by --device UUID"
            for one in self.devices
            if one.device.assumed
        )

    def complete(self, shares: Batch, *, slow: bool) -> Batch:
        """Return the shares of the devices with what is read beside them.

        What is had is handed over before the slow metrics are asked for, so that a driver that
        drags or hangs there costs those alone.

        Raises:
            SourceLost: Device or driver are gone.
        """
        now_s, family, hand_over = self._clock.monotonic_s(), self._family, self._options.hand_over
        assert family is not None  # noqa: S101 - opened
        readings, unavailable = list(shares.readings), list(shares.unavailable)
        for one in self.devices:
            readings += one.quick(now_s, unavailable)
        if slow:
            if hand_over is not None:
                hand_over(Batch(tuple(readings), tuple(unavailable), shares.gaps))
                shares, readings, unavailable = Batch(), [], []
            trees = family.trees()
            for one in self.devices:
                readings += one.slow(now_s, trees, unavailable)
        return Batch(tuple(readings), tuple(unavailable), shares.gaps)

    def pressed(self) -> bool:
        """Return whether the run ends, and what is asked now may come too late."""
        return self._options.left_s() < self._enough_s


class DeviceWatch:
    """One device, with what it does not give."""

    def __init__(self, nvml: Nvml, device: Device, pressed: Callable[[], bool]) -> None:
        self.device = device
        self._nvml = nvml
        self._pressed = pressed
        self._tenants = Tenants(nvml, device.uuid)
        self._missing: dict[str, str] = {}
        self._off: set[str] = set()
        """Metrics that this device does not give; never asked again."""
        self._series: dict[str, Series] = {}

    def series(self, metric: str) -> Series:
        """Return the series of a metric of this device; the same object each time."""
        found = self._series.get(metric)
        if found is None:
            found = self._series[metric] = Series(metric, self.device.uuid)
        return found

    def ask(
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
            self._miss(metric, self._reason(error), str(error), unavailable)
            return None
        self._missing.pop(metric, None)
        return value

    def quick(self, now_s: float, unavailable: list[Unavailable]) -> list[Readings]:
        """Return the memory in use now."""
        uuid = self.device.uuid
        return self._one(now_s, MEMORY, lambda: self._nvml.memory_used_bytes(uuid), unavailable)

    def slow(
        self, now_s: float, trees: tuple[ProcessTree, ...], unavailable: list[Unavailable]
    ) -> list[Readings]:
        """Return what costs more to ask: who uses the device, its power, why it is throttled.

        Args:
            now_s: The present.
            trees: The processes that are ours.
            unavailable: Takes what cannot be had.
        """
        uuid, nvml, tenants = self.device.uuid, self._nvml, self._tenants
        if self._pressed():
            return []
        census: Mapping[str, float] = (
            self.ask(OWN_MEMORY, lambda: tenants.census(trees, now_s), unavailable) or {}
        )
        return [
            *(self._reading(now_s, metric, value) for metric, value in census.items()),
            *self._busy(now_s, unavailable),
            *self._one(now_s, POWER, lambda: nvml.power_watts(uuid), unavailable),
            *self._one(now_s, THROTTLE, lambda: float(nvml.throttle_bits(uuid)), unavailable),
        ]

    def _busy(self, now_s: float, unavailable: list[Unavailable]) -> list[Readings]:
        if self._tenants.through_mps:
            why = "the driver lays the work of MPS clients to their server"
            self._miss(OWN_UTIL, "under_mps", why, unavailable)
            return []
        return self._one(now_s, OWN_UTIL, self._tenants.utilization, unavailable)

    def _miss(self, metric: str, reason: str, detail: str, unavailable: list[Unavailable]) -> None:
        """Tell once why there is no reading."""
        if self._missing.get(metric) != reason:
            self._missing[metric] = reason
            unavailable.append(Unavailable(self.series(metric), reason, detail))

    def _one(
        self, now_s: float, metric: str, ask: Callable[[], float], unavailable: list[Unavailable]
    ) -> list[Readings]:
        value = None if self._pressed() else self.ask(metric, ask, unavailable)
        return [] if value is None else [self._reading(now_s, metric, value)]

    def _reading(self, now_s: float, metric: str, value: float) -> Readings:
        return Readings(self.series(metric), (now_s,), (value,))

    def _reason(self, error: NvmlError) -> str:
        """An instance of a cut GPU lacks things that the whole GPU has."""
        cut = is_mig(self.device.uuid)
        return "mig" if cut and error.reason == "not_supported" else error.reason
