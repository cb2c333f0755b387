"""Rules of a RayJob: bookkeeping, time to live, environment, GPUs that KubeRay counts, ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.checks import bounds, containers, pods, ranks
from jupyter_gpupredict.export.checks.containers import SHARED, template
from jupyter_gpupredict.export.checks.values import at, items, table, whole
from jupyter_gpupredict.export.documents import parse_yaml

if TYPE_CHECKING:
    from jupyter_gpupredict.export.checks.containers import Pod
    from jupyter_gpupredict.export.checks.ledger import Ledger

CLUSTER = "spec.rayClusterSpec"


def job(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a RayJob."""
    ledger.stamped = True
    spec = table(found.get("spec"))
    booked = spec.get("entrypointNumGpus")
    if isinstance(booked, int | float) and not isinstance(booked, bool):
        _booked(booked, ledger)
    if not spec.get("entrypoint") and spec.get("submissionMode") != "InteractiveMode":
        ledger.add("ray", "spec.entrypoint", "is missing: the job would run nothing")
    if "rayClusterSpec" not in spec and not spec.get("clusterSelector"):
        ledger.add("ray", "spec", "needs rayClusterSpec or clusterSelector")
    if spec.get("ttlSecondsAfterFinished") and spec.get("shutdownAfterJobFinishes") is not True:
        message = "needs shutdownAfterJobFinishes: true"
        ledger.add("ray", "spec.ttlSecondsAfterFinished", message)
    bounds.limit(spec.get("activeDeadlineSeconds"), "spec.activeDeadlineSeconds", ledger)
    cluster = table(spec.get("rayClusterSpec"))
    head = table(cluster.get("headGroupSpec"))
    workers = [table(one) for one in items(cluster.get("workerGroupSpecs"))]
    limits = _pods(head, f"{CLUSTER}.headGroupSpec", ledger).limits
    if workers:
        limits |= _workers(workers, ledger)
        _head_beside_workers(head, booked, ledger)
    else:
        _head_alone(head, booked, ledger)
    _runtime_env(spec.get("runtimeEnvYAML"), limits, ledger)


def _booked(booked: float, ledger: Ledger) -> None:
    where = "spec.entrypointNumGpus"
    if booked <= 0 or (booked > 1 and booked != int(booked)):
        ledger.add("ray", where, "must be up to 1, or whole")
    stamps = ledger.stamps
    share, memory = whole(stamps.get("sm-percent")), whole(stamps.get("memory-mib"))
    total = whole(stamps.get("gpu-total-mib"))
    least = max((share or 0) / 100, memory / total if memory and total else 0.0)
    if booked < least - 1e-9:
        ledger.add("ray", where, f"{booked} lets Ray pack more onto a GPU than fits")


def _pods(group: dict[str, Any], path: str, ledger: Ledger) -> Pod:
    """Check the pods of a group and return them."""
    inner = template(group.get("template"), f"{path}.template")
    if SHARED in inner.limits and not _given(group):
        _uncounted(path, ledger)
    pods.check(inner, ledger)
    return inner


def _given(group: dict[str, Any]) -> bool:
    """Whether the group says itself how many GPUs Ray counts."""
    return "num-gpus" in table(group.get("rayStartParams")) or "resources" in group


def _counted(group: dict[str, Any]) -> bool:
    """Whether KubeRay finds the number in the limits."""
    found = items(at(group, "template", "spec", "containers"))
    limits = {name for one in found for name in containers.limits(table(one))}
    return any(str(name).endswith("gpu") for name in limits)


def _uncounted(path: str, ledger: Ledger) -> None:
    message = 'KubeRay counts limits that end in gpu: num-gpus: "1" is needed'
    ledger.add("ray", f"{path}.rayStartParams", message)


def _head_alone(head: dict[str, Any], booked: Any, ledger: Ledger) -> None:
    """Check a head that runs the function itself."""
    path = f"{CLUSTER}.headGroupSpec"
    ranks.count(1, path, ledger)
    has = _given(head) or _counted(head)
    if booked and not has:
        _uncounted(path, ledger)
    if booked is None and has:
        message = "without it Ray hides every GPU from the entrypoint"
        ledger.warn("ray", "spec.entrypointNumGpus", message)


def _head_beside_workers(head: dict[str, Any], booked: Any, ledger: Ledger) -> None:
    """Check a head whose workers run the function."""
    if booked and "ranks" in ledger.stamps:
        message = "takes a GPU, and the ranks, which start together, wait for it"
        ledger.add("ray", "spec.entrypointNumGpus", message)
    if not _given(head):
        message = 'without num-gpus: "0" a head that sees a GPU runs a rank on it'
        ledger.warn("ray", f"{CLUSTER}.headGroupSpec.rayStartParams", message)


def _workers(groups: list[dict[str, Any]], ledger: Ledger) -> dict[str, Any]:
    """Check groups of workers; return their limits."""
    limits: dict[str, Any] = {}
    for position, group in enumerate(groups):
        path = f"{CLUSTER}.workerGroupSpecs[{position}]"
        bounds.order("ray", group, "minReplicas", "replicas", path, ledger)
        bounds.order("ray", group, "replicas", "maxReplicas", path, ledger)
        inner = _pods(group, path, ledger)
        limits |= inner.limits
        if (whole(group.get("replicas")) or 0) > 1:
            ranks.spread_out(inner, {"ray.io/group": group.get("groupName")}, ledger)
    with_gpus = [group for group in groups if _given(group) or _counted(group)]
    started = sum(whole(group.get("replicas", 0)) or 0 for group in with_gpus)
    ranks.count(started, f"{CLUSTER}.workerGroupSpecs", ledger)
    return limits


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
