"""The adapters between the function and the conventions of the platforms that call it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import UnknownName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_gpupredict.core.deployment import Hosting


@dataclass(frozen=True, slots=True)
class Adapter:
    """One file of the folder."""

    path: str
    template: str
    requirement: str = ""
    """The line it adds to the requirements."""


RAY_VERSION = "2.49.0"
RAY = f"ray[default]=={RAY_VERSION}"
RANKS = Adapter("adapters/ranks.py", "ranks.py.txt", RAY)
ADAPTERS = {
    "serve": Adapter("adapters/serve.py", "serve.py.txt"),
    "functions-framework": Adapter(
        "adapters/main.py", "main.py.txt", "functions-framework==3.10.2"
    ),
    "runpod": Adapter("adapters/rp_handler.py", "rp_handler.py.txt", "runpod==1.12.0"),
    "openfaas": Adapter("function/handler.py", "openfaas.py.txt"),
    "func": Adapter("function/func.py", "func.py.txt", "func-python==0.7.0"),
    "ray": RANKS,
}
"""Versions are those that `make test-serve` runs the folder with."""


def requirements(hosting: Hosting, adapters: Iterable[Adapter]) -> list[str]:
    """Return the lines that a workload and its adapters add to the requirements."""
    lines = (hosting.requirement, *(one.requirement for one in adapters))
    return list(dict.fromkeys(line for line in lines if line))


def chosen(hosting: Hosting, ranks: int, also: tuple[str, ...]) -> tuple[Adapter, ...]:
    """Return the adapters of a workload for so many ranks, and those asked for by name.

    Raises:
        UnknownName: There is no adapter of that name.
    """
    together = hosting.rank_adapters if ranks > 1 else ()
    names = dict.fromkeys((*hosting.adapters, *together, *also))
    for name in names:
        if name not in ADAPTERS:
            raise UnknownName("adapter", name, ADAPTERS)
    return tuple(ADAPTERS[name] for name in names)
