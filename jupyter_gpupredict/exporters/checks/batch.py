"""Rules of what runs to its end: Kubernetes Jobs and pods, Ray and Volcano jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.exporters.checks import bounds, containers, pods, values
from jupyter_gpupredict.exporters.checks.containers import SHARED, pod
from jupyter_gpupredict.exporters.checks.shapes import join
from jupyter_gpupredict.exporters.checks.values import at, items, table, whole
from jupyter_gpupredict.exporters.documents import parse_yaml

if TYPE_CHECKING:
    from jupyter_gpupredict.exporters.checks.ledger import Ledger


def job(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a Kubernetes Job, or the one in a CronJob."""
    ledger.stamped = True
    base = "spec.jobTemplate.spec" if found.get("kind") == "CronJob" else "spec"
    spec = at(found, *base.split("."))
    template = table(at(spec, "template"))
    inner = pod(
        template.get("spec"), f"{base}.template.spec", template.get("metadata"),
        f"{base}.template.metadata",
    )  # fmt: skip
    if inner.spec.get("restartPolicy") not in ("Never", "OnFailure"):
        ledger.add("job-restart", join(inner.path, "restartPolicy"), "must be Never or OnFailure")
    bounds.limit(at(spec, "activeDeadlineSeconds"), f"{base}.activeDeadlineSeconds", ledger)
    own = table(at(found, "metadata", "annotations"))
    for key in ("gpu-memory", "gpu-fraction"):
        if key in own:
            where = f"metadata.annotations.{key}"
            ledger.add("kai", where, "belongs on the pod template, not on the Job")
    pods.check(inner, ledger)


def bare_pod(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a pod of its own."""
    ledger.stamped = True
    pods.check(pod(found.get("spec"), "spec", found.get("metadata"), "metadata"), ledger)


def ray(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a RayJob: bookkeeping, time to live, environment, GPUs that KubeRay counts."""
    ledger.stamped = True
    spec = table(found.get("spec"))
    booked = spec.get("entrypointNumGpus")
    if isinstance(booked, int | float) and not isinstance(booked, bool):
        if booked <= 0 or (booked > 1 and booked != int(booked)):
            ledger.add("ray", "spec.entrypointNumGpus", "must be up to 1, or whole")
        stamps = ledger.stamps
        share, memory = whole(stamps.get("sm-percent")), whole(stamps.get("memory-mib"))
        total = whole(stamps.get("gpu-total-mib"))
        least = max((share or 0) / 100, memory / total if memory and total else 0.0)
        if booked < least - 1e-9:
            message = f"{booked} lets Ray pack more onto a GPU than fits"
            ledger.add("ray", "spec.entrypointNumGpus", message)
    if not spec.get("entrypoint") and spec.get("submissionMode") != "InteractiveMode":
        ledger.add("ray", "spec.entrypoint", "is missing: the job would run nothing")
    if "rayClusterSpec" not in spec and not spec.get("clusterSelector"):
        ledger.add("ray", "spec", "needs rayClusterSpec or clusterSelector")
    if spec.get("ttlSecondsAfterFinished") and spec.get("shutdownAfterJobFinishes") is not True:
        message = "needs shutdownAfterJobFinishes: true"
        ledger.add("ray", "spec.ttlSecondsAfterFinished", message)
    bounds.limit(spec.get("activeDeadlineSeconds"), "spec.activeDeadlineSeconds", ledger)
    limits: dict[str, Any] = {}
    cluster = table(spec.get("rayClusterSpec"))
    groups = [("spec.rayClusterSpec.headGroupSpec", table(cluster.get("headGroupSpec")))]
    for position, one in enumerate(items(cluster.get("workerGroupSpecs"))):
        groups.append((f"spec.rayClusterSpec.workerGroupSpecs[{position}]", table(one)))
    for path, group in groups:
        template = table(group.get("template"))
        inner = pod(
            template.get("spec"), f"{path}.template.spec", template.get("metadata"),
            f"{path}.template.metadata",
        )  # fmt: skip
        limits |= inner.limits
        start = table(group.get("rayStartParams"))
        counted = any(str(name).endswith("gpu") for name in inner.limits)
        given = counted or "num-gpus" in start or "resources" in group
        if not given and (booked or SHARED in inner.limits):
            message = 'KubeRay counts limits that end in gpu: num-gpus: "1" is needed'
            ledger.add("ray", f"{path}.rayStartParams", message)
        if booked is None and ("num-gpus" in start or counted):
            message = "without it Ray hides every GPU from the entrypoint"
            ledger.warn("ray", "spec.entrypointNumGpus", message)
        pods.check(inner, ledger)
    _runtime_env(spec.get("runtimeEnvYAML"), limits, ledger)


def _runtime_env(text: Any, limits: dict[str, Any], ledger: Ledger) -> None:
    if not isinstance(text, str):
        return
    where = "spec.runtimeEnvYAML"
    try:
        parsed = parse_yaml(text)
    except ValueError as error:
        ledger.add("ray", where, f"is no YAML: {error}")
        return
    given = at(parsed, 0, "env_vars")
    if len(parsed) != 1 or not isinstance(given, dict):
        ledger.add("ray", where, "must be a mapping that holds the mapping env_vars")
        return
    mps = containers.environment({"environment": given}, where, 1, ledger)
    if mps and {"nvidia.com/gpucores", "nvidia.com/gpumem"} & set(limits):
        ledger.add("mps-conflict", mps[0], "hami sets and enforces its own limits")
    elif mps and SHARED not in limits:
        ledger.warn("mps-route", mps[0], "no Ray pod has a way to an MPS daemon")


def volcano(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a Volcano Job."""
    ledger.stamped = ledger.scheduled = True
    tasks = [table(one) for one in items(at(found, "spec", "tasks"))]
    total = sum(whole(one.get("replicas", 1)) or 0 for one in tasks)
    least = whole(at(found, "spec", "minAvailable"))
    if not tasks:
        ledger.add("volcano", "spec.tasks", "needs at least one task")
    if least is not None and least > total:
        message = f"{least} is above the {total} replicas of all tasks"
        ledger.add("volcano", "spec.minAvailable", message)
    for position, task in enumerate(tasks):
        path = f"spec.tasks[{position}]"
        if not values.LABEL.fullmatch(str(task.get("name", ""))):
            ledger.add("name", path, f"{task.get('name')!r} is no DNS label")
        template = table(task.get("template"))
        pods.check(
            pod(
                template.get("spec"), f"{path}.template.spec", template.get("metadata"),
                f"{path}.template.metadata",
            ),
            ledger,
        )  # fmt: skip
