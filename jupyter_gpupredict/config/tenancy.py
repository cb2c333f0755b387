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

    changes: Mapping[str, str | None] = field(default_factory=dict)
    """What to set in its environment; None: to unset."""
    percentage: int | None = None
    """The share of the SMs that it is held to; None: not held."""
    memory_limit_mib: int | None = None
    reason: str = ""
    """Why it is no client of MPS; empty when it is."""
    before_signal: Callable[[int], str] | None = None
    """See `mps.child.Child`."""

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the child's environment."""
        kept = {key: value for key, value in environ.items() if key not in self.changes}
        return kept | {key: value for key, value in self.changes.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Grounds:
    """Where children can be let in."""

    tenancy: Callable[[int | None, int | None], Tenancy]
    """Percentage and memory limit in MiB, None for none -> what a child gets."""
    device_name: str
    driver: str


@contextlib.contextmanager
def hosted(device: str | None = None, grounds: Grounds | None = None) -> Iterator[Grounds]:
    """Have MPS ready for children, and put everything back at the end.

    Args:
        device: The GPU.
        grounds: What is ready already; None: what is here.

    Raises:
        MpsError: There is no MPS here.
    """
    if grounds is not None:
        yield grounds
        return
    raise MpsError("no MPS control program is here", "it comes with the NVIDIA driver")


@contextlib.contextmanager
def tenancy(
    percentage: int | None = None, memory_limit_mib: int | None = None, device: str | None = None
) -> Iterator[Tenancy]:
    """Have a place for one child; without MPS where there is none and nothing depends on it.

    Args:
        percentage: The share of the SMs to hold the child to.
        memory_limit_mib: The GPU memory to hold it to.
        device: The GPU.

    Raises:
        MpsError: A limit was asked for, and there is no MPS to apply it.
    """
    with contextlib.ExitStack() as stack:
        try:
            host = stack.enter_context(hosted(device))
        except MpsError as error:
            if percentage is not None or memory_limit_mib is not None:
                option = "--mps-percentage" if percentage is not None else "--memory-limit"
                raise MpsError(f"{option} cannot be applied: {error.message}", error.hint) from None
            yield Tenancy(reason=error.message)
            return
        yield host.tenancy(percentage, memory_limit_mib)
