"""All devices of a machine at one moment, with who uses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ProcessNow:
    """One process on a device."""

    pid: int
    """In the PID namespace that the driver counts in."""
    name: str
    """Empty where it cannot be known."""
    memory_bytes: float | None
    """None where the driver hides it."""
    mps: bool
    """It uses the device through an MPS server."""


@dataclass(frozen=True, slots=True)
class DeviceNow:
    """One device. A number that is None has its reason."""

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
class MpsDaemon:
    """Whether an MPS control daemon serves this environment; judged by its files alone."""

    running: bool
    pipe_directory: str
    message: str


@dataclass(frozen=True, slots=True)
class Host:
    """Where this process runs."""

    container: str
    """The container's kind; empty outside of one, as far as can be seen."""
    host_pids: bool
    """Whether the driver's process numbers mean the same processes here."""
    wsl: bool
    """Windows Subsystem for Linux: its driver tells less, and has no MPS."""


@dataclass(frozen=True, slots=True)
class OwnDaemon:
    """An MPS control daemon that we started, as it answers now."""

    pid: int | None
    """None while it starts, or when it was killed."""
    owner_pid: int
    detached: bool
    """It was started from a terminal and ends on request; else it ends with its owner."""
    gpu_uuid: str
    pipe_directory: str
    log_directory: str
    servers: Mapping[int, str]
    """PID of each MPS server -> INITIALIZING, ACTIVE or FAULT; empty where that is not known."""
    clients: tuple[int, ...]
    """PIDs of the clients."""
    problem: str = ""
    """Why servers and clients are not known."""


@dataclass(frozen=True, slots=True)
class MpsStatus:
    """MPS on this machine, as far as it is this user's business."""

    program: str
    """Path of the control program; empty where it is not installed."""
    driver: str
    """The driver's version; empty where there is none."""
    commands: str
    """What this driver's MPS can do by its branch's record, in words; empty where there is none."""
    uid: int
    compute_mode: str
    """Of the GPU that this process would use; empty where it is not told."""
    own: tuple[OwnDaemon, ...]
    other: str
    """The daemon that CUDA would attach to by itself, in words; empty where there is none."""
    foreign: bool
    """That one is another user's."""
    client: bool
    """This process is a client until it ends."""


@dataclass(frozen=True, slots=True)
class MpsTrial:
    """What a daemon answered that was started for a moment, in a directory of its own."""

    commands: str = ""
    """What it can do, in words."""
    server_problem: str = ""
    """Why its server does not start; empty where it does."""
    problem: str = ""
    """Why there was no daemon to ask; empty where there was."""
