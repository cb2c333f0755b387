"""A Kubernetes Job (batch/v1): runs once, to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.deployment import Capability, Document
from jupyter_gpupredict.exporters import pod, provenance

if TYPE_CHECKING:
    from jupyter_gpupredict.core.deployment import ExportRequest, Figures, Json, SharePatch


class Job:
    """`deploy/job.yaml`."""

    carries = frozenset(
        {
            Capability.ENV,
            Capability.EXTENDED_RESOURCE,
            Capability.POD_ANNOTATION,
            Capability.NODE_SELECTOR,
            Capability.SCHEDULER_NAME,
            Capability.HOST_IPC,
            Capability.HOST_PATH,
            Capability.RESOURCE_CLAIM,
            Capability.COMPANION,
        }
    )

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return the Job; without a predicted run time it has no deadline."""
        template = pod.spec(figures, request, patch, command=["python", "handler.py"])
        stamps: dict[str, Json] = dict(provenance.stamps(figures, patch))
        spec: dict[str, Json] = {"backoffLimit": 0}  # a silent retry would repeat hours
        if figures.timeout_s is not None:
            spec["activeDeadlineSeconds"] = figures.timeout_s
        spec["ttlSecondsAfterFinished"] = 3600
        spec["template"] = {"spec": template}
        comments = [*figures.warnings, *patch.comments]
        if figures.timeout_s is None:
            comments.append("No deadline is set: the run time is not known.")
        if figures.host_memory_mib is None:
            comments.append("CPU and host memory are round figures, not measured ones.")
        if not request.image:
            comments.append("The image is a placeholder: none was named.")
        job: dict[str, Json] = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": figures.name, "annotations": stamps},
            "spec": spec,
        }
        return (Document("deploy/job.yaml", job, tuple(comments)), *patch.companions)
