"""Daemons and processes that are not ours: seen in /proc and by NVML, never sent a command."""

from __future__ import annotations

import os
import socket
import stat
import struct
from dataclasses import dataclass
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
from jupyter_gpupredict.mps.directory import daemon_in, owner_uid
from jupyter_gpupredict.sources.driver import inventory
from jupyter_gpupredict.sources.driver.nvml import Nvml, NvmlError, translated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_gpupredict.core.series import Device

DEFAULT_PIPE_DIRECTORY = Path("/tmp/nvidia-mps")  # noqa: S108 - the driver's own default
_MODES = ("default", "exclusive thread", "prohibited", "exclusive process")
"""nvmlComputeMode_t."""
_CONNECT_S = 2.0
_PEER = struct.Struct("3i")
"""struct ucred: PID, user, group."""
_SERVER = "nvidia-cuda-mps-server"[:15]
"""As far as the kernel keeps a process's name, proc(5)."""


@dataclass(frozen=True, slots=True)
class Running:
    """A live control daemon that CUDA would attach to by itself."""

    pipe_directory: Path
    pid: int
    """0 where it is in a PID namespace that cannot be seen from here."""
    foreign: bool
    """It, or its directory, is another user's."""

    @property
    def whose(self) -> str:
        """Whose it is, in words."""
        user = "another user's" if self.foreign else "this user's, not ours"
        return f"{user}, {f'process {self.pid}' if self.pid else 'in another container'}"


def running_daemon(environ: Mapping[str, str], *, connect: bool = False) -> Running | None:
    """Return the daemon that a program started here becomes a client of without being asked to.

    It is found by its own process. One that cannot be seen, in another container or of another
    user, is found by a connection to its socket, which leaves two lines in its log and nothing
    else: no command is ever sent. Only a run that asked for MPS may `connect`, once.
    """
    folder = control_socket(environ)
    if folder is None:
        return None
    process = daemon_in(folder, default=folder == DEFAULT_PIPE_DIRECTORY)
    if process is not None:
        pid, uid = process.pid, owner_uid(process.pid)
    elif connect and (peer := _listening(folder / "control")):
        pid, uid = peer
    else:
        return None
    try:
        owners = {uid, folder.stat().st_uid, (folder / "control").stat().st_uid}
    except OSError:
        return None  # gone meanwhile
    return Running(folder, pid, foreign=owners != {os.geteuid()})


def _listening(path: Path) -> tuple[int, int] | None:
    """Return PID and user of who listens at a daemon's socket; None where nobody does.

    A socket alone proves nothing: it stays after a kill, and containers mount it.

    Source: SO_PEERCRED, unix(7). The daemon's sockets are of the kind SOCK_SEQPACKET.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.settimeout(_CONNECT_S)
        try:
            link.connect(str(path))
            said = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        except OSError:
            return None
    pid, uid, _ = _PEER.unpack(said)
    return pid, uid


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
    """Return the pipe directory of a daemon of this user to join as it is; may connect to it.

    Raises:
        ForeignDaemon: There is one, and it is another user's.
    """
    there = running_daemon(environ, connect=True)
    if there is None:
        return None
    if there.foreign:
        raise ForeignDaemon(
            f"the MPS daemon in {there.pipe_directory} is {there.whose}",
            "ask its owner, or unset CUDA_MPS_PIPE_DIRECTORY",
        )
    return there.pipe_directory


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
    """Return the GPU that CUDA numbers 0 in a process; None where it is not known.

    Args:
        environ: The environment in which the process started CUDA.
        sm_count: SMs that it was given.
        uuid: What CUDA says there, as `driver.cuda.first_uuid`; empty: it was not asked.

    On a machine with several models the environment does not always say. Then it is the one with
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


def _devices() -> tuple[Device, ...]:
    with Nvml() as nvml:
        try:
            return inventory.devices(nvml)
        except NvmlError as error:
            raise translated(error, was_open=False) from error


def driver_version() -> str:
    """Return the driver's version; raises `SourceUnavailable` where there is none."""
    with Nvml() as nvml:
        return nvml.driver_version()


def compute_mode(gpu_uuid: str) -> str:
    """Return the device's compute mode, of `_MODES`; empty where the driver does not say.

    Raises:
        SourceUnavailable: There is no driver.
    """
    with Nvml() as nvml:
        try:
            inventory.devices(nvml)
            return _MODES[nvml.compute_mode(gpu_uuid)]
        except (NvmlError, KeyError, IndexError):
            return ""


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
            mode = _MODES[nvml.compute_mode(gpu_uuid)]
            alone = mode == "exclusive process"
            held = sorted(nvml.process_memory_bytes(gpu_uuid)) if alone else []
        except KeyError as error:
            raise MpsError(f"no GPU is named {gpu_uuid}") from error
        except (NvmlError, IndexError):
            return  # not known here; the daemon's own start will show it
    if mode == "prohibited":
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
