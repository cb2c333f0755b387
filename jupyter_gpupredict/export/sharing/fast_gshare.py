"""FaST-GShare: annotations from which it injects pipe directory, percentage and host IPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.rounding import MIB
from jupyter_gpupredict.export.deployment import Capability, Restriction, SharePatch

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures

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
        sm, time = figures.sm_percent, figures.time_percent
        by_time = sm is None and time is not None
        share = time if by_time else sm
        whole = share in (None, 100)
        quota = f"{share / 100:g}" if by_time and share is not None and not whole else "1.0"
        if whole:
            said = "Partition and quota are whole: no share below 100 % is known."
        elif by_time:
            said = "The SM partition is whole: no share of the SMs is known."
        else:
            said = "The time quota is whole: the SM partition carries the share."
        annotations = (
            (PREFIX + "gpu_quota_request", quota),
            (PREFIX + "gpu_quota_limit", quota),
            (PREFIX + "gpu_sm_partition", str(sm or 100)),
            (PREFIX + "gpu_mem", str((figures.memory_mib or 0) * MIB)),
        )
        return SharePatch(
            "none" if whole else "time_share" if by_time else "sm_share",
            whole=whole,
            object_annotations=annotations,
            comments=(said,),
        )
