"""No sharing: the function gets a whole GPU; the figures are information."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.deployment import Capability, SharePatch

if TYPE_CHECKING:
    from jupyter_gpupredict.core.deployment import ExportRequest, Figures


class NoSharing:
    """One whole GPU, counted by the scheduler."""

    needs = frozenset({Capability.EXTENDED_RESOURCE})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return a limit of one GPU."""
        env = [
            (name, str(value))
            for name, value in (
                ("GPUPREDICT_SM_PERCENT", figures.sm_percent),
                ("GPUPREDICT_TIME_PERCENT", figures.time_percent),
                ("GPUPREDICT_MEM_MIB", figures.memory_mib),
            )
            if value is not None
        ]
        return SharePatch(
            "none",
            env=tuple(env),
            limits=(("nvidia.com/gpu", 1),),
            comments=("A whole GPU is reserved; the figures are information and limit nothing.",),
        )
