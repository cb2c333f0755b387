"""Volcano's vGPU resources in HAMi-core mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import (
    Capability,
    Figures,
    Restriction,
    SharePatch,
    Sharing,
)
from jupyter_gpupredict.export.shapes import check_shape

if TYPE_CHECKING:
    from jupyter_gpupredict.export.findings import Pod, Report
    from jupyter_gpupredict.export.request import ExportRequest

SCHEDULER, MODE = pod.VOLCANO, "volcano.sh/vgpu-mode"
COUNT, CORES, MEMORY = (f"volcano.sh/vgpu-{name}" for name in ("number", "cores", "memory"))
PART = "volcano.sh/vgpu-memory-percentage"


class Volcano(Sharing):
    """Caps time, as HAMi does."""

    about = "Volcano: caps the share of the time, and memory"
    needs = frozenset(
        {Capability.EXTENDED_RESOURCE, Capability.POD_ANNOTATION, Capability.SCHEDULER_NAME}
    )
    restricts = pod.ONE_GPU | {Restriction.PER_CONTAINER}
    expresses = pod.TIME_SHARE
    resources = (COUNT, CORES, MEMORY, PART)

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return scheduler, mode and limits."""
        return SharePatch(
            "time_share",
            limits=pod.time_limits(figures, (COUNT, 1), CORES, MEMORY),
            pod={"tolerations": [pod.TOLERATED], "schedulerName": SCHEDULER},
            annotations=((MODE, "hami-core"),),
            comments=(
                *pod.open_share(figures, "time_share"),
                *pod.exclusive(figures, CORES),
                "vgpu-cores holds kernel launches back: a share of time, not of SMs.",
            ),
        )

    def judge(self, pod: Pod, report: Report) -> None:
        """Check vGPU limits, scheduler and mode."""
        if not any(str(name).startswith("volcano.sh/vgpu-") for name in pod.limits):
            return
        pod.limiter, report.by_time = pod.limiter or "volcano", True
        for container in pod:
            check_shape("volcano", container, report)
        if pod.spec["schedulerName"].value != SCHEDULER:
            report.add("volcano", pod.spec["schedulerName"], f"must be {SCHEDULER}")
        rules.carry_amounts(pod, CORES, MEMORY, report)
        mode = pod.annotations[MODE].value
        if mode is None:
            report.warn("volcano", pod.metadata, f"without {MODE} the mode is the node's")
        elif mode != "hami-core":
            message = f"vgpu-mode {mode!r}: percents need hami-core"
            report.add("volcano", pod.metadata, message)
