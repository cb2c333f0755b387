"""The cells that a kernel has executed, as an export receives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.options import option

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
    params: tuple[str, ...] = option(
        (),
        "a name that the function's caller gives, not the notebook",
        metavar="NAME",
        short=("--param",),
        several="list",
        longest=200,
        pattern="^[A-Za-z_][0-9A-Za-z_]*$",
    )
    setup: tuple[str, ...] = option(
        (),
        "cells with this tag, or number, run again before the measured one",
        metavar="TAG",
        several="list",
        longest=200,
    )
    adapters: tuple[str, ...] = option(
        (),
        "serve, functions-framework, runpod, openfaas, func or ray",
        metavar="NAME",
        short=("--adapter",),
        several="list",
        longest=100,
    )
    base_image: str = option("", "what the Dockerfile starts from", metavar="IMAGE")
    drop_magics: bool = option(
        False, "leave out what earlier cells have that works in a notebook only"
    )
    secrets: str = option(
        "",
        "who gives what looks like a credential: the environment, by a name in .env.example, or "
        "the function's caller; by itself such code is refused",
        choices=SECRETS_FROM,
    )
    allow_secrets: bool = option(False, "keep what looks like a credential")
    notes: tuple[str, ...] = ()
    """What is to be said about where the cells come from."""
    tried: bool = True
    """Whether the folder is imported for a trial, which runs the user's code in a child of this
    process; not where that has no business to, as in a server."""
    pinned: bool = True
    """Whether the packages that this process sees are those that the code ran with."""
    python: str = ""
    """The Python that it ran with, such as `3.11`; empty: this process's."""
