"""A Knative Service: answers requests, scales to zero; for runs that fit into one request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import compatibility, pod, provenance
from jupyter_gpupredict.export.deployment import Capability, Document, Restriction

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json, SharePatch

SCALE: dict[str, Json] = {
    "autoscaling.knative.dev/min-scale": "0",
    "autoscaling.knative.dev/max-scale": "1",  # a second pod is a second client of the share
    "autoscaling.knative.dev/scale-to-zero-pod-retention-period": "0s",
}


class Knative:
    """`deploy/knative.yaml`."""

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
    """max-revision-timeout-seconds of a stock Knative."""

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return the Service; the whole run is one request."""
        carries = compatibility.carried(self, request.knative_features)
        spec: dict[str, Json] = {"containerConcurrency": 1}
        if figures.timeout_s is not None:
            spec["timeoutSeconds"] = figures.timeout_s
            spec["responseStartTimeoutSeconds"] = figures.timeout_s  # the answer comes at the end
        spec |= pod.fields(patch, carries)
        spec["containers"] = [
            pod.container(
                figures, request, patch, name="user-container", command=pod.SERVE, port=pod.PORT
            )
        ]
        metadata: dict[str, Json] = {"annotations": {**SCALE, **dict(patch.annotations)}}
        if patch.labels:
            metadata["labels"] = dict(patch.labels)
        service: dict[str, Json] = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": pod.metadata(figures, patch, provenance.stamps(figures, patch)),
            "spec": {"template": {"metadata": metadata, "spec": spec}},
        }
        comments = pod.notes(
            figures, request, patch, default_limit="Knative ends a request after 300 s by default."
        )
        return (Document("deploy/knative.yaml", service, comments), *patch.companions)
