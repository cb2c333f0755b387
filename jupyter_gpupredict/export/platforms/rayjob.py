"""A RayJob (ray.io/v1): starts a cluster, runs the function on it, and takes it down."""

from __future__ import annotations

import dataclasses
from typing import Any

from jupyter_gpupredict.core import rounding
from jupyter_gpupredict.core.deployment import Document, Figures, Hosting, Json, Plan, SharePatch
from jupyter_gpupredict.core.findings import (
    Manifest,
    Pod,
    Report,
    at,
    items,
    limits,
    table,
    template_at,
    whole,
)
from jupyter_gpupredict.core.protocols import Workload
from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.documents import parse_yaml, yaml_text
from jupyter_gpupredict.export.function import adapters

CLUSTER = "spec.rayClusterSpec"
HEAD, WORKERS = f"{CLUSTER}.headGroupSpec", f"{CLUSTER}.workerGroupSpecs"
BOOKED = "spec.entrypointNumGpus"


def _check(found: dict[str, Any], report: Report) -> None:
    """Check what Ray books, the GPUs that KubeRay counts, ranks and the environment."""
    spec = table(found.get("spec"))
    booked = spec.get("entrypointNumGpus")
    _check_booked(booked, report)
    report.limit(spec.get("activeDeadlineSeconds"), "spec.activeDeadlineSeconds")
    cluster = table(spec.get("rayClusterSpec"))
    head = table(cluster.get("headGroupSpec"))
    workers = [table(one) for one in items(cluster.get("workerGroupSpecs"))]
    pods = [_check_group(head, HEAD, report)]
    if workers:
        pods += _check_workers(workers, report)
        if booked and "ranks" in report.stamps:
            message = "takes a GPU, and the ranks, which start together, wait for it"
            report.add("ray", BOOKED, message)
        if not _given(head):
            message = 'without num-gpus: "0" a head that sees a GPU runs a rank on it'
            report.warn("ray", f"{HEAD}.rayStartParams", message)
    else:
        rules.check_count(1, HEAD, report)
        has = _given(head) or _counted(head)
        if booked and not has:
            _add_uncounted(HEAD, report)
        if booked is None and has:
            message = "without it Ray hides every GPU from the entrypoint"
            report.warn("ray", BOOKED, message)
    _check_runtime_env(spec.get("runtimeEnvYAML"), pods, report)


def _check_booked(booked: Any, report: Report) -> None:
    """Check that what Ray packs onto one GPU fits."""
    if isinstance(booked, bool) or not isinstance(booked, int | float):
        return
    stamps = report.stamps
    share, memory = whole(stamps.get("sm-percent")), whole(stamps.get("memory-mib"))
    total = whole(stamps.get("gpu-total-mib"))
    least = max((share or 0) / 100, memory / total if memory and total else 0.0)
    if booked < least - 1e-9:
        report.add("ray", BOOKED, f"{booked} lets Ray pack more onto a GPU than fits")


def _check_group(group: dict[str, Any], path: str, report: Report) -> Pod:
    """Check the pods of a group and return them."""
    inner = template_at(group.get("template"), f"{path}.template")
    if pod.SHARED_GPU in inner.limits and not _given(group):
        _add_uncounted(path, report)
    rules.check_pod(inner, report)
    return inner


def _given(group: dict[str, Any]) -> bool:
    """Whether the group says itself how many GPUs Ray counts."""
    return "num-gpus" in table(group.get("rayStartParams")) or "resources" in group


def _counted(group: dict[str, Any]) -> bool:
    """Whether KubeRay finds the number in the limits."""
    found = items(at(group, "template", "spec", "containers"))
    return any(str(name).endswith("gpu") for one in found for name in limits(one))


def _add_uncounted(path: str, report: Report) -> None:
    message = 'KubeRay counts limits that end in gpu: num-gpus: "1" is needed'
    report.add("ray", f"{path}.rayStartParams", message)


def _check_workers(groups: list[dict[str, Any]], report: Report) -> list[Pod]:
    """Check groups of workers; return their pods."""
    pods = []
    for position, group in enumerate(groups):
        path = f"{WORKERS}[{position}]"
        rules.check_order("ray", group, "minReplicas", "replicas", path, report)
        rules.check_order("ray", group, "replicas", "maxReplicas", path, report)
        pods.append(_check_group(group, path, report))
        if (whole(group.get("replicas")) or 0) > 1:
            rules.check_apart(pods[-1], {"ray.io/group": group.get("groupName")}, report)
    with_gpus = [group for group in groups if _given(group) or _counted(group)]
    started = sum(whole(group.get("replicas", 0)) or 0 for group in with_gpus)
    rules.check_count(started, WORKERS, report)
    return pods


def _check_runtime_env(text: Any, pods: list[Pod], report: Report) -> None:
    if not isinstance(text, str):
        return
    where = "spec.runtimeEnvYAML"
    try:
        parsed = parse_yaml(text)
    except ValueError as error:
        report.add("ray", where, f"cannot be read as YAML: {error}")
        return
    given = at(parsed, 0, "env_vars")
    if len(parsed) != 1 or not isinstance(given, dict):
        report.add("ray", where, "must be a mapping that holds the mapping env_vars")
        return
    for name, value in given.items():
        if not isinstance(value, str):
            report.add("env", where, f"{name} must be quoted text, not {value!r}")
    mps = rules.check_environment({"environment": given}, where, 1, report)
    limiter = next((one.limiter for one in pods if one.limiter), "")
    if mps and limiter:
        report.add("mps-conflict", mps[0], f"{limiter} sets and enforces its own limits")
    elif mps and not any(pod.SHARED_GPU in one.limits for one in pods):
        report.warn("mps-route", mps[0], "no Ray pod has a way to an MPS daemon")


class RayJob(Workload):
    """`deploy/rayjob.yaml`."""

    carries = pod.POD
    hosting = Hosting(
        rank_adapters=("ray",),
        requirement=adapters.RAY,
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
            spec["entrypoint"] = f"python {adapters.RANKS.path} {figures.ranks} '{{}}'"
        else:
            spec["entrypointNumCpus"] = _plain(figures.cpu_count or pod.SAFE_CPUS)
            spec["entrypointNumGpus"] = _booked(figures, patch)
        spec["shutdownAfterJobFinishes"] = True
        spec["ttlSecondsAfterFinished"] = 3600
        if figures.timeout_s is not None:
            spec["activeDeadlineSeconds"] = figures.timeout_s
        if patch.env and not patch.pod.get("hostIPC"):
            # The device plugin brings the way to its daemon; the limits are the function's alone.
            # Where the pod mounts the way itself, they stand beside it and Ray's workers inherit.
            spec["runtimeEnvYAML"] = yaml_text({"env_vars": dict(patch.env)})
            plan = dataclasses.replace(plan, patch=dataclasses.replace(patch, env=()))
        spec["rayClusterSpec"] = self._cluster(plan)
        comments = (
            *pod.notes(plan),
            f"The image must hold Ray {adapters.RAY_VERSION}. What Ray counts of GPUs is its "
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
        cluster: dict[str, Json] = {"rayVersion": adapters.RAY_VERSION}
        if figures.ranks == 1:
            cluster["headGroupSpec"] = self._pods("head", plan, start)
            return cluster
        none: dict[str, Json] = {"num-gpus": "0"}  # else it counts those that it sees
        scheduler = {key: patch.pod[key] for key in ("schedulerName",) if key in patch.pod}
        head = SharePatch("none", pod=scheduler, labels=patch.labels)
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
    return _plain(rounding.ray_gpus(share, figures.memory_mib, figures.gpu_total_mib))


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value
