"""The pod template that Kubernetes workloads share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_gpupredict.core.deployment import ExportRequest, Figures, Json, SharePatch

SAFE_CPU, SAFE_MEMORY = "2", "8Gi"
"""Host requests where the run did not measure them; the file says so."""


def image(figures: Figures, request: ExportRequest) -> str:
    """Return the image to run; a placeholder where the user named none."""
    return request.image or f"registry.example.com/{figures.name}:0.1.0"


def spec(
    figures: Figures, request: ExportRequest, patch: SharePatch, *, command: list[str]
) -> dict[str, Json]:
    """Return the pod spec with the sharing backend's patch applied."""
    memory = SAFE_MEMORY if figures.host_memory_mib is None else f"{figures.host_memory_mib}Mi"
    cpu = SAFE_CPU if figures.cpu_count is None else f"{figures.cpu_count:g}"
    limits: dict[str, Json] = {"memory": memory, **dict(patch.limits)}
    container: dict[str, Json] = {
        "name": "train",
        "image": image(figures, request),
        "command": list(command),
        "envFrom": [{"secretRef": {"name": f"{figures.name}-secrets", "optional": True}}],
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": limits},
        **patch.container,
    }
    if patch.env:
        container["env"] = [{"name": key, "value": value} for key, value in patch.env]
    return {"restartPolicy": "Never", **patch.pod, "containers": [container]}
