"""ECS GPU sharing through MPS: fields of the task definition; ECS sets both variables itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import limits
from jupyter_gpupredict.export.deployment import Capability, Restriction, SharePatch

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json


class EcsMps:
    """One part of one GPU; the percentage is a limit, not a reservation."""

    needs = frozenset({Capability.ECS_FIELDS})
    restricts = frozenset(
        {Restriction.ONE_GPU, Restriction.PER_CONTAINER, Restriction.MEMORY_REQUIRED}
    )
    expresses = frozenset({"sm_pct", "memory_mib"})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the container's GPU requirement."""
        share: dict[str, Json] = {"memory": figures.memory_mib}
        if figures.sm_percent is not None:
            share["maxComputePercent"] = figures.sm_percent
        requirement: Json = {"type": "GPU", "sharingStrategy": {"nvidiaMps": share}}
        return SharePatch(
            "sm_share",
            container={"resourceRequirements": [requirement]},
            comments=limits.open_share(figures, "sm_share"),
        )
