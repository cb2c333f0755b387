"""A FaSTPod of FaST-GShare: a replicated pod, so what it runs is the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod, provenance
from jupyter_gpupredict.export.deployment import Capability, Document, Restriction

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json, SharePatch


class FastPod:
    """`deploy/fastpod.yaml`."""

    carries = frozenset({Capability.FASTPOD_FIELDS})
    switchable: frozenset[Capability] = frozenset()
    restricts = frozenset({Restriction.ONE_GPU})
    max_run_s = None

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return the FaSTPod; a finished pod would be replaced, so it serves."""
        container = pod.container(figures, request, patch, command=pod.SERVE, port=pod.PORT)
        found: dict[str, Json] = {
            "apiVersion": "fastgshare.caps.in.tum/v1",
            "kind": "FaSTPod",
            "metadata": pod.metadata(
                figures, patch, provenance.stamps(figures, patch), namespace="fast-gshare"
            ),
            "spec": {
                "replicas": figures.ranks,
                "podSpec": {"restartPolicy": "OnFailure", "containers": [container]},
            },
        }
        comments = [*figures.warnings, *patch.comments]
        comments.append("A FaSTPod has no end and no time limit: it serves until it is deleted.")
        if figures.host_memory_mib is None:
            comments.append("CPU and host memory are round figures, not measured ones.")
        if not request.image:
            comments.append("The image is a placeholder: none was named.")
        return (Document("deploy/fastpod.yaml", found, tuple(comments)),)
