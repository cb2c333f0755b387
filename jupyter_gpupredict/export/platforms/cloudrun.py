"""Cloud Run: a job, and a service for runs that fit into a request; each reserves a whole GPU."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import (
    Capability,
    Document,
    Figures,
    Hosting,
    Json,
    Plan,
    SharePatch,
    Sharing,
    Workload,
)
from jupyter_gpupredict.export.findings import Manifest, Node, Pod, Report, limits
from jupyter_gpupredict.export.shapes import quantity

if TYPE_CHECKING:
    from jupyter_gpupredict.export.request import ExportRequest

DOMAIN = "run.googleapis.com/"
ACCELERATOR = DOMAIN + "accelerator"
CAP_S = 3600
"""Limit of GPU tasks."""
LEAST_CPUS, LEAST_MEMORY_MIB = 4.0, 16384
"""What Cloud Run wants beside an L4."""


def _is_service(found: Node) -> bool:
    """Recognise a Cloud Run service, which is written as a Knative one."""
    if (found["apiVersion"].value, found["kind"].value) != ("serving.knative.dev/v1", "Service"):
        return False
    inner = found.at("spec.template")
    notes = (*found.at("metadata.annotations").table, *inner.at("metadata.annotations").table)
    domain = any(str(key).startswith(DOMAIN) for key in notes)
    return domain or ACCELERATOR in inner.at("spec.nodeSelector")


def _check(found: Node, report: Report) -> None:
    is_job = found["kind"].value == "Job"
    path = "spec.template.spec.template.spec" if is_job else "spec.template.spec"
    inner = Pod(found.at(path))
    timeout = inner.spec["timeoutSeconds"]
    limit_s = timeout.whole if timeout.value is not None else 600 if is_job else 300
    report.limit(limit_s, timeout)
    cap_s = report.allowed.max_timeout_s or CAP_S
    if (limit_s or 0) > cap_s:
        report.add("cloudrun", timeout, f"{limit_s} s is above {cap_s} s for work on a GPU")
    if not is_job:
        rules.check_scaling(found.at("spec.template.metadata.annotations"), report)
    for container in inner:
        wants = {"cpu": f"{LEAST_CPUS:g}", "memory": f"{LEAST_MEMORY_MIB // 1024}Gi"}
        for name, least in wants.items() if pod.GPU in limits(container) else ():
            given = quantity(limits(container)[name].value)
            if given is None or given < (quantity(least) or 0):
                report.warn("cloudrun", limits(container)[name], f"a GPU wants {least} at least")
        rules.check_amounts(container, report)
        for node in rules.check_environment(container, 1, report):
            report.add("cloudrun", node, "no MPS daemon runs there: the variable does nothing")
    if (pod.GPU in inner.limits) != (ACCELERATOR in inner.spec["nodeSelector"]):
        message = f"a GPU and {ACCELERATOR} go together"
        report.add("cloudrun", inner.spec["nodeSelector"], message)
    names = [str(container["name"].value) for container in inner]
    if len(set(names)) < len(names):
        report.add("name", inner.spec, "two containers have one name, or none")
    report.carried |= report.informed


class CloudRun(Workload):
    """`deploy/cloudrun-job.yaml` and `deploy/cloudrun-service.yaml`."""

    about = "a Cloud Run job, with a GPU of its own"
    carries = pod.OBJECT | {
        Capability.ENV,
        Capability.WHOLE_GPU,
        Capability.TIME_LIMIT,
        Capability.SERVICE_ACCOUNT,
    }
    restricts = pod.ONE_GPU | pod.ONE_RANK
    max_run_s = CAP_S
    sharing = "none"
    refuses = (("*", "Cloud Run gives a whole GPU: it neither shares one nor runs an MPS daemon"),)
    hosting = Hosting(
        "gcloud run jobs replace deploy/cloudrun-job.yaml",
        adapters=("serve",),
        secrets="printf %s VALUE | gcloud secrets create {name}-VARIABLE --data-file=-",
    )
    manifests = (
        Manifest("run.googleapis.com/v1", "Job", "cloudrun-job", _check),
        Manifest(schema="cloudrun-service", check=_check, only=_is_service),
    )

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return job and service; a job's time limit is text there, a service's a number."""
        figures, patch = plan.figures, plan.patch
        comments = (
            *pod.notes(
                plan,
                default_limit="Cloud Run ends a task after 600 s and a request after 300 s then.",
            ),
            "A whole GPU is reserved and billed.",
        )
        task: dict[str, Json] = {"maxRetries": 0}
        served: dict[str, Json] = {"containerConcurrency": 1}
        if figures.timeout_s is not None:
            task["timeoutSeconds"] = str(figures.timeout_s)
            served["timeoutSeconds"] = figures.timeout_s
        serving = _container(plan, pod.SERVE)
        serving["ports"] = [{"containerPort": pod.PORT}]
        task |= patch.pod
        served |= patch.pod
        task["nodeSelector"] = served["nodeSelector"] = {ACCELERATOR: plan.request.accelerator}
        task["containers"] = [_container(plan, pod.RUN)]
        served["containers"] = [serving]
        job = pod.workload(
            ("run.googleapis.com/v1", "Job"),
            plan,
            {
                "template": {
                    "metadata": {"annotations": {DOMAIN + "execution-environment": "gen2"}},
                    "spec": {"taskCount": 1, "parallelism": 1, "template": {"spec": task}},
                }
            },
            {DOMAIN + "launch-stage": "BETA"},
        )
        scale: dict[str, Json] = {
            "autoscaling.knative.dev/maxScale": "1",
            DOMAIN + "cpu-throttling": "false",
        }
        service = pod.workload(
            ("serving.knative.dev/v1", "Service"),
            plan,
            {"template": {"metadata": {"annotations": scale}, "spec": served}},
        )
        return (
            Document("deploy/cloudrun-job.yaml", job, comments),
            Document("deploy/cloudrun-service.yaml", service, comments),
        )


def _container(plan: Plan, command: tuple[str, ...]) -> dict[str, Json]:
    cpus = max(LEAST_CPUS, plan.figures.cpu_count or 0.0)
    size = max(LEAST_MEMORY_MIB, plan.figures.host_memory_mib or 0)
    amounts = {"cpu": f"{cpus:g}", "memory": f"{-(-size // 1024)}Gi"}
    found: dict[str, Json] = {"image": plan.image, "command": list(command)}
    known = pod.variables(dataclasses.replace(plan, required=()))
    if known := [*known, *(_secret(plan.figures.name, name) for name in plan.required)]:
        found["env"] = known
    gpus = {key: str(value) for key, value in plan.patch.limits}
    found["resources"] = {"limits": {**amounts, **gpus}}
    return found


def _secret(function: str, name: str) -> Json:
    """Return a variable that Secret Manager gives; there a secret is one value."""
    ref: Json = {"name": f"{function}-{name}", "key": "latest"}
    return {"name": name, "valueFrom": {"secretKeyRef": ref}}


class NoSharing(Sharing):
    """One whole GPU: the figures are information."""

    about = "a whole GPU, undivided"
    needs = frozenset({Capability.WHOLE_GPU})
    restricts = pod.ONE_GPU
    expresses: frozenset[str] = frozenset()
    refuses = "a whole GPU needs no share; none is for Cloud Run, which cannot divide one"

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return a limit of one GPU, and variables that inform the function."""
        return pod.whole_gpu(figures, ())
