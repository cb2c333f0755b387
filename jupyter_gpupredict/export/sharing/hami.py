"""HAMi: resource limits on the pod; its webhook chooses the scheduler."""

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

SCHEDULER = "hami-scheduler"
CORES, MEMORY = "nvidia.com/gpucores", "nvidia.com/gpumem"
PART = "nvidia.com/gpumem-percentage"
GPU = pod.GPU


class Hami(Sharing):
    """Caps time: kernel launches are held back; values are for each GPU."""

    about = "HAMi: caps the share of the time, and memory"
    needs = frozenset({Capability.EXTENDED_RESOURCE})
    restricts = frozenset({Restriction.PER_CONTAINER})
    expresses = pod.TIME_SHARE
    resources = (GPU, CORES, MEMORY, PART)

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the limits; memory is plain MiB, because a quantity would be read as bytes."""
        return SharePatch(
            "time_share",
            limits=pod.time_limits(figures, (GPU, figures.gpus), CORES, MEMORY),
            pod={"tolerations": [pod.TOLERATED], "schedulerName": SCHEDULER},
            comments=(
                *pod.open_share(figures, "time_share"),
                *pod.exclusive(figures, CORES),
                "gpucores holds kernel launches back: a share of time, not of SMs; it follows load "
                "loosely, and is off while the pod is alone on its GPU.",
            ),
        )

    def judge(self, pod: Pod, report: Report) -> None:
        """Check HAMi's limits, where it would divide this pod's GPU."""
        scheduled = pod.spec["schedulerName"].value == SCHEDULER and GPU in pod.limits
        if not scheduled and not {CORES, MEMORY, PART} & set(pod.limits):
            return
        pod.limiter, report.by_time = "hami", True
        for container in pod:
            check_shape("hami", container, report)
        if pod.spec["nodeName"].value:
            report.add("hami", pod.spec["nodeName"], "HAMi's webhook refuses a node's name")
        rules.carry_amounts(pod, CORES, MEMORY, report)
