"""The devices that the driver lists: GPUs, and in place of a GPU cut by MIG its instances.

Source: NVML's device and MIG queries. On a GPU in MIG mode CUDA offers the instances only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_gpupredict.core.devices import DeviceNow, DeviceTable, ProcessNow, is_mig
from jupyter_gpupredict.core.series import Device
from jupyter_gpupredict.sources.driver.nvml import (
    DEVICE_LOST,
    NO_PERMISSION,
    UNANSWERED,
    Nvml,
    NvmlError,
    translated,
)
from jupyter_gpupredict.sources.driver.processes import process_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Value = TypeVar("_Value")


def devices(nvml: Nvml) -> tuple[Device, ...]:
    """Return all devices in the driver's order; those that cannot be opened are left out.

    Raises `NvmlError` where not even their number is given, or the driver is lost.
    """
    found: list[Device] = []
    for index in range(int(nvml.call("nvmlDeviceGetCount"))):
        try:
            handle = nvml.call("nvmlDeviceGetHandleByIndex", index)
            cut = _is_cut(nvml, handle)
            instances = [] if cut is False else list(_instances(nvml, handle, index))
            found += instances if cut or instances else [_device(nvml, handle, index)]
        except NvmlError as error:
            if error.code == UNANSWERED or (error.gone and error.code != DEVICE_LOST):
                raise
    return tuple(found)


def capabilities(nvml: Nvml) -> list[tuple[int, int]]:
    """Return the compute capability of each device that tells it; errors as `devices`."""
    devices(nvml)
    of = (
        _or_none(nvml, "nvmlDeviceGetCudaComputeCapability", one) for one in nvml.handles.values()
    )
    return [(int(found[0]), int(found[1])) for found in of if found is not None]


def _is_cut(nvml: Nvml, handle: Any) -> bool | None:
    """Return whether the GPU is in MIG mode; None where this user may not ask.

    In a container that was given an instance, the GPU itself can be refused.
    """
    try:
        return int(nvml.call("nvmlDeviceGetMigMode", handle)[0]) == 1
    except NvmlError as error:
        return None if error.code == NO_PERMISSION else False


def _instances(nvml: Nvml, parent: Any, index: int) -> Iterator[Device]:
    """Yield a GPU's MIG instances; their numbers may have holes."""
    for slot in range(int(_or_none(nvml, "nvmlDeviceGetMaxMigDeviceCount", parent) or 0)):
        try:
            handle = nvml.call("nvmlDeviceGetMigDeviceHandleByIndex", parent, slot)
            yield _device(nvml, handle, index)
        except NvmlError as error:
            if error.gone:
                raise


def _device(nvml: Nvml, handle: Any, index: int) -> Device:
    uuid = str(nvml.call("nvmlDeviceGetUUID", handle))
    name = str(nvml.call("nvmlDeviceGetName", handle))
    nvml.handles[uuid] = handle
    try:
        memory = int(nvml.memory(uuid).total)
    except NvmlError:
        memory = None
    count = _instance_sms if is_mig(uuid) else _gpu_sms
    return Device(uuid, name, index, memory, count(nvml, handle))


def _gpu_sms(nvml: Nvml, handle: Any) -> int | None:
    """Return the number of SMs: cores over cores an SM; None where that is not known.

    Source: nvmlDeviceGetNumGpuCores; cores an SM by compute capability, CUDA programming guide.
    """
    capability = _or_none(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
    cores = _or_none(nvml, "nvmlDeviceGetNumGpuCores", handle)
    if capability is None or not cores:
        return None
    major, minor = capability
    each = 64 if major == 7 or (major, minor) == (8, 0) else 128 if major >= 8 else None
    return None if each is None else int(cores) // each


def _instance_sms(nvml: Nvml, handle: Any) -> int | None:
    attributes = _or_none(nvml, "nvmlDeviceGetAttributes", handle)
    return None if attributes is None else int(attributes.multiprocessorCount) or None


def _or_none(nvml: Nvml, name: str, handle: Any) -> Any:
    try:
        return nvml.call(name, handle)
    except NvmlError:
        return None


class NvmlWatch:
    """Reads every device once a call; a number that is not given leaves the others."""

    def __init__(self, limit_s: float | None = None) -> None:
        self._limit_s = limit_s
        """As `SourceOptions.limit_s`."""
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
            found = tuple(self._device(nvml, one) for one in self._devices)
            return DeviceTable(found, self._driver_version)
        except NvmlError as error:
            self.close()
            raise translated(error, was_open=was_open) from error

    def close(self) -> None:
        """Close the library; may be called twice."""
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            nvml.close()

    def _open(self) -> Nvml:
        if self._nvml is None:
            nvml = Nvml(self._limit_s)
            nvml.open()
            self._nvml = nvml
            self._off.clear()
            self._devices = devices(nvml)
            self._driver_version = nvml.driver_version()
        return self._nvml

    def _device(self, nvml: Nvml, device: Device) -> DeviceNow:
        uuid, missing = device.uuid, dict[str, str]()

        def ask(number: str, call: Callable[[str], _Value]) -> _Value | None:
            if (uuid, number) in self._off:
                missing[number] = self._off[uuid, number]
                return None
            try:
                return call(uuid)
            except NvmlError as error:
                if error.gone:
                    raise
                missing[number] = error.reason
                if error.permanent:
                    self._off[uuid, number] = error.reason
                return None

        used = ask("utilization_ratio", nvml.utilization_percent)
        memory = ask("memory_used_bytes", nvml.memory_used_bytes)
        power = ask("power_watts", nvml.power_watts)
        listed = ask("processes", nvml.process_memory_bytes)
        through_mps = ask("mps_clients", nvml.mps_pids)
        if used is not None and not 0.0 <= used <= 100.0:  # one of the driver's blank values
            missing["utilization_ratio"], used = "no_data_yet", None
        if device.memory_total_bytes is None:
            missing["memory_total_bytes"] = "not_supported"
        clients = through_mps or frozenset()
        every = sorted({**dict.fromkeys(clients), **(listed or {})}.items())
        processes = tuple(ProcessNow(p, process_name(p), size, p in clients) for p, size in every)
        return DeviceNow(
            uuid=uuid,
            name=device.name,
            index=device.index or 0,
            utilization_ratio=None if used is None else used / 100.0,
            memory_used_bytes=memory,
            memory_total_bytes=device.memory_total_bytes,
            power_watts=power,
            processes=None if listed is None else processes,
            mps_clients=None if through_mps is None else len(through_mps),
            reasons=missing,
        )
