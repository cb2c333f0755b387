"""A Kubernetes Job (batch/v1): runs once, to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.deployment import Capability, Document, Restriction
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
            Capability.RUNTIME_CLASS,
            Capability.TOLERATIONS,
            Capability.HOST_IPC,
            Capability.HOST_PATH,
            Capability.RESOURCE_CLAIM,
            Capability.COMPANION,
            Capability.TIME_LIMIT,
        }
    )
    switchable: frozenset[Capability] = frozenset()
    restricts: frozenset[Restriction] = frozenset()
    max_run_s = None

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return the Job; without a predicted run time it has no deadline.

        Several ranks make it an Indexed Job that starts them together: a pod's number is in its
        variable JOB_COMPLETION_INDEX (Kubernetes, Indexed Job).
        """
        spec: dict[str, Json] = {"backoffLimit": 0}  # a silent retry would repeat hours
        if figures.ranks > 1:
            spec["completionMode"] = "Indexed"
            spec["completions"] = spec["parallelism"] = figures.ranks
        if figures.timeout_s is not None:
            spec["activeDeadlineSeconds"] = figures.timeout_s
        spec["ttlSecondsAfterFinished"] = 3600
        spec["template"] = pod.template(
            patch,
            {
                "restartPolicy": "Never",
                **pod.fields(patch, self.carries),
                "containers": [pod.container(figures, request, patch)],
            },
        )
        job: dict[str, Json] = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": pod.metadata(figures, patch, provenance.stamps(figures, patch)),
            "spec": spec,
        }
        comments = pod.notes(figures, request, patch)
        return (
            Document("deploy/job.yaml", job, comments, before=patch.before),
            *patch.companions,
        )
