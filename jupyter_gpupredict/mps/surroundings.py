"""Daemons and processes that are not ours: judged by their files and by NVML, never spoken to."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.devices import choose, visible
from jupyter_gpupredict.core.errors import (
    ForeignDaemon,
    InvalidOption,
    MpsError,
    SourceUnavailable,
    TelemetryError,
)
from jupyter_gpupredict.driver import cuda, inventory
from jupyter_gpupredict.driver.nvml import Nvml, NvmlError, translated
from jupyter_gpupredict.mps.identity import identify, owner_uid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_gpupredict.core.series import Device

DEFAULT_PIPE_DIRECTORY = Path("/tmp/nvidia-mps")  # noqa: S108 - the driver's own default
_PROHIBITED, _EXCLUSIVE_PROCESS = 2, 3
"""nvmlComputeMode_t."""
_MODES = ("default", "exclusive thread", "prohibited", "exclusive process")
_SERVER = "nvidia-cuda-mps-server"[:15]
"""As far as the kernel keeps a process's name, proc(5)."""


def running_daemon(environ: Mapping[str, str]) -> tuple[Path, int] | None:
    """Return the pipe directory and PID of a live daemon that CUDA would attach to by itself.

    That is where the environment or the driver's default says: a program started here becomes its
    client without being asked to.
    """
    folder = control_socket(environ)
    if folder is None:
        return None
    try:
        pid = int((folder / "nvidia-cuda-mps-control.pid").read_bytes()[:32])
    except (OSError, ValueError):
        return None
    return (folder, pid) if identify(pid) is not None else None


def control_socket(environ: Mapping[str, str]) -> Path | None:
    """Return the pipe directory that CUDA would try, if a daemon's socket is in it.

    The daemon itself may run in another PID namespace, as that of Kubernetes' device plugin does.
    """
    folder = Path(environ.get("CUDA_MPS_PIPE_DIRECTORY") or DEFAULT_PIPE_DIRECTORY)
    try:
        return folder if stat.S_ISSOCK((folder / "control").stat().st_mode) else None
    except OSError:
        return None


def joinable(environ: Mapping[str, str]) -> Path | None:
    """Return the pipe directory of a daemon of this user that is to be joined as it is.

    Raises:
        ForeignDaemon: There is one, and it is another user's.
    """
    found = running_daemon(environ)
    if found is None:
        return None
    folder, pid = found
    try:
        owners = {owner_uid(pid), folder.stat().st_uid, (folder / "control").stat().st_uid}
    except OSError:
        return None  # gone meanwhile
    if owners != {os.geteuid()}:
        raise ForeignDaemon(
            f"the MPS daemon in {folder}, process {pid}, is another user's",
            "ask its owner, or unset CUDA_MPS_PIPE_DIRECTORY",
        )
    return folder


def device(wanted: str | None, environ: Mapping[str, str]) -> Device:
    """Return the GPU that a process in this environment would use.

    Raises:
        InvalidOption: `wanted` names none of them, or several.
        SourceUnavailable: There is no driver, or no GPU is visible.
    """
    found = choose(_devices(), wanted, environ)
    if not found:
        raise SourceUnavailable("no GPU is visible to this process", reason="no_device")
    if len(found) > 1:
        raise InvalidOption("a daemon of ours serves one GPU", "name one: --device UUID")
    return found[0]


def first_device(environ: Mapping[str, str], sm_count: int | None, uuid: str = "") -> Device | None:
    """Return the GPU that CUDA numbers 0 in a process; None where that cannot be told.

    Args:
        environ: The environment in which the process started CUDA.
        sm_count: SMs that it was given.
        uuid: What CUDA says there, as `driver.cuda.first_uuid`; empty: it was not asked.

    On a machine with several models the environment does not always tell. Then it is the one with
    just so many SMs, or, where a daemon may have taken some away, the one with most: a cap that is
    suspected costs a prediction, and one that is missed makes a false one.
    """
    try:
        devices = _devices()
    except TelemetryError:
        return None
    for device in devices:
        if uuid and device.uuid.lower().endswith(uuid):
            return device
    first = next(iter(visible(devices, environ)), None)
    if first is None or not first.assumed:
        return first
    same = [device for device in devices if device.sm_count == sm_count]
    if same and control_socket(environ) is None:
        return same[0]
    return max(devices, key=lambda device: device.sm_count or 0)


def own_first_device(environ: Mapping[str, str], sm_count: int) -> Device | None:
    """Return `first_device` of this process, whose CUDA can be asked."""
    return first_device(environ, sm_count, cuda.first_uuid())


def _devices() -> tuple[Device, ...]:
    with Nvml() as nvml:
        try:
            return inventory.devices(nvml)
        except NvmlError as error:
            raise translated(error, was_open=False) from error


def driver_version() -> str:
    """Return the driver's version.

    Raises:
        SourceUnavailable: There is no driver.
    """
    with Nvml() as nvml:
        return nvml.driver_version()


def compute_mode(gpu_uuid: str) -> str:
    """Return the device's compute mode in words; empty where the driver does not say.

    Raises:
        SourceUnavailable: There is no driver.
    """
    with Nvml() as nvml:
        try:
            inventory.devices(nvml)
            mode = nvml.compute_mode(gpu_uuid)
        except (NvmlError, KeyError):
            return ""
    return _MODES[mode] if mode < len(_MODES) else ""


def require_room(gpu_uuid: str) -> None:
    """Refuse a device on which a server of ours could not have a context. Changes nothing.

    Raises:
        ForeignDaemon: Another user's MPS server holds it in exclusive-process mode.
        MpsError: It is prohibited, or held by other processes in that mode.
        SourceUnavailable: There is no driver.
    """
    with Nvml() as nvml:
        try:
            inventory.devices(nvml)
            mode = nvml.compute_mode(gpu_uuid)
            alone = mode == _EXCLUSIVE_PROCESS
            held = sorted(nvml.process_memory_bytes(gpu_uuid)) if alone else []
        except KeyError as error:
            raise MpsError(f"there is no GPU {gpu_uuid}") from error
        except NvmlError:
            return  # not told here; then the daemon's own start tells
    if mode == _PROHIBITED:
        raise MpsError(
            "the GPU's compute mode prohibits any use of it", "nvidia-smi -c DEFAULT, as root"
        )
    for pid in held:
        uid = owner_uid(pid)
        if uid is not None and uid != os.geteuid() and _name(pid) == _SERVER:
            raise ForeignDaemon(
                f"another user's MPS server, process {pid}, holds the GPU in exclusive mode",
                "ask its owner; this cell can run without --mps",
            )
    if held:
        raise MpsError(
            f"the GPU is in exclusive-process mode and used by process {held[0]}",
            "end that process, or join its MPS daemon by CUDA_MPS_PIPE_DIRECTORY",
        )


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""
