"""All GPUs that the driver library sees, and the processes on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from jupyter_gpupredict.core.devices import DeviceNow, DeviceTable, ProcessNow
from jupyter_gpupredict.sources.driver import inventory
from jupyter_gpupredict.sources.driver.nvml import Nvml, NvmlError, translated
from jupyter_gpupredict.sources.driver.processes import process_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.series import Device

_Value = TypeVar("_Value")


class NvmlWatch:
    """Reads every device once a call; a number that cannot be had costs that number alone."""

    def __init__(self, limit_s: float | None = None) -> None:
        """Take how long the driver may take: see `SourceOptions.limit_s`."""
        self._limit_s = limit_s
        self._nvml: Nvml | None = None
        self._devices: tuple[Device, ...] = ()
        self._driver_version = ""
        self._off: dict[tuple[str, str], str] = {}
        """(device, number) -> reason, for what a device does not give: not asked again."""

    def read(self) -> DeviceTable:
        """Return every device as it is now.

        Raises:
            SourceUnavailable: There is no driver.
            SourceLost: Driver or device are gone; the next call opens them again.
        """
        was_open = self._nvml is not None
        try:
            nvml = self._open()
            return DeviceTable(
                tuple(self._device(nvml, one) for one in self._devices), self._driver_version
            )
        except NvmlError as error:
            self.close()
            raise translated(error, was_open=was_open) from error

    def close(self) -> None:
        """Let go of the library; may be called twice."""
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            nvml.close()

    def _open(self) -> Nvml:
        if self._nvml is None:
            nvml = Nvml(self._limit_s)
            nvml.open()
            self._nvml = nvml
            self._off.clear()
            self._devices = inventory.devices(nvml)
            self._driver_version = nvml.driver_version()
        return self._nvml

    def _device(self, nvml: Nvml, device: Device) -> DeviceNow:
        uuid, missing = device.uuid, dict[str, str]()

        def ask(number: str, call: Callable[[], _Value]) -> _Value | None:
            known = self._off.get((uuid, number))
            if known is not None:
                missing[number] = known
                return None
            try:
                return call()
            except NvmlError as error:
                if error.gone:
                    raise
                missing[number] = error.reason
                if error.permanent:
                    self._off[uuid, number] = error.reason
                return None

        used = ask("utilization_ratio", lambda: nvml.utilization_percent(uuid))
        memory = ask("memory_used_bytes", lambda: nvml.memory_used_bytes(uuid))
        power = ask("power_watts", lambda: nvml.power_watts(uuid))
        listed = ask("processes", lambda: nvml.process_memory_bytes(uuid))
        through_mps = ask("mps_clients", lambda: nvml.mps_pids(uuid))
        if used is not None and not 0.0 <= used <= 100.0:  # one of the driver's blank values
            missing["utilization_ratio"], used = "no_data_yet", None
        if device.memory_total_bytes is None:
            missing["memory_total_bytes"] = "not_supported"
        clients = through_mps or frozenset()
        processes = None
        if listed is not None:
            every = {**dict.fromkeys(clients), **listed}
            processes = tuple(
                ProcessNow(pid, process_name(pid), size, pid in clients)
                for pid, size in sorted(every.items())
            )
        return DeviceNow(
            uuid=uuid,
            name=device.name,
            index=device.index or 0,
            utilization_ratio=None if used is None else used / 100.0,
            memory_used_bytes=memory,
            memory_total_bytes=device.memory_total_bytes,
            power_watts=power,
            processes=processes,
            mps_clients=None if through_mps is None else len(through_mps),
            reasons=missing,
        )
