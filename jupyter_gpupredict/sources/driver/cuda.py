"""The door to libcuda, by ctypes: whether this process has initialised CUDA, and with what.

Nothing here loads or initialises CUDA: a process becomes an MPS client, or not, when it does so
itself, and its limits are fixed from then on (MPS documentation).
"""

from __future__ import annotations

import ctypes
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_INITIALIZED, _DEINITIALIZED = 3, 4
"""CUDA_ERROR_NOT_INITIALIZED, ..._DEINITIALIZED."""
_MULTIPROCESSOR_COUNT, _CAPABILITY = 16, (75, 76)
"""CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, ..._COMPUTE_CAPABILITY_MAJOR and _MINOR."""
_UVM = "/dev/nvidia-uvm"


def initialised_because() -> str:
    """Return what shows that CUDA is initialised in this process; empty when it is not.

    An unclear answer counts as initialised: asking too late for MPS would go unnoticed.
    Source: cuCtxGetCurrent of the library that is already loaded, /proc/self/maps, /proc/self/fd.
    """
    library = _loaded()
    if library is not None:
        context = ctypes.c_void_p()
        code = int(library.cuCtxGetCurrent(ctypes.byref(context)))
        if code == _DEINITIALIZED:
            return "CUDA is shutting down in this process"
        if code != _NOT_INITIALIZED:
            return "cuCtxGetCurrent answers" if code == 0 else f"cuCtxGetCurrent returns {code}"
    return f"{_UVM} is open" if _holds_open(_UVM) else ""


def visible_sm_count() -> int | None:
    """Return the SMs that this process may use; None while CUDA is not initialised here.

    Under MPS this is the number after its limits (MPS documentation, active thread percentage).
    Source: cuDeviceGetAttribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) of the first device.
    """
    return _attribute(_MULTIPROCESSOR_COUNT)


def compute_capability() -> tuple[int, int] | None:
    """Return that of the first device; None while CUDA is not initialised here.

    Source: cuDeviceGetAttribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, ..._MINOR).
    """
    major, minor = map(_attribute, _CAPABILITY)
    return None if major is None else (major, minor or 0)


def supported_version() -> tuple[int, int] | None:
    """Return the newest CUDA version that the driver supports; None where none is loaded here.

    Source: cuDriverGetVersion, 1000 * major + 10 * minor.
    """
    library, version = _loaded(), ctypes.c_int()
    if library is None or library.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def _attribute(number: int) -> int | None:
    """Return a positive attribute of the first device; None where it is 0 or not given."""
    library = _loaded()
    if library is None:
        return None
    device, value = ctypes.c_int(), ctypes.c_int()
    if library.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return None
    asked = library.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return value.value if asked == 0 and value.value > 0 else None


def first_uuid() -> str:
    """Return the UUID of the device that CUDA numbers 0 here, without `GPU-` or `MIG-`.

    Empty while CUDA is not initialised here, and with drivers that do not say.
    Source: cuDeviceGetUuid_v2, which gives that of a MIG instance where one is used.
    """
    library = _loaded()
    ask = getattr(library, "cuDeviceGetUuid_v2", None)
    device, found = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    if library is None or ask is None or library.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return ""
    return str(uuid.UUID(bytes=bytes(found))) if ask(ctypes.byref(found), device) == 0 else ""


def _loaded() -> ctypes.CDLL | None:
    try:
        maps = Path("/proc/self/maps").read_text(errors="surrogateescape")
    except OSError:
        return None  # not Linux: no MPS either
    for path in driver_libraries(maps):
        try:
            return ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        except OSError:
            continue  # replaced on disk; the process's descriptors tell
    return None


def driver_libraries(maps: str) -> Iterator[str]:
    """Yield the paths of CUDA's driver library in a process's memory map, as they are written.

    The runtime and the libraries above it have other names: libcudart, libcudnn.
    Source: /proc/PID/maps, proc(5).
    """
    for line in maps.splitlines():
        path = line.split(maxsplit=5)[5] if line.count("/") else ""
        if Path(path.removesuffix(" (deleted)")).name.startswith("libcuda.so"):
            yield path


def _holds_open(device: str) -> bool:
    for descriptor in Path("/proc/self/fd").glob("*"):
        try:
            if str(descriptor.readlink()) == device:
                return True
        except OSError:
            continue  # closed meanwhile
    return False
