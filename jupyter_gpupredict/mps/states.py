"""What MPS runs on this machine, and how a function in a process of its own has ended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

UNREACHABLE = (
    "CUDA could not reach its MPS server and answers with that error from now on: restart the "
    "kernel to use CUDA"
)
_MPS_ERROR = re.compile(
    r"CUDA_ERROR_MPS_[A-Z_]+|(?i:error:? (?:80[5-9]|810)\b)|MPS client failed to connect"
    r"|MPS server is not ready"
)
"""As libcuda, PyTorch, TensorFlow and JAX name errors 805 to 810."""
Outcome = Literal["completed", "failed", "interrupted", "died"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What the function raised, or how its process ended."""

    name: str
    message: str
    traceback: str
    """As Python prints it, without our own frames."""
    kinds: tuple[str, ...] = ()
    """Qualified names of its class and those above it."""
    pickled: bytes = b""
    """The exception itself, where it can be had; only ever from our own child."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the function ended."""

    outcome: Outcome
    took_s: float
    error: Fault | None = None
    sm_count: int | None = None
    """SMs that the process was given; None where nobody could ask."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A name of the function, brought back."""

    value: Any = None
    reason: str = ""
    """Why there is no value; empty when there is one, `text` when it is its repr."""


def overrun(error: Fault | None, memory_limit_mib: int | None) -> str:
    """Return in words that memory ran out, and which; empty when it is something else.

    Under a pinned memory limit CUDA reports plain out of memory: only the limit explains it.

    >>> overrun(Fault("OutOfMemoryError", "CUDA out of memory", "", ("torch.OutOfMemoryError",)), 9)
    'the cell went over its memory limit of 9 MiB'
    """
    if error is None:
        return ""
    text = error.message.lower()
    if "builtins.MemoryError" in error.kinds and "cuda" not in text and "gpu" not in text:
        return "host memory ran out in the cell's process"
    out_of_memory = any(kind.endswith("OutOfMemoryError") for kind in error.kinds) or any(
        words in text for words in ("out of memory", "out_of_memory", "resource_exhausted")
    )
    if not out_of_memory:
        return ""
    if memory_limit_mib is None:
        return "GPU memory ran out"
    return f"the cell went over its memory limit of {memory_limit_mib} MiB"


def unreachable(message: str) -> bool:
    """Return whether an error is CUDA's that its MPS server could not be reached, or was lost.

    >>> unreachable("CUDA error: MPS client failed to connect to the MPS control daemon")
    True
    """
    return _MPS_ERROR.search(message) is not None


@dataclass(frozen=True, slots=True)
class MpsDaemon:
    """Whether an MPS control daemon serves this environment; judged by its files alone."""

    running: bool
    pipe_directory: str
    message: str


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
    """MPS on this machine, as far as this user can see."""

    program: str
    """Path of the control program; empty where it is not installed."""
    driver: str
    """The driver's version; empty where there is none."""
    commands: str
    """What this driver's MPS can do by its branch's record, in words; empty where there is none."""
    uid: int
    compute_mode: str
    """Of the GPU that this process would use; empty where it is not known."""
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
