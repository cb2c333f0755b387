"""How a function that ran in a process of its own has ended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

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

    Under a pinned memory limit CUDA reports plain out of memory: only the limit tells why.

    >>> overrun(Fault("OutOfMemoryError", "CUDA out of memory", "", ("torch.OutOfMemoryError",)), 9)
    'the cell went over its memory limit of 9 MiB'
    """
    if error is None:
        return ""
    text = error.message.lower()
    if "builtins.MemoryError" in error.kinds and "cuda" not in text and "gpu" not in text:
        return "host memory ran out in the cell's process"
    told = any(kind.endswith("OutOfMemoryError") for kind in error.kinds) or any(
        words in text for words in ("out of memory", "out_of_memory", "resource_exhausted")
    )
    if not told:
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
