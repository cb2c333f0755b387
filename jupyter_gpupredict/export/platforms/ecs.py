"""An Amazon ECS task definition, for RunTask: ECS has no time limit for a task."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod, provenance
from jupyter_gpupredict.export.deployment import Capability, Document, Restriction, image

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json, SharePatch

CPU_UNITS = 1024
"""ECS counts a CPU as so many units."""
NO_TAG = re.compile(r"[^\w .:/=+@-]")
"""Signs that a tag's value may not hold."""


class Ecs:
    """`deploy/ecs-task.json`."""

    carries = frozenset({Capability.ECS_FIELDS})
    switchable: frozenset[Capability] = frozenset()
    restricts = frozenset({Restriction.ONE_GPU})
    max_run_s = None

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return the task definition; the stamps are tags."""
        container: dict[str, Json] = {
            "name": "train",
            "image": image(figures, request),
            "essential": True,
            "command": list(pod.RUN),
            "cpu": int(CPU_UNITS * (figures.cpu_count or pod.SAFE_CPUS)),
            "memory": figures.host_memory_mib or pod.SAFE_MEMORY_MIB,
            **patch.container,
        }
        stamps = provenance.stamps(figures, patch)
        task: dict[str, Json] = {
            "family": figures.name,
            "requiresCompatibilities": ["EC2"],  # Fargate has no GPU, EXTERNAL no sharing
            "networkMode": "awsvpc",
            "containerDefinitions": [container],
            "tags": [
                {"key": key, "value": NO_TAG.sub("_", value)[:256]} for key, value in stamps.items()
            ],
        }
        return (Document("deploy/ecs-task.json", task),)
