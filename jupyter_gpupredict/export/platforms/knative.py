"""A Knative Service: answers requests, scales to zero; for runs that fit into one request."""

from __future__ import annotations

from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import Document, Hosting, Json, Plan, Workload
from jupyter_gpupredict.export.findings import Manifest, Node, Report, template

AUTOSCALING = rules.AUTOSCALING
RESPONSE_S = 300
"""Knative's limits for a request, and for the beginning of its answer, when none is given."""
SCALE: dict[str, Json] = {
    AUTOSCALING + "min-scale": "0",
    AUTOSCALING + "max-scale": "1",  # a second pod is a second client of the share
    AUTOSCALING + "scale-to-zero-pod-retention-period": "0s",
}


def _check(found: Node, report: Report) -> None:
    """Check time limits, feature flags and autoscaling annotations."""
    inner = template(found.at("spec.template"))
    rules.check_scaling(inner.annotations, report)
    timeout, begins = inner.spec["timeoutSeconds"], inner.spec["responseStartTimeoutSeconds"]
    total_s = timeout.whole if timeout.value is not None else RESPONSE_S
    rules.check_request_limit(timeout, RESPONSE_S, report)
    # a training answers at its end, so it must have begun to answer by then
    begun_s = begins.whole if begins.value is not None else min(RESPONSE_S, total_s or 0)
    report.limit(begun_s, begins)
    for node in (begins, inner.spec["idleTimeoutSeconds"]):
        if node.whole is not None and total_s is not None and node.whole > total_s:
            report.add("knative-timeout", node, f"{node.whole} s is above {total_s} s")
    rules.check_features(inner, report)
    limited = {AUTOSCALING + "max-scale", AUTOSCALING + "maxScale"} & set(inner.annotations.table)
    rules.check_concurrency(inner, bool(limited), "a max-scale", report)
    rules.check_pod(inner, report)


class Knative(Workload):
    """`deploy/knative.yaml`."""

    about = "a Knative Service: answers requests, scales to zero"
    carries = pod.REVISION_OF_TEAM
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
