"""The adapters between the function and the conventions of the platforms that call it."""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_gpupredict.core.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Adapter:
    """One file of the folder."""

    path: str
    template: str
    requirement: str = ""
    """The line it adds to the requirements."""


RAY_VERSION = "2.49.0"
RANKS = Adapter("adapters/ranks.py", "ranks.py.txt", f"ray[default]=={RAY_VERSION}")
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
NEEDED_FOR_RANKS = {"rayjob": ("ray",)}
"""The same of a run with several ranks."""
"""Workload -> adapters; the others call `handler.py` itself."""
SERVERS = frozenset({"knative", "kserve", "fastpod"})
"""Workloads whose container is to listen, not to run to its end."""


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
