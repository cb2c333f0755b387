"""KAI-Scheduler places by memory and enforces nothing; the MPS daemon on the node enforces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import limits
from jupyter_gpupredict.export.deployment import Capability, Restriction, SharePatch

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json


class Kai:
    """Labels and annotations for the scheduler, variables and mounts for MPS.

    Which GPU is visible is KAI's own decision, so that variable is left to it.
    """

    needs = frozenset(
        {
            Capability.ENV,
            Capability.HOST_IPC,
            Capability.HOST_PATH,
            Capability.SCHEDULER_NAME,
            Capability.POD_ANNOTATION,
        }
    )
    restricts = frozenset({Restriction.PER_CONTAINER, Restriction.ONE_GPU})
    expresses = frozenset({"sm_pct", "memory_mib"})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return what the scheduler reads and what the client needs."""
        pod = limits.pipe_pod()
        if request.node_selector:
            selector: dict[str, Json] = dict(request.node_selector)
            pod["nodeSelector"] = selector
        pod["schedulerName"] = "kai-scheduler"
        comments = [*limits.open_share(figures, "sm_share")]
        comments.append("KAI-Scheduler places by gpu-memory; the MPS daemon of the node enforces.")
        annotations: tuple[tuple[str, str], ...] = ()
        if figures.memory_mib is None:
            comments.append("Without a memory figure KAI-Scheduler reserves no GPU: add one.")
        else:
            annotations = (("gpu-memory", str(figures.memory_mib)),)
        return SharePatch(
            "sm_share",
            ((limits.PIPE_DIRECTORY, limits.PIPE), *limits.mps_env(figures)),
            pod=pod,
            container=limits.pipe_mount(),
            labels=(("kai.scheduler/queue", "default-queue"),),
            annotations=annotations,
            comments=tuple(comments),
        )
