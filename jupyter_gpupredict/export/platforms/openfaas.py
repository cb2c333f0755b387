"""An OpenFaaS function: custom resources with the profile that holds the GPU, and a stack file."""

from __future__ import annotations

import dataclasses

from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import (
    Capability,
    Document,
    Figures,
    Hosting,
    Json,
    Plan,
    SharePatch,
    Workload,
)
from jupyter_gpupredict.export.findings import Manifest, Node, Pod, Report, limits
from jupyter_gpupredict.export.shapes import seconds
from jupyter_gpupredict.export.stamps import read_stamps, stamps

PROFILE = "com.openfaas.profile"
SCALE = {"com.openfaas.scale.zero": "true", "com.openfaas.scale.max": "1"}
TIMEOUTS = ("exec_timeout", "read_timeout", "write_timeout")
"""They go together: the shortest ends the call."""


def _check_function(found: Node, report: Report) -> None:
    spec, profiles = found["spec"], report.named("Profile")
    if spec["name"].value != found.at("metadata.name").value:
        report.add("openfaas", spec["name"], "is not the object's name")
    _check_one(spec, report)
    profile = spec["annotations"][PROFILE].value
    if not profiles:
        report.carried |= report.informed  # the profile that limits is in another file
    elif profile is not None and profile not in profiles:
        report.add("openfaas", spec["annotations"], f"this file has no profile {profile!r}")


def _check_profile(found: Node, report: Report) -> None:
    spec = found["spec"]
    inner = Pod(spec, containers=(spec,))
    if not inner.uses_gpu:
        report.add("openfaas", limits(spec), "the profile holds no GPU")
    rules.check_pod(inner, report)


def _check_stack(found: Node, report: Report) -> None:
    for _, function in found["functions"].pairs():
        read_stamps(function["annotations"], report)
    for _, function in found["functions"].pairs():
        _check_one(function, report)
    report.carried |= report.informed


def _check_one(spec: Node, report: Report) -> None:
    mps = rules.check_environment(spec, 1, report)
    informed = any(str(name).startswith("GPUPREDICT_") for name in spec["environment"].table)
    needed = mps or informed or report.named("Profile")
    if needed and not spec["annotations"][PROFILE].value:
        report.add("openfaas", spec["annotations"], f"a share needs {PROFILE}")
    for key in TIMEOUTS:
        report.limit(seconds(spec["environment"][key].value), spec["environment"][key])


class OpenFaas(Workload):
    """`deploy/openfaas.yaml` and `deploy/stack.yaml`."""

    about = "an OpenFaaS function, with the profile that holds the GPU"
    carries = pod.FUNCTION | pod.OBJECT | {Capability.RUNTIME_CLASS, Capability.TOLERATIONS}
    restricts = pod.ONE_GPU | pod.ONE_RANK
    refuses = (
        (
            "*",
            "an OpenFaaS profile carries runtime class, tolerations and resources, no pod settings",
        ),
    )
    hosting = Hosting(
        "faas-cli up -f deploy/stack.yaml", adapters=("openfaas",), namespace="openfaas-fn"
    )
    manifests = (
        Manifest("openfaas.com/v1", "Function", "openfaas-function", _check_function),
        Manifest("openfaas.com/v1", "Profile", "openfaas-profile", _check_profile, stamped=False),
        Manifest(
            schema="openfaas-stack",
            check=_check_stack,
            only=lambda one: one.at("provider.name").value == "openfaas",
        ),
    )

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return both forms; a function's own limits know memory and CPU alone."""
        figures, patch = plan.figures, plan.patch
        name, profile = figures.name, f"{figures.name}-gpu"
        environment: dict[str, Json] = {**dict(_variables(figures, patch)), **dict(patch.variables)}
        if figures.timeout_s is not None:
            environment |= dict.fromkeys(TIMEOUTS, pod.duration(figures.timeout_s))
        common: dict[str, Json] = {"image": plan.image, "environment": environment}
        if plan.required:  # OpenFaaS starts no function whose secret is not there
            common["secrets"] = [pod.secret_name(figures)]  # files: the adapter reads them
        size: dict[str, Json] = {"memory": pod.memory(figures), "cpu": pod.cpus(figures)}
        spec: dict[str, Json] = {
            "name": name,
            **common,
            "labels": {**SCALE, **dict(patch.object_labels)},
            "annotations": {PROFILE: profile},
            "limits": size,
        }
        type_ = ("openfaas.com/v1", "Function")
        function = pod.workload(type_, plan, spec, namespace=self.hosting.namespace)
        stacked: dict[str, Json] = {
            "lang": "python3-http-debian",
            "handler": "./function",
            **common,
            "annotations": {PROFILE: profile, **stamps(figures, patch)},
            "limits": size,
        }
        stack: dict[str, Json] = {
            "version": "1.0",
            "provider": {"name": "openfaas"},
            "functions": {name: stacked},
        }
        comments = (
            *pod.notes(plan),
            "Profiles and scaling to zero are features of OpenFaaS's paid editions.",
        )
        before = (_profile(profile, patch, self.carries),)
        after = (*comments, "Apply the profile in openfaas.yaml first.")
        return (
            Document("deploy/openfaas.yaml", function, comments, before=before),
            Document("deploy/stack.yaml", stack, after),
            *patch.companions,
        )


def _profile(name: str, patch: SharePatch, carries: frozenset[Capability]) -> dict[str, Json]:
    spec: dict[str, Json] = {
        "runtimeClassName": "nvidia",
        "resources": {"limits": {key: str(value) for key, value in patch.limits}},
    }
    fields = pod.fields(patch, carries)
    if "tolerations" in fields:
        spec["tolerations"] = fields["tolerations"]
    return {
        "apiVersion": "openfaas.com/v1",
        "kind": "Profile",
        "metadata": {"name": name, "namespace": "openfaas"},
        "spec": spec,
    }


def _variables(figures: Figures, patch: SharePatch) -> tuple[tuple[str, str], ...]:
    """Return the environment; where the profile alone limits, the figures inform the function."""
    if {pod.PERCENTAGE, pod.MEMORY} & set(dict(patch.env)):
        return patch.env
    by_time = patch.basis == "time_share"
    if by_time and figures.time_percent is not None:
        figures = dataclasses.replace(figures, sm_percent=None)  # the share that is not applied
    elif not by_time and figures.sm_percent is not None:
        figures = dataclasses.replace(figures, time_percent=None)
    return pod.information(figures) + patch.env
