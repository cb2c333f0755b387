"""HAMi: resource limits on the pod; its webhook chooses the scheduler."""

from __future__ import annotations

from jupyter_gpupredict.core.deployment import (
    Capability,
    ExportRequest,
    Figures,
    Restriction,
    SharePatch,
)
from jupyter_gpupredict.core.findings import Pod, Report, at, join, limits, whole
from jupyter_gpupredict.core.protocols import Sharing
from jupyter_gpupredict.export import pod, rules

SCHEDULER = "hami-scheduler"
CORES, MEMORY = "nvidia.com/gpucores", "nvidia.com/gpumem"
PART = "nvidia.com/gpumem-percentage"
GPU = pod.GPU


class Hami(Sharing):
    """Caps time: kernel launches are held back; values are for each GPU."""

    needs = frozenset({Capability.EXTENDED_RESOURCE})
    restricts = frozenset({Restriction.PER_CONTAINER})
    expresses = pod.TIME_SHARE
    resources = (GPU, CORES, MEMORY, PART)

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the limits; memory is plain MiB, because a quantity would be read as bytes."""
        return SharePatch(
            "time_share",
            limits=pod.time_limits(figures, (GPU, figures.gpus), CORES, MEMORY),
            pod={**pod.selected(request), "schedulerName": SCHEDULER},
            comments=(
                *pod.open_share(figures, "time_share"),
                "gpucores holds kernel launches back: a share of time, not of SMs; it follows load "
                "loosely, and is off while the pod is alone on its GPU.",
            ),
        )

    def judge(self, pod: Pod, report: Report) -> None:
        """Check HAMi's limits, where it would divide this pod's GPU."""
        scheduled = pod.spec.get("schedulerName") == SCHEDULER and GPU in pod.limits
        if not scheduled and not {CORES, MEMORY, PART} & set(pod.limits):
            return
        pod.limiter, report.by_time = "hami", True
        for container, path in pod.containers:
            given, where = limits(container), join(path, "resources", "limits")
            if not any(str(name).startswith(GPU) for name in given):
                continue
            if not whole(given.get(GPU)):
                message = "is the number of GPUs, at least 1"
                report.add("hami", join(where, GPU), message)
            rules.carry_percent("hami", given, CORES, where, report)
            rules.carry_mib("hami", given, MEMORY, where, report)
            if PART in given and not 1 <= (whole(given[PART]) or 0) <= 100:
                message = f"{given[PART]!r} is not a whole percent from 1 to 100"
                report.add("hami", join(where, PART), message)
            if PART in given and MEMORY in given:
                report.add("hami", where, "gpumem and gpumem-percentage exclude each other")
            if at(container, "securityContext", "privileged") is True:
                report.add("hami", path, "HAMi's webhook refuses a privileged container")
        if pod.spec.get("nodeName"):
            message = "HAMi's webhook refuses a node's name"
            report.add("hami", join(pod.path, "nodeName"), message)
