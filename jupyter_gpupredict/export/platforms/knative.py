"""A Knative Service: answers requests, scales to zero; for runs that fit into one request."""

from __future__ import annotations

from typing import Any

from jupyter_gpupredict.core.deployment import Document, Hosting, Json, Plan
from jupyter_gpupredict.core.findings import Manifest, Report, at, join, template_at, whole
from jupyter_gpupredict.core.protocols import Workload
from jupyter_gpupredict.export import pod, rules

RESPONSE_S = 300
"""Knative's limits for a request, and for the beginning of its answer, when none is given."""
SCALE: dict[str, Json] = {
    rules.AUTOSCALING + "min-scale": "0",
    rules.AUTOSCALING + "max-scale": "1",  # a second pod is a second client of the share
    rules.AUTOSCALING + "scale-to-zero-pod-retention-period": "0s",
}


def _check(found: dict[str, Any], report: Report) -> None:
    """Check time limits, feature flags and autoscaling annotations."""
    inner = template_at(at(found, "spec", "template"), "spec.template")
    rules.check_scaling(inner.annotations, "spec.template.metadata.annotations", report)
    total = inner.spec.get("timeoutSeconds", RESPONSE_S)
    rules.check_request_limit(total, join(inner.path, "timeoutSeconds"), report)
    # a training answers at its end, so it must have begun to answer by then
    begun = inner.spec.get("responseStartTimeoutSeconds", min(RESPONSE_S, whole(total) or 0))
    report.limit(begun, join(inner.path, "responseStartTimeoutSeconds"))
    for key in ("responseStartTimeoutSeconds", "idleTimeoutSeconds"):
        part, most = whole(inner.spec.get(key)), whole(total)
        if part is not None and most is not None and part > most:
            report.add("knative-timeout", join(inner.path, key), f"{part} s is above {most} s")
    rules.check_features(inner, report)
    limited = {rules.AUTOSCALING + "max-scale", rules.AUTOSCALING + "maxScale"} & set(
        inner.annotations
    )
    rules.check_concurrency(inner, bool(limited), "a max-scale", report)
    rules.check_pod(inner, report)


class Knative(Workload):
    """`deploy/knative.yaml`."""

    carries = pod.REVISION
    switchable = pod.FEATURES
    restricts = pod.ONE_GPU | pod.ONE_RANK
    max_run_s = rules.KNATIVE_CAP_S
    refuses = (("dra", "a Knative Service has no resource claims"),)
    hosting = Hosting(adapters=("serve",), serves=True)
    manifests = (
        Manifest("serving.knative.dev/v1", "Service", "knative", _check),
        Manifest(
            schema="knative-func",
            only=lambda one: "specVersion" in one and "kind" not in one,
            stamped=False,
        ),
    )

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return the Service; the whole run is one request."""
        figures, patch = plan.figures, plan.patch
        spec: dict[str, Json] = {"containerConcurrency": 1}
        if figures.timeout_s is not None:
            spec["timeoutSeconds"] = figures.timeout_s
            spec["responseStartTimeoutSeconds"] = figures.timeout_s  # the answer comes at the end
        spec |= pod.revision_fields(plan)
        spec["containers"] = [
            pod.container(plan, name="user-container", command=pod.SERVE, port=pod.PORT)
        ]
        revision: dict[str, Json] = {"template": pod.template(patch, spec, SCALE)}
        service = pod.workload(("serving.knative.dev/v1", "Service"), plan, revision)
        comments = pod.notes(plan, default_limit="Knative ends a request after 300 s by default.")
        return (Document("deploy/knative.yaml", service, comments), *patch.companions)
