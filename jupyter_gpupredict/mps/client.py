"""What makes a process an MPS client, how much it gets, and whether it really was one.

Its environment when CUDA starts makes it one. That it was one is shown by the daemon's own list or
the driver's, and never assumed.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import ContextExists, LimitRefused, MpsError, TelemetryError
from jupyter_gpupredict.mps.control import MEMORY_COMMAND, faulted
from jupyter_gpupredict.mps.daemon import resume
from jupyter_gpupredict.sources.driver import cuda, inventory
from jupyter_gpupredict.sources.driver.nvml import Nvml, NvmlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jupyter_gpupredict.mps.control import Control

PIPE = "CUDA_MPS_PIPE_DIRECTORY"
PERCENTAGE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
MEMORY = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
PARTITION = "CUDA_MPS_SM_PARTITION"
DEVICES = "CUDA_VISIBLE_DEVICES"
_MOST_MIB = 1 << 30
_MEMORY_LIMIT = re.compile(r"=\s*(\d+)([MG])B?\s*(?:,|$)")
_SHIFTS = {"M": 20, "G": 30}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client process may use at most.

    Raises:
        LimitRefused: A value is outside its range.
    """

    percentage: int | None = None
    """Of the device's SMs, 1..100; None: all of them."""
    memory_mib: int | None = None
    """Device memory in binary MiB, CUDA's own included; None: all of it."""

    def __post_init__(self) -> None:
        """Check every value."""
        if self.percentage is not None and not 1 <= self.percentage <= 100:
            raise LimitRefused(f"{self.percentage} % is out of range", "1 to 100")
        if self.memory_mib is not None and not 1 <= self.memory_mib <= _MOST_MIB:
            raise LimitRefused(f"{self.memory_mib} MiB is out of range", "1 or more")


_NONE = Limits()


def own_client(
    pipe_directory: Path, gpu_uuid: str, limits: Limits = _NONE
) -> dict[str, str | None]:
    """Return what to set in a client's environment; None means to unset.

    The device is named by its UUID, because the daemon renumbers those that it sees, and the memory
    limit by ordinal 0: the one device that the client sees.

    Source: MPS documentation, environment variables.
    """
    return {
        PIPE: str(pipe_directory),
        DEVICES: gpu_uuid,
        PERCENTAGE: None if limits.percentage is None else str(limits.percentage),
        MEMORY: None if limits.memory_mib is None else f"0={limits.memory_mib}M",
        PARTITION: None,
    }


def joined_client(pipe_directory: Path, limits: Limits = _NONE) -> dict[str, str | None]:
    """Return the same for a daemon that is there already: what it has set can only tighten."""
    own = own_client(pipe_directory, "", limits)
    return {key: value for key, value in own.items() if key != DEVICES and value is not None}


def merged(environ: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return an environment with changes made, for a process that is yet to start."""
    both = {**environ, **changes}
    return {key: value for key, value in both.items() if value is not None}


def require_known(limits: Limits, commands: frozenset[str]) -> None:
    """Raise `LimitRefused` if memory is to be limited, and a daemon that knows these cannot."""
    if limits.memory_mib is not None and MEMORY_COMMAND not in commands:
        raise LimitRefused(
            "this driver's MPS cannot limit the memory of a client",
            "leave --memory-limit out, or use a newer driver",
        )


def percentage_in(environ: Mapping[str, str]) -> int | None:
    """Return the percentage that a client started in this environment asks for; None: no limit."""
    try:
        return max(1, min(100, int(float(environ[PERCENTAGE]))))
    except (KeyError, ValueError, OverflowError):
        return None


def memory_limit_in(environ: Mapping[str, str]) -> int | None:
    """Return the bytes of device memory that a client started here may use; None: no limit.

    The smallest of several devices' limits, as nothing says which of them is used.

    Source: MPS documentation, CUDA_MPS_PINNED_DEVICE_MEM_LIMIT, such as `0=1G,1=512MB`.
    """
    found = _MEMORY_LIMIT.findall(environ.get(MEMORY, "").upper())
    return min((int(number) << _SHIFTS[unit] for number, unit in found), default=None)


def require_uninitialised() -> None:
    """Raise `ContextExists` if CUDA is initialised here; says by what that shows."""
    because = cuda.initialised_because()
    if because:
        raise ContextExists(
            f"CUDA is initialised in this kernel ({because}), so it cannot become an MPS client",
            "restart the kernel and begin with this cell, or use --isolate",
        )


def apply(changes: Mapping[str, str | None]) -> Callable[[], None]:
    """Change this process's own environment; return what puts it back.

    What the cell itself has set meanwhile is the user's and stays.

    Raises:
        ContextExists: It would have no effect.
    """
    require_uninitialised()
    before = {key: os.environ.get(key) for key in changes}
    _set(changes)
    return lambda: _set(
        {key: was for key, was in before.items() if os.environ.get(key) == changes[key]}
    )


def _set(changes: Mapping[str, str | None]) -> None:
    for key, value in changes.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value


# ---- whether it was one -------------------------------------------------------------------------


def own_pids() -> frozenset[int]:
    """Return this process and its descendants."""
    from jupyter_gpupredict.sources.driver.processes import ProcessTree  # it loads psutil

    tree = ProcessTree()
    try:
        tree.walk(0.0)
        return tree.pids()
    finally:
        tree.close()


def attached(
    control: Control | None, gpu_uuid: str, pids: frozenset[int]
) -> tuple[bool | None, str]:
    """Return whether one of these processes is a client of MPS; None and why: it cannot be shown.

    Where the daemon is not ours, `control` is None, and only the driver is asked.
    """
    found, problem = None, "the driver does not list it"
    if control is not None:
        try:
            resume(control.directory)
            found = _known_to_daemon(control, pids)
        except MpsError as error:
            problem = str(error)
    return found or known_to_driver(gpu_uuid, pids) or found, problem


def _known_to_daemon(control: Control, pids: frozenset[int]) -> bool:
    clients = control.clients()
    for server in clients:
        if control.get_server_status(server) == "FAULT":
            raise faulted(server)
    return any(not pids.isdisjoint(of_server) for of_server in clients.values())


def known_to_driver(gpu_uuid: str, pids: frozenset[int]) -> bool | None:
    """Return True if the driver lists one of these processes as an MPS client; None proves nothing.

    A driver may have no such list, or count processes in another PID namespace than this one.

    Source: nvmlDeviceGetMPSComputeRunningProcesses.
    """
    try:
        with Nvml() as nvml:
            inventory.devices(nvml)
            listed = nvml.mps_pids(gpu_uuid)
    except (TelemetryError, NvmlError, KeyError):
        return None
    return True if not listed.isdisjoint(pids) else None


def was_refused(control: Control | None, pid: int) -> bool:
    """Return whether a process in which CUDA has not started came to our daemon as a client.

    It then got an error, such as 805, at `cuInit`, and gets it again at each further call.

    Source: the daemon's own log.
    """
    log = "" if control is None else control.directory.said("control.log")
    return re.search(rf"NEW CLIENT {pid} ", log) is not None


def release(control: Control, pid: int) -> None:
    """End the contexts of a process through MPS, so that it can be ended without harm to others."""
    with contextlib.suppress(MpsError):  # it is about to end in any case
        for server, pids in control.clients().items():
            if pid in pids:
                control.terminate_client(server, pid)
                return
