"""A Fission function (newdeploy executor) and its environment."""

from __future__ import annotations

from typing import Any

from jupyter_gpupredict.core.deployment import Document, Json, Plan
from jupyter_gpupredict.core.findings import Manifest, Pod, Report, at, pod_at, table
from jupyter_gpupredict.core.protocols import Workload
from jupyter_gpupredict.export import pod, rules

NAMESPACE = "default"


def _check(found: dict[str, Any], report: Report) -> None:
    spec, where = table(found.get("spec")), "spec.InvokeStrategy.ExecutionStrategy"
    strategy = table(at(spec, "InvokeStrategy", "ExecutionStrategy"))
    executor = strategy.get("ExecutorType") or "poolmgr"
    own = Pod({}, "spec", containers=((spec, "spec"),))
    if executor == "poolmgr" and (own.uses_gpu or {"env", "envFrom"} & set(spec)):
        report.add("fission", where, "poolmgr's pods are generic: GPU and env are dropped")
    rules.check_order("fission", strategy, "MinScale", "MaxScale", where, report)
    report.limit(spec.get("functionTimeout", 60), "spec.functionTimeout")
    in_container = executor == "container"
    rules.check_pod(pod_at(spec.get("podspec"), "spec.podspec") if in_container else own, report)


class Fission(Workload):
    """`deploy/fission.yaml`."""

    carries = pod.FUNCTION
    restricts = pod.ONE_GPU | pod.ONE_RANK
    refuses = (
        (
            "*",
            "Fission's admission refuses host IPC and host paths, and newdeploy ignores the "
            "function's pod spec",
        ),
    )
    manifests = (
        Manifest("fission.io/v1", "Function", "fission-function", _check),
        Manifest("fission.io/v1", "Environment", "fission-environment", stamped=False),
    )

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return environment and function; the generic pods of poolmgr would drop GPU and env."""
        figures, patch = plan.figures, plan.patch
        name = figures.name
        environment: dict[str, Json] = {
            "apiVersion": "fission.io/v1",
            "kind": "Environment",
            "metadata": {"name": f"{name}-env", "namespace": NAMESPACE},
            "spec": {"version": 3, "poolsize": 1, "runtime": {"image": plan.image}},
        }
        spec: dict[str, Json] = {
            "environment": {"name": f"{name}-env", "namespace": NAMESPACE},
            "package": {
                "packageref": {"name": f"{name}-pkg", "namespace": NAMESPACE},
                "functionName": "handler.main",
            },
        }
        if figures.timeout_s is not None:
            spec["functionTimeout"] = figures.timeout_s
        spec |= {
            "requestsPerPod": 1,
            "concurrency": 1,
            "InvokeStrategy": {
                "StrategyType": "execution",
                "ExecutionStrategy": {
                    "ExecutorType": "newdeploy",
                    "MinScale": 0,
                    "MaxScale": 1,
                    "SpecializationTimeout": 300,
                },
            },
        }
        comments = (
            *pod.notes(plan, default_limit="Fission ends a call after 60 s by default."),
            f"Upload the code first: fission package create --name {name}-pkg ...",
        )
        if patch.env:
            spec["env"] = pod.variables(patch)
            comments = (*comments, "Fission of older versions does not know a function's env.")
        spec["resources"] = pod.resources(plan)
        type_ = ("fission.io/v1", "Function")
        function = pod.workload(type_, plan, spec, namespace=NAMESPACE)
        return (
            Document("deploy/fission.yaml", function, comments, before=(environment,)),
            *patch.companions,
        )
