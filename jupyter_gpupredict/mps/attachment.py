"""Whether a process is a client: shown by the daemon's own list or the driver's, never assumed."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import MpsError, TelemetryError
from jupyter_gpupredict.mps.control import faulted
from jupyter_gpupredict.sources.driver import inventory
from jupyter_gpupredict.sources.driver.nvml import Nvml, NvmlError
from jupyter_gpupredict.sources.driver.processes import ProcessTree

if TYPE_CHECKING:
    from jupyter_gpupredict.mps.control import Control


def own_pids() -> frozenset[int]:
    """Return this process and its descendants."""
    tree = ProcessTree()
    try:
        tree.walk(0.0)
        return tree.pids()
    finally:
        tree.close()


def known_to_daemon(control: Control, pids: frozenset[int]) -> bool:
    """Return whether one of these processes is a client of our daemon.

    Raises:
        ServerFault: One of its servers is in the state FAULT: some client faulted.
        MpsError: The daemon does not say.
    """
    clients = control.clients()
    for server in clients:
        if control.get_server_status(server) == "FAULT":
            raise faulted(server)
    return any(not pids.isdisjoint(of_server) for of_server in clients.values())


def known_to_driver(gpu_uuid: str, pids: frozenset[int]) -> bool | None:
    """Return whether the driver lists one of these processes as an MPS client.

    None where that cannot be told: the driver has no such list, or counts processes in another PID
    namespace than this one.

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
    try:
        log = "" if control is None else (control.directory.log / "control.log").read_text()
    except (OSError, ValueError):
        return False
    return re.search(rf"NEW CLIENT {pid} ", log) is not None


def release(control: Control, pid: int) -> bool:
    """End the contexts of a process through MPS, so that it can be ended without harm to others.

    Returns:
        Whether it was a client and is none any more.
    """
    with contextlib.suppress(MpsError):  # it is about to end in any case
        for server, pids in control.clients().items():
            if pid in pids:
                control.terminate_client(server, pid)
                return True
    return False
