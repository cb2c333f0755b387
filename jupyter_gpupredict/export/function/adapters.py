"""The adapters between the function and the conventions of the platforms that call it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import UnknownName

if TYPE_CHECKING:
    from collections.abc import Iterable


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
NEEDED = {
    "knative": ("serve",),
    "kserve": ("serve",),
    "fastpod": ("serve",),
    "cloudrun": ("serve",),
    "openfaas": ("openfaas",),
}
"""Workload -> adapters; the others call `handler.py` itself."""
NEEDED_FOR_RANKS = {"rayjob": ("ray",)}
"""The same of a run with several ranks."""
PLATFORM = {"rayjob": RAY}
"""Workload -> the requirement without which its platform does not start the image."""
SERVERS = frozenset({"knative", "kserve", "fastpod"})
"""Workloads whose container is to listen, not to run to its end."""


def requirements(workload: str, adapters: Iterable[Adapter]) -> list[str]:
    """Return the lines that a workload and its adapters add to the requirements."""
    lines = (PLATFORM.get(workload, ""), *(one.requirement for one in adapters))
    return list(dict.fromkeys(line for line in lines if line))


def chosen(workload: str, ranks: int, also: tuple[str, ...]) -> tuple[Adapter, ...]:
    """Return the adapters of a workload for so many ranks, and those asked for by name.

    Raises:
        UnknownName: There is no adapter of that name.
    """
    for name in also:
        if name not in ADAPTERS:
            raise UnknownName("adapter", name, ADAPTERS)
    together = NEEDED_FOR_RANKS.get(workload, ()) if ranks > 1 else ()
    names = dict.fromkeys((*NEEDED.get(workload, ()), *together, *also))
    return tuple(ADAPTERS[name] for name in names)
