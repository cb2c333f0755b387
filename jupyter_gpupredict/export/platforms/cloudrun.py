"""Cloud Run: a job, and a service for runs that fit into a request; each reserves a whole GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod, provenance
from jupyter_gpupredict.export.deployment import Capability, Document, Restriction, image

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json, SharePatch

ACCELERATOR = "run.googleapis.com/accelerator"
LEAST_CPUS, LEAST_MEMORY_MIB = 4.0, 16384
"""What Cloud Run wants beside an L4."""


class CloudRun:
    """`deploy/cloudrun-job.yaml` and `deploy/cloudrun-service.yaml`."""

    carries = frozenset({Capability.ENV, Capability.WHOLE_GPU, Capability.TIME_LIMIT})
    switchable: frozenset[Capability] = frozenset()
    restricts = frozenset({Restriction.ONE_GPU, Restriction.ONE_RANK})
    max_run_s: int | None = 3600
    """Limit of GPU tasks."""

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return job and service; a job's time limit is text there, a service's a number."""
        stamps = provenance.stamps(figures, patch)
        comments = list(
            pod.notes(
                figures,
                request,
                patch,
                default_limit="Cloud Run ends a task after 600 s and a request after 300 s then.",
            )
        )
        comments.append("A whole GPU is reserved and billed.")
        selector: dict[str, Json] = {ACCELERATOR: request.accelerator}
        task: dict[str, Json] = {"maxRetries": 0}
        served: dict[str, Json] = {"containerConcurrency": 1}
        if figures.timeout_s is not None:
            task["timeoutSeconds"] = str(figures.timeout_s)
            served["timeoutSeconds"] = figures.timeout_s
        task |= {
            "nodeSelector": selector,
            "containers": [_container(figures, request, patch, pod.RUN)],
        }
        serving = _container(figures, request, patch, pod.SERVE)
        serving["ports"] = [{"containerPort": pod.PORT}]
        served |= {"nodeSelector": selector, "containers": [serving]}
        job: dict[str, Json] = {
            "apiVersion": "run.googleapis.com/v1",
            "kind": "Job",
            "metadata": pod.metadata(
                figures, patch, {**stamps, "run.googleapis.com/launch-stage": "BETA"}
            ),
            "spec": {
                "template": {
                    "metadata": {
                        "annotations": {"run.googleapis.com/execution-environment": "gen2"}
                    },
                    "spec": {"taskCount": 1, "parallelism": 1, "template": {"spec": task}},
                }
            },
        }
        service: dict[str, Json] = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": pod.metadata(figures, patch, stamps),
            "spec": {
                "template": {
                    "metadata": {
                        "annotations": {
                            "autoscaling.knative.dev/maxScale": "1",
                            "run.googleapis.com/cpu-throttling": "false",
                        }
                    },
                    "spec": served,
                }
            },
        }
        return (
            Document("deploy/cloudrun-job.yaml", job, tuple(comments)),
            Document("deploy/cloudrun-service.yaml", service, tuple(comments)),
        )


def _container(
    figures: Figures, request: ExportRequest, patch: SharePatch, command: tuple[str, ...]
) -> dict[str, Json]:
    cpus = max(LEAST_CPUS, figures.cpu_count or 0.0)
    size = max(LEAST_MEMORY_MIB, figures.host_memory_mib or 0)
    found: dict[str, Json] = {"image": image(figures, request), "command": list(command)}
    if patch.env:
        found["env"] = pod.variables(patch)
    found["resources"] = {
        "limits": {
            "cpu": f"{cpus:g}",
            "memory": f"{-(-size // 1024)}Gi",
            **{key: str(value) for key, value in patch.limits},
        }
    }
    return found
