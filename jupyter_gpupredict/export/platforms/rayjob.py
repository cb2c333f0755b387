"""A RayJob (ray.io/v1): starts a cluster, runs the function on it, and takes it down."""

from __future__ import annotations

import dataclasses

from jupyter_gpupredict.core import metrics
from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import (
    Document,
    Figures,
    Hosting,
    Json,
    Plan,
    SharePatch,
    Workload,
)
from jupyter_gpupredict.export.documents import parse_yaml, yaml_text
from jupyter_gpupredict.export.findings import Manifest, Node, Pod, Report, limits, template
from jupyter_gpupredict.export.function import container

HEAD_FIELDS = (
    "schedulerName",
    "serviceAccountName",
    "imagePullSecrets",
    "priorityClassName",
    "tolerations",
)
"""Pod fields of a head that has no GPU."""


def _check(found: Node, report: Report) -> None:
    """Check what Ray books, the GPUs that KubeRay counts, ranks and the environment."""
    spec, cluster = found["spec"], found.at("spec.rayClusterSpec")
    booked, head = spec["entrypointNumGpus"], cluster["headGroupSpec"]
    _check_booked(booked, report)
    report.limit(spec["activeDeadlineSeconds"].whole, spec["activeDeadlineSeconds"])
    pods = [_check_group(head, report)]
    if workers := list(cluster["workerGroupSpecs"]):
        pods += [_check_workers(group, report) for group in workers]
        with_gpus = [group for group in workers if _given(group) or _counted(group)]
        started = sum(group["replicas"].whole or 0 for group in with_gpus)
        rules.check_count(started, cluster["workerGroupSpecs"], report)
        if booked.value and "ranks" in report.stamps:
            message = "takes a GPU, and the ranks, which start together, wait for it"
            report.add("ray", booked, message)
        if not _given(head):
            message = 'without num-gpus: "0" a head that sees a GPU runs a rank on it'
            report.warn("ray", head["rayStartParams"], message)
    else:
        rules.check_count(1, head, report)
        has = _given(head) or _counted(head)
        if booked.value and not has:
            _add_uncounted(head, report)
        if booked.value is None and has:
            report.warn("ray", booked, "without it Ray hides every GPU from the entrypoint")
    _check_runtime_env(spec["runtimeEnvYAML"], pods, report)


def _check_booked(booked: Node, report: Report) -> None:
    """Check that what Ray packs onto one GPU fits."""
    names = ("sm-percent", "memory-mib", "gpu-total-mib")
    share, memory, total = (Node(report.stamps.get(name)).whole for name in names)
    least = max((share or 0) / 100, memory / total if memory and total else 0.0)
    given = booked.value
    if isinstance(given, int | float) and not isinstance(given, bool) and given < least - 1e-9:
        report.add("ray", booked, f"{given} lets Ray pack more onto a GPU than fits")


def _check_group(group: Node, report: Report) -> Pod:
    """Check the pods of a group and return them."""
    inner = template(group["template"])
    if pod.SHARED_GPU in inner.limits and not _given(group):
        _add_uncounted(group, report)
    rules.check_pod(inner, report)
    return inner


def _given(group: Node) -> bool:
    """Whether the group says itself how many GPUs Ray counts."""
    return "num-gpus" in group["rayStartParams"] or "resources" in group


def _counted(group: Node) -> bool:
    """Whether KubeRay finds the number in the limits."""
    found = group.at("template.spec.containers")
    return any(str(name).endswith("gpu") for one in found for name in limits(one).table)


def _add_uncounted(group: Node, report: Report) -> None:
    message = 'KubeRay counts limits that end in gpu: num-gpus: "1" is needed'
    report.add("ray", group["rayStartParams"], message)


def _check_workers(group: Node, report: Report) -> Pod:
    """Check a group of workers; return their pods."""
    rules.check_order("ray", group, "minReplicas", "replicas", report)
    rules.check_order("ray", group, "replicas", "maxReplicas", report)
    inner = _check_group(group, report)
    if (group["replicas"].whole or 0) > 1:
        rules.check_apart(inner, {"ray.io/group": group["groupName"].value}, report)
    return inner


def _check_runtime_env(text: Node, pods: list[Pod], report: Report) -> None:
    if not isinstance(text.value, str):
        return
    try:
        (parsed,) = parse_yaml(text.value) or [None]
    except ValueError as error:
        report.add("ray", text, f"cannot be read as one YAML document: {error}")
        return
    given = Node(parsed)["env_vars"].value
    if not isinstance(given, dict):
        report.add("ray", text, "must be a mapping that holds the mapping env_vars")
        return
    for name, value in given.items():
        if not isinstance(value, str):
            report.add("env", text, f"{name} must be quoted text, not {value!r}")
    mps = rules.check_environment(Node({"environment": given}, text.path), 1, report)
    limiter = next((one.limiter for one in pods if one.limiter), "")
    if mps and limiter:
        report.add("mps-conflict", mps[0], f"{limiter} sets and enforces its own limits")
    elif mps and not any(pod.SHARED_GPU in one.limits for one in pods):
        report.warn("mps-route", mps[0], "no Ray pod has a way to an MPS daemon")


