"""A Job of Volcano's (batch.volcano.sh/v1alpha1): ranks that start together or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod, provenance, ranks

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json, SharePatch


def job(figures: Figures, request: ExportRequest, patch: SharePatch) -> dict[str, Json]:
    """Return the Job: rank 0 is the task `master`, the others are the task `worker`.

    Those are the names by which Volcano's plug-in for PyTorch sets MASTER_ADDR, MASTER_PORT,
    WORLD_SIZE and RANK in their pods (Volcano, Pytorch Plugin User Guide). A rank that fails or
    is evicted ends the others, which would wait for it.
    """
    container = pod.container(figures, request, patch, env=(ranks.LOCAL,))
    inside: dict[str, Json] = {"restartPolicy": "Never"}
    if figures.timeout_s is not None:
        inside["activeDeadlineSeconds"] = figures.timeout_s  # Volcano's Job has no deadline itself
    inside |= {**patch.pod, "containers": [container]}
    template = pod.template(patch, inside)
    counts = (("master", 1), ("worker", figures.ranks - 1))
    tasks: list[Json] = [
        {"name": name, "replicas": count, "template": template} for name, count in counts
    ]
    return {
        "apiVersion": "batch.volcano.sh/v1alpha1",
        "kind": "Job",
        "metadata": pod.metadata(figures, patch, provenance.stamps(figures, patch)),
        "spec": {
            "schedulerName": "volcano",
            "minAvailable": figures.ranks,
            "plugins": {"pytorch": [f"--port={ranks.PORT}"]},
            "policies": [{"events": ["PodFailed", "PodEvicted"], "action": "TerminateJob"}],
            "ttlSecondsAfterFinished": 3600,
            "tasks": tasks,
        },
    }
