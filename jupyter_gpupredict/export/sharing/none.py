"""No sharing: the function gets a whole GPU; the figures are information."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import limits
from jupyter_gpupredict.export.deployment import Capability, Restriction, SharePatch

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures


class NoSharing:
    """One whole GPU."""

    needs = frozenset({Capability.WHOLE_GPU})
    restricts = frozenset({Restriction.ONE_GPU})
    expresses: frozenset[str] = frozenset()

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return a limit of one GPU, and variables that tell the function."""
        return SharePatch(
            "none",
            env=limits.information(figures),
            limits=(("nvidia.com/gpu", 1),),
            comments=("The figures are information for the function and limit nothing.",),
        )
