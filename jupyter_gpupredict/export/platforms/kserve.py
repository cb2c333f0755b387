"""A KServe InferenceService in Knative mode: of use when the exported function serves."""

from __future__ import annotations

import dataclasses

from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import Document, Hosting, Json, Plan, Workload
from jupyter_gpupredict.export.findings import Manifest, Node, Pod, Report

RESPONSE_S = 300
"""What ends a request when no limit is given."""
MODE = "serving.kserve.io/deploymentMode"


def _check(found: Node, report: Report) -> None:
    """Check the predictor as the revision that it becomes, unless KServe deploys it itself."""
    predictor = found.at("spec.predictor")
    inner, timeout = Pod(predictor, found["metadata"]), predictor["timeout"]
    rules.check_order("kserve", predictor, "minReplicas", "maxReplicas", report)
    if inner.annotations[MODE].value in ("RawDeployment", "Standard"):
        report.limit(timeout.whole, timeout)
    else:
        rules.check_request_limit(timeout, RESPONSE_S, report)
        rules.check_features(inner, report)
    rules.check_concurrency(inner, "maxReplicas" in predictor, "maxReplicas", report)
    rules.check_pod(inner, report)


class KServe(Workload):
    """`deploy/kserve.yaml`."""

    about = "a KServe InferenceService, for a function that serves"
    carries = pod.REVISION_OF_TEAM
    switchable = pod.FEATURES
    restricts = pod.ONE_GPU | pod.ONE_RANK
    max_run_s = rules.KNATIVE_CAP_S  # the predictor becomes a Knative revision
    refuses = (
        ("dra", "a KServe predictor becomes a Knative Service, which has no resource claims"),
    )
    hosting = Hosting(adapters=("serve",), serves=True)
    manifests = (Manifest("serving.kserve.io/v1beta1", "InferenceService", "kserve", _check),)

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return the service; KServe hands its annotations and labels on to the pod."""
        figures, patch = plan.figures, plan.patch
        predictor: dict[str, Json] = {"minReplicas": 0, "maxReplicas": 1}
        if figures.timeout_s is not None:
            predictor["timeout"] = figures.timeout_s
        predictor["containerConcurrency"] = 1
        predictor |= pod.revision_fields(plan)
        predictor["containers"] = [
            pod.container(plan, name="kserve-container", command=pod.SERVE, port=pod.PORT)
        ]
        passed = dataclasses.replace(patch, object_annotations=patch.annotations)
        service = pod.workload(
            ("serving.kserve.io/v1beta1", "InferenceService"),
            dataclasses.replace(plan, patch=passed),
            {"predictor": predictor},
            labels=dict(patch.labels),
        )
        comments = pod.notes(plan, default_limit="KServe ends a request after 300 s by default.")
        return (Document("deploy/kserve.yaml", service, comments), *patch.companions)
