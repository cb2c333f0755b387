"""Volcano's vGPU resources in HAMi-core mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import limits
from jupyter_gpupredict.export.deployment import Capability, Restriction, SharePatch

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json


class Volcano:
    """Caps time, as HAMi does."""

    needs = frozenset(
        {Capability.EXTENDED_RESOURCE, Capability.POD_ANNOTATION, Capability.SCHEDULER_NAME}
    )
    restricts = frozenset({Restriction.PER_CONTAINER, Restriction.ONE_GPU})
    expresses = frozenset({"time_pct", "memory_mib"})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return scheduler, mode and limits."""
        amounts = [("volcano.sh/vgpu-number", 1)]
        if figures.time_percent is not None:
            amounts.append(("volcano.sh/vgpu-cores", figures.time_percent))
        if figures.memory_mib is not None:
            amounts.append(("volcano.sh/vgpu-memory", figures.memory_mib))
        pod: dict[str, Json] = {}
        if request.node_selector:
            pod["nodeSelector"] = dict(request.node_selector)
        pod["schedulerName"] = "volcano"
        return SharePatch(
            "time_share",
            limits=tuple(amounts),
            pod=pod,
            annotations=(("volcano.sh/vgpu-mode", "hami-core"),),
            comments=(
                *limits.open_share(figures, "time_share"),
                "vgpu-cores holds kernel launches back: a share of time, not of SMs.",
            ),
        )
