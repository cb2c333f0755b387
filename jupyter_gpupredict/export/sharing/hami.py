"""HAMi: resource limits on the pod; its webhook chooses the scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import limits
from jupyter_gpupredict.export.deployment import Capability, Restriction, SharePatch

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json


class Hami:
    """Caps time: kernel launches are held back; values are for each GPU."""

    needs = frozenset({Capability.EXTENDED_RESOURCE})
    restricts = frozenset({Restriction.PER_CONTAINER})
    expresses = frozenset({"time_pct", "memory_mib"})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the limits; memory is plain MiB, because a quantity would be read as bytes."""
        amounts = [("nvidia.com/gpu", figures.gpus)]
        if figures.time_percent is not None:
            amounts.append(("nvidia.com/gpucores", figures.time_percent))
        if figures.memory_mib is not None:
            amounts.append(("nvidia.com/gpumem", figures.memory_mib))
        pod: dict[str, Json] = {}
        if request.node_selector:
            pod["nodeSelector"] = dict(request.node_selector)
        pod["schedulerName"] = "hami-scheduler"
        return SharePatch(
            "time_share",
            limits=tuple(amounts),
            pod=pod,
            comments=(
                *limits.open_share(figures, "time_share"),
                "gpucores holds kernel launches back: a share of time, not of SMs; it follows load "
                "loosely, and is off while the pod is alone on its GPU.",
            ),
        )
