"""A Kubernetes Job (batch/v1): runs once, to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import gang, pod, provenance, ranks
from jupyter_gpupredict.export.deployment import Capability, Document, Restriction

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json, SharePatch


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

        Several ranks make it an Indexed Job that starts them together, with a Service by which
        they find one another; under Volcano's scheduler a Job of Volcano's, which starts none of
        them before all have a place.
        """
        several = figures.ranks > 1
        comments = pod.notes(figures, request, patch)
        if several and patch.pod.get("schedulerName") == "volcano":
            return (Document("deploy/job.yaml", gang.job(figures, request, patch), comments),)
        spec: dict[str, Json] = {"backoffLimit": 0}  # a silent retry would repeat hours
        if several:
            spec["completionMode"] = "Indexed"
            spec["completions"] = spec["parallelism"] = figures.ranks
        if figures.timeout_s is not None:
            spec["activeDeadlineSeconds"] = figures.timeout_s
        spec["ttlSecondsAfterFinished"] = 3600
        env = ranks.of_indexed_job(figures) if several else ()
        inside: dict[str, Json] = {
            "restartPolicy": "Never",
            **pod.fields(patch, self.carries),
            "containers": [pod.container(figures, request, patch, env=env)],
        }
        before = patch.before
        if several:
            inside["subdomain"] = figures.name
            if patch.uncounted:
                inside["affinity"] = ranks.apart("job-name", figures.name)
            before = (*before, ranks.service(figures))
        spec["template"] = pod.template(patch, inside)
        job: dict[str, Json] = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": pod.metadata(figures, patch, provenance.stamps(figures, patch)),
            "spec": spec,
        }
        return (
            Document("deploy/job.yaml", job, comments, before=before),
            *patch.companions,
        )