class RayJob(Workload):
    """`deploy/rayjob.yaml`."""

    about = "a RayJob: starts a Ray cluster, runs on it, takes it down"
    carries = pod.POD
    hosting = Hosting(
        rank_adapters=("ray",),
        requirement=container.RAY,
        packages=(("wget", "KubeRay asks with wget whether Ray is well."),),
    )
    manifests = (Manifest("ray.io/v1", "RayJob", "rayjob", _check),)

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return the job; Ray's own GPU share is bookkeeping and limits nothing.

        Several ranks are tasks of that many workers with a GPU each, and the head has none.
        """
        figures, patch = plan.figures, plan.patch
        spec: dict[str, Json] = {"entrypoint": "python handler.py"}
        if figures.ranks > 1:
            spec["entrypoint"] = f"python {container.RANKS.path} {figures.ranks} '{{}}'"
        else:
            spec["entrypointNumCpus"] = _plain(figures.cpu_count or pod.SAFE_CPUS)
            spec["entrypointNumGpus"] = _booked(figures, patch)
        spec["shutdownAfterJobFinishes"] = True
        spec["ttlSecondsAfterFinished"] = plan.request.ttl_s
        if plan.request.retries:
            spec["backoffLimit"] = plan.request.retries
        if pod.KUEUE_QUEUE in dict(patch.object_labels):
            spec["suspend"] = True  # Kueue starts it
        if figures.timeout_s is not None:
            spec["activeDeadlineSeconds"] = figures.timeout_s
        if patch.env and not patch.pod.get("hostIPC"):
            # The device plugin brings the way to its daemon; the limits are the function's alone.
            # Where the pod mounts the way itself, they stand beside it and Ray's workers inherit.
            spec["runtimeEnvYAML"] = yaml_text({"env_vars": dict(patch.env)})
            plan = dataclasses.replace(plan, patch=dataclasses.replace(patch, env=()))
        spec["rayClusterSpec"] = self._cluster(plan)
        if figures.timeout_s is not None:
            said = "KubeRay counts the time limit from the RayJob's start: waiting counts, too."
            patch = dataclasses.replace(patch, comments=(*patch.comments, said))
        comments = (
            *pod.notes(dataclasses.replace(plan, patch=patch)),
            f"The image must hold Ray {container.RAY_VERSION}. What Ray counts of GPUs is its "
            "bookkeeping.",
        )
        job = pod.workload(("ray.io/v1", "RayJob"), plan, spec)
        return (
            Document("deploy/rayjob.yaml", job, comments, before=patch.before),
            *patch.companions,
        )

    def _cluster(self, plan: Plan) -> dict[str, Json]:
        figures, patch = plan.figures, plan.patch
        # KubeRay counts only resources whose name ends in gpu, and no claim or environment.
        counted = any(name.endswith("gpu") for name, _ in patch.limits)
        start: dict[str, Json] = {} if counted else {"num-gpus": str(figures.gpus)}
        if patch.basis == "sm_share":
            # KubeRay would lay memory of its own over the /dev/shm of the MPS daemon otherwise.
            start["plasma-directory"] = "/tmp"  # noqa: S108 - a container's own
        cluster: dict[str, Json] = {"rayVersion": container.RAY_VERSION}
        if figures.ranks == 1:
            cluster["headGroupSpec"] = self._pods("head", plan, start)
            return cluster
        none: dict[str, Json] = {"num-gpus": "0"}  # else it counts those that it sees
        head = SharePatch(
            "none",
            pod={key: patch.pod[key] for key in HEAD_FIELDS if key in patch.pod},
            labels=patch.labels,
            annotations=tuple(plan.request.annotations),
            variables=patch.variables,
            env_from=patch.env_from,
        )
        cluster["headGroupSpec"] = self._pods("head", dataclasses.replace(plan, patch=head), none)
        if patch.uncounted:
            affinity = pod.apart("ray.io/group", figures.name)
            patch = dataclasses.replace(patch, pod={**patch.pod, "affinity": affinity})
            plan = dataclasses.replace(plan, patch=patch)
        workers = self._pods("worker", plan, start)
        counts = dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), figures.ranks)
        cluster["workerGroupSpecs"] = [{"groupName": figures.name, **counts, **workers}]
        return cluster

    def _pods(self, role: str, plan: Plan, start: dict[str, Json]) -> dict[str, Json]:
        """Return the pods of a group; no command, since KubeRay starts Ray in them."""
        container = pod.container(plan, name=f"ray-{role}")
        del container["command"]
        inside: dict[str, Json] = {
            **pod.fields(plan.patch, self.carries),
            "containers": [container],
        }
        return {"rayStartParams": start, "template": pod.template(plan.patch, inside)}


def _booked(figures: Figures, patch: SharePatch) -> int | float:
    if figures.gpus > 1:
        return figures.gpus
    share = figures.sm_percent if patch.basis == "sm_share" else None
    return _plain(metrics.ray_gpus(share, figures.memory_mib, figures.gpu_total_mib))


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value
