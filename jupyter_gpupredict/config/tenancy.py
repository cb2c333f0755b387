"""Where an isolated cell runs: as a client of MPS with limits of its own, or like any process."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import MpsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Tenancy:
    """What a child gets before it starts, and what is to be said of it."""

    environ: Mapping[str, str] = field(default_factory=dict)
    percentage: int | None = None
    """The share of the SMs that it is held to; None: not held."""
    memory_limit_mib: int | None = None
    reason: str = ""
    """Why it is no client of MPS; empty when it is."""
    before_signal: Callable[[int], str] | None = None
    """See `mps.child.Child`."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the result."""
        if self.reason:
            return (f"ran isolated in a process of its own, without MPS: {self.reason}",)
        held = "" if self.percentage is None else f" at {self.percentage} % of the SMs"
        return (f"ran isolated in a process of its own, as a client of MPS{held}",)


@contextlib.contextmanager
def tenancy(
    percentage: int | None = None, memory_limit_mib: int | None = None, device: str | None = None
) -> Iterator[Tenancy]:
    """Have MPS ready for a child, and put everything back at the end.

    Args:
        percentage: The share of the SMs to hold the child to.
        memory_limit_mib: The GPU memory to hold it to.
        device: The GPU's UUID.

    Raises:
        MpsError: A limit was asked for, and there is no MPS to apply it.
    """
    reason = "no MPS control program is here"
    if percentage is not None or memory_limit_mib is not None:
        option = "--mps-percentage" if percentage is not None else "--memory-limit"
        raise MpsError(f"{option} cannot be applied: {reason}", "it comes with the NVIDIA driver")
    yield Tenancy(reason=reason)
