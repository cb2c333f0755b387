"""A Nuclio function: one file for nuctl, which builds, and one for kubectl, which does not."""

from __future__ import annotations

from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import Capability, Document, Hosting, Json, Plan, Workload
from jupyter_gpupredict.export.findings import Manifest, Node, Pod, Report
from jupyter_gpupredict.export.shapes import seconds

API, KIND = "nuclio.io/v1beta1", "NuclioFunction"
POD_FIELDS = ("hostIPC", "nodeSelector", "tolerations", "priorityClassName")


def _check(found: Node, report: Report) -> None:
    """Check a function, for nuctl or for kubectl."""
    spec = found["spec"]
    rules.check_order("nuclio", spec, "minReplicas", "maxReplicas", report)
    report.limit(seconds(spec["eventTimeout"].value), spec["eventTimeout"])
    volumes = {
        key: [one[key].value for one in spec["volumes"]] for key in ("volume", "volumeMount")
    }
    container = {**spec.table, "volumeMounts": volumes["volumeMount"]}
    whole_pod = {**spec.table, "volumes": volumes["volume"]}
    containers = (Node(container, spec.path),)
    inner = Pod(Node(whole_pod, spec.path), found["metadata"], containers)
    if inner.uses_gpu:
        strategy = spec["deploymentStrategy"]
        if pod.GPU not in inner.limits and strategy["type"].value != "Recreate":
            message = "without type Recreate a redeploy waits for a second share"
            report.warn("nuclio-gpu", strategy, message)
        for _, trigger in spec["triggers"].pairs():
            if (trigger["numWorkers"].whole or trigger["maxWorkers"].whole or 1) > 1:
                message = "several workers are several CUDA processes on one share"
                report.warn("nuclio-gpu", trigger, message)
    rules.check_pod(inner, report)


class Nuclio(Workload):
    """`function.yaml` beside the code and `deploy/nuclio.yaml`."""

    about = "a Nuclio function, built and deployed by nuctl"
    carries = (
        pod.FUNCTION
        | (pod.TEAM - {Capability.SECURITY})
        | {
            Capability.PRIORITY,
            Capability.NODE_SELECTOR,
            Capability.TOLERATIONS,
            Capability.HOST_IPC,
            Capability.HOST_PATH,
        }
    )
    restricts = pod.ONE_RANK
    refuses = (
        ("dra", "Nuclio's function spec has no resource claims"),
        ("kai", "Nuclio's function spec has no scheduler name"),
        ("volcano", "Nuclio's function spec has no scheduler name"),
    )
    hosting = Hosting("nuctl deploy -f function.yaml --path .")
    manifests = (
        Manifest(
            schema="nuclio",
            check=_check,
            only=lambda one: str(one["apiVersion"].value).startswith("nuclio.io/"),
        ),
    )

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return both forms of the function.

        The controller ignores an object whose status is empty and never builds, so the kubectl
        form names an image and a state.
        """
        patch = plan.patch
        comments = pod.notes(plan)
        if "runtimeClassName" in patch.pod:
            said = "Nuclio has no runtime class: nvidia must be the node's default one."
            comments = (*comments, said)
        build: dict[str, Json] = {
            "baseImage": f"python:{pod.python_version()}-slim",
            "commands": ["pip install -r /opt/nuclio/requirements.txt"],
        }
        spec, labels = self._spec(plan), {"nuclio.io/project-name": "default"}
        built, ready = (
            pod.workload((API, KIND), plan, {**spec, **source}, labels=labels)
            for source in ({"build": build}, {"image": plan.image})
        )
        ready["status"] = {"state": "waitingForResourceConfiguration"}
        said = "nuctl deploy -f function.yaml --path ."
        return (
            Document("function.yaml", built, (*comments, said)),
            Document("deploy/nuclio.yaml", ready, comments),
            *patch.companions,
        )

    def _spec(self, plan: Plan) -> dict[str, Json]:
        figures, patch = plan.figures, plan.patch
        spec: dict[str, Json] = {
            "runtime": f"python:{pod.python_version()}",
            "handler": "handler:handler",
            "minReplicas": 0,
            "maxReplicas": 1,
        }
        if figures.timeout_s is not None:
            spec["eventTimeout"] = pod.duration(figures.timeout_s)
        if variables := pod.variables(plan):
            spec["env"] = variables
        spec["envFrom"] = pod.sources(plan)
        spec["resources"] = pod.resources(plan)
        fields = pod.fields(patch, self.carries)
        if plan.request.service_account:
            spec["serviceAccount"] = plan.request.service_account
        if plan.request.pull_secrets:
            spec["imagePullSecrets"] = plan.request.pull_secrets[0]
        spec |= {key: fields[key] for key in POD_FIELDS if key in fields}
        volumes, mounts = fields.get("volumes"), patch.container.get("volumeMounts")
        if isinstance(volumes, list) and isinstance(mounts, list):
            spec["volumes"] = [
                {"volume": volume, "volumeMount": mount}
                for volume, mount in zip(volumes, mounts, strict=True)
            ]
        # Nuclio recreates by itself for nvidia.com/gpu alone; else a redeploy waits for a share.
        spec["deploymentStrategy"] = {"type": "Recreate"}
        # Each further worker would be another CUDA process.
        spec["triggers"] = {
            "http": {"kind": "http", "numWorkers": 1, "workerAvailabilityTimeoutMilliseconds": 0}
        }
        return spec
