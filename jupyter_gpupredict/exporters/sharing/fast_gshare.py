"""FaST-GShare: annotations from which it injects pipe directory, percentage and host IPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.deployment import Capability, Restriction, SharePatch
from jupyter_gpupredict.core.rounding import MIB

if TYPE_CHECKING:
    from jupyter_gpupredict.core.deployment import ExportRequest, Figures

PREFIX = "fastgshare/"


class FastGshare:
    """Divides SMs and time. A known SM share carries the limit and leaves the time whole.

    Both at once would starve a training: on fewer SMs the same work takes more of the time.
    """

    needs = frozenset({Capability.FASTPOD_FIELDS})
    restricts = frozenset(
        {Restriction.ONE_GPU, Restriction.PER_CONTAINER, Restriction.MEMORY_REQUIRED}
    )
    expresses = frozenset({"sm_pct", "time_pct", "memory_mib"})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the four annotations; a missing share is the whole."""
        by_time = figures.sm_percent is None and figures.time_percent is not None
        quota = "1.0"
        if by_time and figures.time_percent != 100:
            quota = f"{(figures.time_percent or 0) / 100:g}"
        if figures.sm_percent is not None:
            said = "The time quota is whole: the SM partition carries the share."
        elif by_time:
            said = "The SM partition is whole: no share of the SMs is known."
        else:
            said = "Partition and quota are whole: no share is known."
        annotations = (
            (PREFIX + "gpu_quota_request", quota),
            (PREFIX + "gpu_quota_limit", quota),
            (PREFIX + "gpu_sm_partition", str(figures.sm_percent or 100)),
            (PREFIX + "gpu_mem", str((figures.memory_mib or 0) * MIB)),
        )
        return SharePatch(
            "time_share" if by_time else "sm_share",
            object_annotations=annotations,
            comments=(said,),
        )
