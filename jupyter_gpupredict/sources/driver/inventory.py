"""The devices that the driver lists: GPUs, and in place of a GPU cut by MIG its instances.

Source: NVML's device and MIG queries. On a GPU in MIG mode CUDA offers the instances only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_gpupredict.core.devices import is_mig
from jupyter_gpupredict.core.series import Device
from jupyter_gpupredict.sources.driver.nvml import DEVICE_LOST, NO_PERMISSION, UNANSWERED, NvmlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_gpupredict.sources.driver.nvml import Nvml

_Value = TypeVar("_Value")


def devices(nvml: Nvml) -> tuple[Device, ...]:
    """Return all devices in the driver's order; those that cannot be opened are left out.

    Raises:
        NvmlError: Not even their number can be had, or the driver is lost.
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
    for slot in range(
        _or_none(lambda: int(nvml.call("nvmlDeviceGetMaxMigDeviceCount", parent))) or 0
    ):
        try:
            handle = nvml.call("nvmlDeviceGetMigDeviceHandleByIndex", parent, slot)
            yield _device(nvml, handle, index)
        except NvmlError as error:
            if error.gone:
                raise


def _device(nvml: Nvml, handle: Any, index: int) -> Device:
    uuid = str(nvml.call("nvmlDeviceGetUUID", handle))
    name = str(nvml.call("nvmlDeviceGetName", handle))
    nvml.keep(uuid, handle)
    memory = _or_none(lambda: int(nvml.memory(uuid).total))
    count = _instance_sms if is_mig(uuid) else _gpu_sms
    return Device(uuid, name, index, memory, count(nvml, handle))


def _gpu_sms(nvml: Nvml, handle: Any) -> int | None:
    """Return the number of SMs: cores over cores an SM; None where that is not known.

    Source: nvmlDeviceGetNumGpuCores; cores an SM by compute capability, CUDA programming guide.
    """
    capability = _or_none(lambda: nvml.call("nvmlDeviceGetCudaComputeCapability", handle))
    cores = _or_none(lambda: nvml.call("nvmlDeviceGetNumGpuCores", handle))
    if capability is None or not cores:
        return None
    major, minor = capability
    each = 64 if major == 7 or (major, minor) == (8, 0) else 128 if major >= 8 else None
    return None if each is None else int(cores) // each


def _instance_sms(nvml: Nvml, handle: Any) -> int | None:
    attributes = _or_none(lambda: nvml.call("nvmlDeviceGetAttributes", handle))
    return None if attributes is None else int(attributes.multiprocessorCount) or None


def _or_none(ask: Callable[[], _Value]) -> _Value | None:
    try:
        return ask()
    except NvmlError:
        return None
