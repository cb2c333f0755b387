"""A Fission function (newdeploy executor) and its environment."""

from __future__ import annotations

from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import Capability, Document, Hosting, Json, Plan, Workload
from jupyter_gpupredict.export.findings import Manifest, Node, Pod, Report

NAMESPACE = "default"


def _check(found: Node, report: Report) -> None:
    spec, strategy = found["spec"], found.at("spec.InvokeStrategy.ExecutionStrategy")
    executor = strategy["ExecutorType"].value or "poolmgr"
    own = Pod(Node({}, spec.path), containers=(spec,))
    if executor == "poolmgr" and (own.uses_gpu or "env" in spec or "envFrom" in spec):
        message = "poolmgr's pods are generic: GPU and env are dropped"
        report.add("fission", strategy, message)
    rules.check_order("fission", strategy, "MinScale", "MaxScale", report)
    timeout = spec["functionTimeout"]
    report.limit(timeout.whole if timeout.value is not None else 60, timeout)
    rules.check_pod(Pod(spec["podspec"]) if executor == "container" else own, report)


def _check_environment(found: Node, report: Report) -> None:
    if "podspec" in found.at("spec.runtime"):
        rules.check_pod(Pod(found.at("spec.runtime.podspec")), report)


class Fission(Workload):
    """`deploy/fission.yaml`."""

    about = "a Fission function and its environment"
    carries = (
        pod.FUNCTION
        | pod.OBJECT
        | {Capability.ENV_FROM, Capability.VOLUMES, Capability.MEMORY_VOLUME}
    )
    restricts = pod.ONE_GPU | pod.ONE_RANK
    refuses = (
        (
            "*",
            "Fission's admission refuses host IPC and host paths, and newdeploy ignores the "
            "function's pod spec",
        ),
    )
    hosting = Hosting(namespace=NAMESPACE)
    manifests = (
        Manifest("fission.io/v1", "Function", "fission-function", _check),
        Manifest(
            "fission.io/v1",
            "Environment",
            "fission-environment",
            _check_environment,
            stamped=False,
        ),
    )

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return environment and function; the generic pods of poolmgr would drop GPU and env."""
        figures, patch = plan.figures, plan.patch
        name, namespace = figures.name, plan.request.namespace or NAMESPACE
        runtime: dict[str, Json] = {"image": plan.image}
        if mounts := patch.container.get("volumeMounts"):
            # newdeploy merges this into its pod, whose container is called as the environment is
            inner: Json = {"name": f"{name}-env", "image": plan.image, "volumeMounts": mounts}
            runtime["podspec"] = {"containers": [inner], "volumes": patch.pod["volumes"]}
        environment: dict[str, Json] = {
            "apiVersion": "fission.io/v1",
            "kind": "Environment",
            "metadata": {"name": f"{name}-env", "namespace": namespace},
            "spec": {"version": 3, "poolsize": 1, "runtime": runtime},
        }
        spec: dict[str, Json] = {
            "environment": {"name": f"{name}-env", "namespace": namespace},
            "package": {
                "packageref": {"name": f"{name}-pkg", "namespace": namespace},
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
        if variables := pod.variables(plan):
            spec["env"] = variables
        spec["envFrom"] = pod.sources(plan)
        said = "Fission of older versions does not know a function's env and envFrom."
        comments = (*comments, said)
        spec["resources"] = pod.resources(plan)
        type_ = ("fission.io/v1", "Function")
        function = pod.workload(type_, plan, spec, namespace=NAMESPACE)
        return (
            Document("deploy/fission.yaml", function, comments, before=(environment,)),
            *patch.companions,
        )
