"""A KServe InferenceService in Knative mode: of use when the exported function serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import compatibility, pod, provenance
from jupyter_gpupredict.export.deployment import Capability, Document, Restriction

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json, SharePatch


class KServe:
    """`deploy/kserve.yaml`."""

    carries = frozenset(
        {
            Capability.ENV,
            Capability.EXTENDED_RESOURCE,
            Capability.POD_ANNOTATION,
            Capability.COMPANION,
            Capability.TIME_LIMIT,
        }
    )
    switchable = frozenset(compatibility.FEATURES)
    restricts = frozenset({Restriction.ONE_GPU, Restriction.ONE_RANK})
    max_run_s: int | None = 600
    """The predictor becomes a Knative revision, with Knative's limit."""

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return the service; KServe hands its annotations and labels on to the pod."""
        carries = compatibility.carried(self, request.knative_features)
        predictor: dict[str, Json] = {"minReplicas": 0, "maxReplicas": 1}
        if figures.timeout_s is not None:
            predictor["timeout"] = figures.timeout_s
        predictor["containerConcurrency"] = 1
        predictor |= pod.fields(patch, carries)
        predictor["containers"] = [
            pod.container(
                figures, request, patch, name="kserve-container", command=pod.SERVE, port=pod.PORT
            )
        ]
        stamps = {**dict(patch.annotations), **provenance.stamps(figures, patch)}
        metadata = pod.metadata(figures, patch, stamps)
        if patch.labels:
            metadata["labels"] = dict(patch.labels)
        service: dict[str, Json] = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": metadata,
            "spec": {"predictor": predictor},
        }
        comments = pod.notes(
            figures, request, patch, default_limit="KServe ends a request after 300 s by default."
        )
        return (Document("deploy/kserve.yaml", service, comments), *patch.companions)
