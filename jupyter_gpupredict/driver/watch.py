"""One device under watch: chosen, asked metric by metric, its failures kept apart by reason.

What the sources that read the driver share: memory, processes and power beside each source's own
share of the device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from jupyter_gpupredict.core.devices import choose
from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.core.series import Device, Readings, Series, SourceOptions, Unavailable
from jupyter_gpupredict.driver.nvml import Nvml, NvmlError, translated
from jupyter_gpupredict.driver.processes import ProcessTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.clock import Clock

_Value = TypeVar("_Value")
MEMORY, OWN_MEMORY, POWER = "memory_used_bytes", "process_memory_used_bytes", "power_watts"


class DeviceWatch:
    """The device that the options name, with what it does not give."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self.nvml = Nvml()
        self._tree: ProcessTree | None = None
        self._device: Device | None = None
        self._missing: dict[str, str] = {}
        self._off: set[str] = set()
        """Metrics that this device does not give; never asked again."""

    @property
    def opened(self) -> bool:
        """Whether there is a device to ask."""
        return self._device is not None

    @property
    def device(self) -> Device:
        """The device; only while opened."""
        assert self._device is not None  # noqa: S101 - callers have opened
        return self._device

    def open(self) -> Device:
        """Initialise the library and find the device.

        Raises:
            SourceUnavailable: No driver or no device.
            InvalidOption: `--device` names none of the devices.
            NvmlError: The library fails in between.
        """
        self.nvml.open()
        found = self.nvml.devices()
        device = choose(found, self._options.device, self._options.environ)
        if device is None:
            raise SourceUnavailable(
                "no GPU is visible to this process",
                "CUDA_VISIBLE_DEVICES hides them all" if found else "the driver sees none",
                "no_device",
            )
        self._device = device
        self._tree = ProcessTree(self._options.root_pid)
        self._missing.clear()
        self._off.clear()
        return device

    def close(self) -> None:
        """Let go of the library; may be called twice."""
        self.nvml.close()
        self._device = None
        if self._tree is not None:
            self._tree.close()
            self._tree = None

    def series(self, metric: str) -> Series:
        """Return the series of a metric of this device."""
        return Series(metric, self.device.uuid)

    def notes(self) -> tuple[str, ...]:
        """Return sentences for the user about which device this is."""
        if not self.device.assumed:
            return ()
        return (
            f"assumed GPU {self.device.index}: CUDA's order is not known on mixed machines; "
            "name it by --device UUID",
        )

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
            if self._missing.get(metric) != error.reason:
                self._missing[metric] = error.reason
                unavailable.append(Unavailable(self.series(metric), error.reason, str(error)))
            return None
        self._missing.pop(metric, None)
        return value

    def beside(self, now_s: float, unavailable: list[Unavailable], *, slow: bool) -> list[Readings]:
        """Return memory now, and in slow reads the processes' memory and power.

        Raises:
            SourceLost: Device or driver are gone.
        """
        uuid = self.device.uuid
        wanted: list[tuple[str, Callable[[], float]]] = [
            (MEMORY, lambda: self.nvml.memory_used_bytes(uuid))
        ]
        if slow:
            wanted.append((OWN_MEMORY, self._own_memory_bytes))
            wanted.append((POWER, lambda: self.nvml.power_watts(uuid)))
        readings = []
        for metric, ask in wanted:
            value = self.ask(metric, ask, unavailable)
            if value is not None:
                readings.append(Readings(self.series(metric), (now_s,), (value,)))
        return readings

    def _own_memory_bytes(self) -> float:
        """Return the device memory of this process tree; NaN while it has none there."""
        tree = self._tree
        assert tree is not None  # noqa: S101 - opened
        tree.walk(self._clock.monotonic_s())
        listed = self.nvml.process_memory_bytes(self.device.uuid)
        own = [listed[pid] for pid in tree.pids() if pid in listed]
        known = [one for one in own if one is not None]
        return math.fsum(known) if known else math.nan
