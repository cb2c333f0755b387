"""What goes with what: capabilities carried against capabilities needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_gpupredict.core.deployment import Capability
    from jupyter_gpupredict.core.protocols import Sharing, Workload

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("local", "none"): "a local run without a share needs no manifest",
}
"""Pairs that the capabilities would allow and that make no sense, each with its reason."""


def refusal(
    workload: str, carries: frozenset[Capability], sharing: str, needs: frozenset[Capability]
) -> str:
    """Return why a pair does not go together; empty when it does."""
    if (workload, sharing) in EXCEPTIONS:
        return EXCEPTIONS[workload, sharing]
    missing = sorted(capability.value for capability in needs - carries)
    return f"{workload} cannot carry {', '.join(missing)}" if missing else ""


def nearest(
    workload: str, sharing: str, workloads: Mapping[str, Workload], sharings: Mapping[str, Sharing]
) -> str:
    """Return the nearest supported pair in words: the same workload first."""

    def fits(w: str, s: str) -> bool:
        return not refusal(w, workloads[w].carries, s, sharings[s].needs)

    for other in sharings:
        if fits(workload, other):
            return f"{workload} with {other}"
    for another in workloads:
        if fits(another, sharing):
            return f"{another} with {sharing}"
    return "none"
