"""The devices of a machine, who uses them, and which of them a process may use.

`CUDA_VISIBLE_DEVICES` in all its forms, and `--device`.

Source: CUDA programming guide, environment variables; the driver library ignores this variable and
numbers devices in its own order, so everything here ends in UUIDs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_gpupredict.core.series import Device


@dataclass(frozen=True, slots=True)
class ProcessNow:
    """One process on a device."""

    pid: int
    """In the PID namespace that the driver counts in."""
    name: str
    """Empty where it cannot be known."""
    memory_bytes: float | None
    """None where the driver does not show it."""
    mps: bool
    """It uses the device through an MPS server."""


@dataclass(frozen=True, slots=True)
class DeviceNow:
    """One device now; each number that is None has its reason."""

    uuid: str
    name: str
    index: int
    utilization_ratio: float | None
    memory_used_bytes: float | None
    memory_total_bytes: int | None
    power_watts: float | None
    processes: tuple[ProcessNow, ...] | None
    mps_clients: int | None
    reasons: Mapping[str, str]
    """Field -> one of `core.metrics.REASONS`, for each that is None."""


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """All devices that the driver shows."""

    devices: tuple[DeviceNow, ...]
    driver_version: str


@dataclass(frozen=True, slots=True)
class Host:
    """Where this process runs."""

    container: str
    """The container's kind; empty outside of one, as far as can be seen."""
    host_pids: bool
    """Whether the driver's process numbers mean the same processes here."""
    wsl: bool
    """Windows Subsystem for Linux: its driver shows less, and has no MPS."""


def is_mig(uuid: str) -> bool:
    """Return whether a device is an instance of a GPU that MIG has cut."""
    return uuid.startswith("MIG-")


def visible(devices: Sequence[Device], environ: Mapping[str, str]) -> tuple[Device, ...]:
    """Return the devices CUDA would show to this process, in its order.

    The first entry that is invalid (-1 included) hides everything after it; a duplicate hides
    everything. Where numbers are used and the order cannot be known (different models, and CUDA's
    default order is by speed), the devices are marked `assumed`.

    Args:
        devices: All devices in the driver's order, which is that of the PCI bus.
        environ: The environment of the process.
    """
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    same_order = (
        environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({d.name for d in devices}) <= 1
    )
    if listed is None:
        return tuple(replace(d, assumed=not same_order) for d in devices)
    found: list[Device] = []
    for entry in (part.strip() for part in listed.split(",")):
        device = _entry(entry, devices)
        if device is None:
            break
        if any(device.uuid == other.uuid for other in found):
            return ()
        found.append(replace(device, assumed=entry.isdigit() and not same_order))
    return tuple(found)


def choose(
    devices: Sequence[Device], wanted: str | None, environ: Mapping[str, str]
) -> tuple[Device, ...]:
    """Return the devices to measure, the main one first; () when none is visible or named.

    Args:
        devices: All devices in the driver's order.
        wanted: UUID, unique prefix of one or index among the visible ones, several with commas;
            `all`: the visible ones; None: the first visible one.
        environ: The environment of the process.

    Raises:
        InvalidOption: There is no such device; the known ones are listed.
    """
    shown = visible(devices, environ)
    if wanted is None:
        return shown[:1]
    if wanted.strip().lower() == "all":
        return shown
    found = {d.uuid: d for entry in wanted.split(",") for d in (_named(entry, devices, shown),)}
    return tuple(found.values())


def _named(entry: str, devices: Sequence[Device], shown: Sequence[Device]) -> Device:
    entry = entry.strip()
    if entry.isdecimal():
        if int(entry) < len(shown):
            return shown[int(entry)]
    elif entry:
        matches = [d for d in devices if d.uuid.lower().startswith(entry.lower())]
        if len(matches) == 1:
            return matches[0]
    known = ", ".join(f"{number}: {d.uuid}" for number, d in enumerate(shown)) or "none is visible"
    raise InvalidOption(f"no single device matches {entry!r}", f"devices: {known}")


def _entry(entry: str, devices: Sequence[Device]) -> Device | None:
    if entry.isdecimal() and entry.isascii():
        index = int(entry)
        return devices[index] if index < len(devices) else None
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    matches = [device for device in devices if device.uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def jax_gpus() -> list[Any]:
    """Return the GPUs that JAX uses in this process; empty before its first use of one.

    `jax.devices` and `jax.default_backend` would start a backend, which takes most of the memory.
    """
    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    backends = dict(getattr(bridge, "_backends", None) or {})
    backend = backends.get("cuda") or backends.get("gpu")
    return [] if backend is None else list(backend.local_devices())
