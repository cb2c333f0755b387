"""KAI-Scheduler places by memory and enforces nothing; the MPS daemon on the node enforces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod
from jupyter_gpupredict.export.deployment import (
    Capability,
    Figures,
    Restriction,
    SharePatch,
    Sharing,
)
from jupyter_gpupredict.export.findings import Node, Pod, Report
from jupyter_gpupredict.export.shapes import check_shape

if TYPE_CHECKING:
    from jupyter_gpupredict.export.request import ExportRequest

SCHEDULER, QUEUE = pod.KAI, pod.KAI_QUEUE
FIRST_QUEUE = "default-queue"
"""The queue that KAI's own quick start makes; --queue names another."""
MEMORY, FRACTION = "gpu-memory", "gpu-fraction"
GPU, SHARED_GPU, PIPE_DIRECTORY = pod.GPU, pod.SHARED_GPU, pod.PIPE_DIRECTORY


class Kai(Sharing):
    """Labels and annotations for the scheduler, variables and mounts for MPS.

    Which GPU is visible is KAI's own decision, so that variable is left to it.
    """

    about = "KAI-Scheduler places by memory, MPS on the node limits"
    needs = pod.MPS_CLIENT | {Capability.SCHEDULER_NAME, Capability.POD_ANNOTATION}
    restricts = pod.ONE_GPU | {Restriction.PER_CONTAINER}
    expresses = pod.SM_SHARE
    resources = (GPU,)

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return what the scheduler reads and what the client needs."""
        said = (
            "KAI-Scheduler places by gpu-memory; the MPS daemon of the node enforces. Beside it "
            "leave off binder.plugins.hamicore, which would limit memory once more."
        )
        comments = (*pod.open_share(figures, "sm_share"), said)
        annotations: tuple[tuple[str, str], ...] = ()
        if figures.memory_mib is None:
            said = "Without a memory figure KAI-Scheduler reserves no GPU: add one."
            comments = (*comments, said)
        else:
            annotations = ((MEMORY, str(figures.memory_mib)),)
        return SharePatch(
            "sm_share",
            ((PIPE_DIRECTORY, pod.PIPE), *pod.mps_env(figures)),
            pod={**pod.PIPE_POD, "schedulerName": SCHEDULER},
            container=pod.PIPE_MOUNT,
            labels=((QUEUE, FIRST_QUEUE),),
            annotations=annotations,
            comments=comments,
        )

    def judge(self, pod: Pod, report: Report) -> None:
        """Check labels and annotations, and which of them reserve the GPU."""
        notes = pod.annotations
        pod.placed = pod.spec["schedulerName"].value == SCHEDULER
        if not pod.placed and MEMORY not in notes and FRACTION not in notes:
            return
        check_shape("kai", Node(pod.metadata.table, pod.metadata.path), report)
        memory = notes[MEMORY]
        if isinstance(memory.value, str) and memory.whole:
            report.carry("mem", memory.whole, memory)
        given = [FRACTION in notes, MEMORY in notes, GPU in pod.limits].count(True)
        uses_gpu = {GPU, SHARED_GPU} & set(pod.limits) or PIPE_DIRECTORY in pod.variables
        if not given and uses_gpu:
            report.warn("kai", notes, f"without {MEMORY} or {FRACTION} no GPU is reserved")
        if given > 1:
            message = f"{FRACTION}, {MEMORY} and a whole GPU exclude one another"
            report.add("kai", notes, message)
        if not pod.placed:
            report.add("kai", pod.spec["schedulerName"], f"must be {SCHEDULER}")
