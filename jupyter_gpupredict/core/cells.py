"""The cells that a kernel has executed, as an export receives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SECRETS_FROM = ("env", "param")
"""Who may give a function its credentials: the environment, the caller."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One executed cell."""

    label: str
    """How a message names it, such as `In [3]`."""
    source: str
    """As its author wrote it, magics and all."""
    tags: tuple[str, ...] = ()
    failed: bool = False
    """It ended with an error, so that what stands below the failing line never ran."""


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """Where a function's code comes from and what may be done about what it cannot hold."""

    cells: tuple[Cell, ...]
    """In the order of execution; one of them has the hash of the measured code."""
    folder: Path
    """Where the notebook stands: modules beside it are copied."""
    params: tuple[str, ...] = ()
    """Names that the caller will give, instead of what the notebook made."""
    setup: tuple[str, ...] = ()
    """Tags, or numbers, of cells that run again before the measured one."""
    adapters: tuple[str, ...] = ()
    """Adapters beside those that the workload needs."""
    base_image: str = ""
    """The image the Dockerfile starts from; empty: chosen by rule."""
    drop_magics: bool = False
    """Leave out what earlier cells have that works in a notebook only, instead of refusing it."""
    secrets: str = ""
    """Who gives what looks like a credential, of `SECRETS_FROM`; empty: nobody, it is refused."""
    allow_secrets: bool = False
    """Keep what looks like a credential and is still there."""
    notes: tuple[str, ...] = ()
    """What is to be said about where the cells come from."""
    tried: bool = True
    """Whether the folder is imported for a trial, which runs the user's code in a child of this
    process; not where that has no business to, as in a server."""
    pinned: bool = True
    """Whether the packages that this process sees are those that the code ran with."""
    python: str = ""
    """The Python that it ran with, such as `3.11`; empty: this process's."""
