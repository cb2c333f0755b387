"""Rules of every pod and container, wherever a target keeps it, that a schema cannot express."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.findings import Pod, at, items, join, limits, table, variables, whole
from jupyter_gpupredict.export.pod import (
    ALONE,
    GPU,
    MEMORY,
    PERCENTAGE,
    PIPE,
    PIPE_DIRECTORY,
    SHARED_GPU,
)
from jupyter_gpupredict.export.shapes import MIB, quantity

if TYPE_CHECKING:
    from jupyter_gpupredict.core.findings import Report

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
PERCENT = re.compile(r"[1-9][0-9]?|100")
MEMORY_ENTRY = re.compile(r"([0-9]+|GPU-[0-9a-fA-F-]+)=([1-9][0-9]*)([MG])")
SECRET_NAME = re.compile(
    r"(.*_)?(SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)(_ID)?",
    re.IGNORECASE,
)
MAX_GPUS = 64
INT32 = 2**31 - 1
RESOURCE = re.compile(r"cpu|memory|ephemeral-storage|hugepages-.+|[^/]+/[^/]+")
"""Names of what a container may ask for."""
FAMILIES = ("nvidia.com/gpu", "volcano.sh/vgpu-")
"""Beginnings of resources of which only those exist that a sharing backend declares."""
RENDEZVOUS = tuple(name for name in ALONE if name != "LOCAL_RANK")
"""What torch.distributed needs; one of them is of no use without the others."""
HOSTNAME = "kubernetes.io/hostname"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
AUTOSCALING = "autoscaling.knative.dev/"
KNATIVE_CAP_S = 600
"""max-revision-timeout-seconds of a stock Knative."""
NEEDS_FEATURE = {
    "affinity", "dnsConfig", "dnsPolicy", "hostAliases", "hostIPC", "hostNetwork", "hostPID",
    "nodeSelector", "priorityClassName", "runtimeClassName", "schedulerName", "securityContext",
    "shareProcessNamespace", "tolerations", "topologySpreadConstraints",
}  # fmt: skip
"""Pod fields with a Knative flag of the same name, which is off in a stock Knative."""


def check_pod(pod: Pod, report: Report) -> None:
    """Check a pod template: its containers, what divides its GPU, whether limits take hold."""
    mps: list[str] = []
    for container, path in pod.containers:
        check_amounts(container, path, report)
        mps += check_environment(container, path, _gpu_count(container, pod, report), report)
    names = [str(container.get("name")) for container, _ in pod.containers]
    for name in sorted({name for name in names if names.count(name) > 1}):
        report.add("name", pod.path, f"two containers are called {name}")
    _check_volumes(pod, report)
    for one in report.judges:
        one.judge(pod, report)
    if any(str(key).startswith("sharedgpu/") for key in pod.labels):
        _check_kubeshare(pod, report)
    if mps and pod.limiter:
        report.add("mps-conflict", mps[0], f"{pod.limiter} sets and enforces its own limits")
    elif mps and not pod.routed:
        _check_route(pod, mps[0], report)


def check_environment(
    container: dict[str, Any], path: str, gpus: int | None, report: Report
) -> list[str]:
    """Check a container's variables and return the paths of MPS limits among them."""
    seen: set[str] = set()
    found = []
    for where, name, value in variables(container, path):
        if not isinstance(name, str) or not ENV_NAME.fullmatch(name):
            report.add("env", where, f"{name!r} is not the name of a variable")
            continue
        if name in seen:
            report.add("env", where, f"{name} is given twice")
        seen.add(name)
        if value is None:
            report.warn("env", where, f"{name} has no value")
        if not isinstance(value, str):
            continue  # from elsewhere, or its shape says so
        if "\0" in value:
            report.add("env", where, f"{name} holds a NUL")
        if value and SECRET_NAME.fullmatch(name):
            report.add("secret", where, f"{name} carries a literal; refer to a secret instead")
        if check_variable(name, value, where, gpus, report):
            found.append(where)
    return found


def check_variable(name: str, value: str, where: str, gpus: int | None, report: Report) -> bool:
    """Check a variable that carries a figure; return whether it is a limit of MPS."""
    if name in (PERCENTAGE, "GPUPREDICT_SM_PERCENT", "GPUPREDICT_TIME_PERCENT"):
        if PERCENT.fullmatch(value):
            note = report.carry if name == PERCENTAGE else report.inform
            note("time" if "TIME" in name else "sm", Decimal(value), where)
        else:
            report.add("mps-percent", where, f"{value!r} is not a whole percent from 1 to 100")
    elif name == "GPUPREDICT_MEM_MIB":
        if whole(value):
            report.inform("mem", Decimal(value), where)
        else:
            report.add("mps-memory", where, f"{value!r} is not a whole number of MiB")
    elif name == MEMORY:
        _check_memory_limit(value, where, gpus, report)
    return name in (PERCENTAGE, MEMORY)


def _check_memory_limit(value: str, where: str, gpus: int | None, report: Report) -> None:
    devices = []
    for part in value.split(","):
        entry = MEMORY_ENTRY.fullmatch(part)
        if entry is None:
            report.add("mps-memory", where, f"{value!r} is not such as 0=5874M (binary MiB)")
            return
        devices.append(entry[1])
        report.carry("mem", Decimal(entry[2]) * (1024 if entry[3] == "G" else 1), where)
    ordinals = sorted(int(one) for one in devices if one.isdecimal())
    count = len(devices) if gpus is None else gpus
    by_ordinal = ordinals == list(range(count))
    by_uuid = not ordinals and len(devices) == count
    if len(set(devices)) != len(devices) or not (by_ordinal or by_uuid):
        message = (
            f"{value!r} does not name each of {count} visible GPU once; an entry for a GPU that is "
            "not visible drops every limit"
        )
        report.add("mps-ordinal", where, message)


def check_amounts(container: dict[str, Any], path: str, report: Report) -> None:
    """Check quantities: their form, whole pieces of extended resources, requests to limits."""
    known = {GPU, *(name for one in report.judges for name in one.resources)}
    limit, request = limits(container), table(at(container, "resources", "requests"))
    numbers: dict[tuple[str, str], Decimal | None] = {}
    for side, given in (("limits", limit), ("requests", request)):
        for name, value in given.items():
            where = join(path, "resources", side, str(name))
            number = numbers[side, name] = quantity(value)
            named = RESOURCE.fullmatch(str(name))
            if not named or (str(name).startswith(FAMILIES) and name not in known):
                report.add("resource", where, "a container has no such resource")
            if number is None:
                report.add("quantity", where, f"{value!r} is not a quantity such as 8Gi")
            elif number < 0:
                report.add("quantity", where, f"{value!r} is below nothing")
            elif _extended(name) and number != number.to_integral_value():
                report.add("ext-int", where, f"{value!r} is not a whole number of pieces")
    for name in request:
        where = join(path, "resources", "requests", str(name))
        asked, most = numbers["requests", name], numbers.get(("limits", name))
        if _extended(name):
            if asked != most:
                report.add("request-limit", where, "needs a limit that is equal")
        elif asked is not None and most is not None and asked > most:
            report.add("request-limit", where, "is above the limit")
    if SHARED_GPU in limit:
        where = join(path, "resources", "limits", SHARED_GPU)
        if numbers["limits", SHARED_GPU] != 1:
            report.add("shared-one", where, "the device plugin refuses more than one share")
        if GPU in limit:
            report.add("shared-one", where, "a share and a whole GPU in one container")


def _extended(name: str) -> bool:
    """Whether a resource is an extended one: such come in whole pieces."""
    return "/" in str(name) and "kubernetes.io/" not in str(name)


def _gpu_count(container: dict[str, Any], found: Pod, report: Report) -> int:
    """Return how many GPUs a container sees."""
    for name in (one.resources[0] for one in report.judges if one.resources):
        if (number := whole(limits(container).get(name))) is not None:
            return min(max(number, 1), MAX_GPUS)
    for _, name, value in variables(container, ""):
        if name == "NVIDIA_VISIBLE_DEVICES" and isinstance(value, str) and value[:1].isdecimal():
            return min(len(value.split(",")), MAX_GPUS)
    return min(max(1, len(items(at(container, "resources", "claims")))), MAX_GPUS)


def _check_volumes(pod: Pod, report: Report) -> None:
    """Check that mounts and volumes name one another, each once."""
    named = [at(one, "name") for one in items(pod.spec.get("volumes"))]
    mounted = set()
    for container, path in pod.containers:
        targets = []
        for position, one in enumerate(items(container.get("volumeMounts"))):
            mounted.add(str(at(one, "name")))
            targets.append(str(at(one, "mountPath")))
            if at(one, "name") not in named:
                where = f"{join(path, 'volumeMounts')}[{position}]"
                report.add("volume", where, f"there is no volume {at(one, 'name')!r}")
        if len(set(targets)) < len(targets):
            report.add("volume", join(path, "volumeMounts"), "one path is mounted twice")
    if len(set(map(str, named))) < len(named):
        report.add("volume", join(pod.path, "volumes"), "one name is given twice")
    for name in named:
        if str(name) not in mounted:
            report.warn("volume", join(pod.path, "volumes"), f"{name!r} is mounted nowhere")


def _check_route(pod: Pod, where: str, report: Report) -> None:
    """Warn where a client would find no daemon: it then runs without limits and without error."""
    given = pod.variables.get(PIPE_DIRECTORY)
    pipe = given if isinstance(given, str) else PIPE
    mounts = [table(one) for found, _ in pod.containers for one in items(found.get("volumeMounts"))]
    targets = [one.get("mountPath") for one in mounts]
    if pipe not in targets:
        report.warn("mps-route", where, "nothing leads to an MPS daemon: the limits do nothing")
        return
    if pod.spec.get("hostIPC") is not True and "/dev/shm" not in targets:  # noqa: S108
        report.warn("mps-route", where, "the pipe directory also needs hostIPC: true")
    names = {str(one.get("name")) for one in mounts if one.get("mountPath") == pipe}
    for volume in map(table, items(pod.spec.get("volumes"))):
        if volume.get("name") in names and at(volume, "hostPath", "type") != "Directory":
            message = "a hostPath of type Directory fails without a daemon; others run unlimited"
            report.warn("mps-route", join(pod.path, "volumes"), message)
    if pod.placed:
        return
    by_node = at(pod.spec, "affinity", "nodeAffinity")
    if not (by_node or any(pod.spec.get(key) for key in ("nodeSelector", "nodeName"))):
        message = "nothing says which nodes run an MPS daemon"
        report.warn("mps-route", join(pod.path, "nodeSelector"), message)
    if "NVIDIA_VISIBLE_DEVICES" not in pod.variables and not pod.uses_gpu:
        report.warn("mps-route", where, "NVIDIA_VISIBLE_DEVICES does not say which GPU is seen")


def carry_amounts(pod: Pod, cores: str, memory: str, report: Report) -> None:
    """Add the figures of resources that are percents of the time and plain MiB."""
    for container, path in pod.containers:
        where = join(path, "resources", "limits")
        for kind, name, most in (("time", cores, 100), ("mem", memory, INT32)):
            found = whole(limits(container).get(name))
            if found and found <= most:
                report.carry("time" if kind == "time" else "mem", Decimal(found), join(where, name))


def _check_kubeshare(pod: Pod, report: Report) -> None:
    """Check the labels of KubeShare, for which nothing is exported."""
    report.by_time, where = True, join(pod.metadata_path, "labels")
    try:
        low, high = (Decimal(str(pod.labels[f"sharedgpu/gpu_{x}"])) for x in ("request", "limit"))
    except (KeyError, ArithmeticError):
        report.add("kubeshare", where, "gpu_request and gpu_limit are needed as numbers")
        return
    if not 0 <= low <= high <= 1:
        report.add("kubeshare", where, "needs 0 <= gpu_request <= gpu_limit <= 1")
    report.carry("time", 100 * high, where)
    size = whole(pod.labels.get("sharedgpu/gpu_mem"))
    if not size or size % MIB:
        report.add("kubeshare", where, "gpu_mem is bytes, a whole number of MiB")
    else:
        report.carry("mem", Decimal(size // MIB), where)


def check_order(
    rule: str, found: dict[str, Any], low: str, high: str, where: str, report: Report
) -> None:
    """Check that the most is at least one, and at least the least."""
    least, most = whole(found.get(low)), whole(found.get(high))
    if most is not None and (most < 1 or (least or 0) > most):
        report.add(rule, join(where, high), f"must be at least 1 and at least {low}")


def check_count(given: Any, where: str, report: Report) -> None:
    """Check that as many ranks start as the run had, where the stamps tell."""
    had = whole(report.stamps.get("ranks")) or 1
    if report.stamps and whole(given) != had:
        report.warn("ranks", where, f"{given} start, and the run had {had}")


def check_apart(pod: Pod, labels: dict[str, Any], report: Report) -> None:
    """Warn where several pods reach MPS by the node's own pipe and nothing keeps them apart.

    No scheduler counts a GPU then, and each of them takes the first one of its node.
    """
    if PIPE_DIRECTORY not in pod.variables or pod.uses_gpu or pod.placed:
        return
    for term in items(at(pod.spec, "affinity", "podAntiAffinity", REQUIRED)):
        chosen = table(at(term, "labelSelector", "matchLabels"))
        if at(term, "topologyKey") == HOSTNAME and chosen and chosen.items() <= labels.items():
            return
    message = "nothing keeps these pods on nodes of their own: all may take the same GPU"
    report.warn("ranks", f"{pod.path}.affinity", message)


def check_features(pod: Pod, report: Report) -> None:
    """Check that what a stock Knative switches off is switched on."""
    needed = {key: (f"podspec-{key.lower()}", key) for key in NEEDS_FEATURE & set(pod.spec)}
    if "initContainers" in pod.spec:
        needed["initContainers"] = ("podspec-init-containers", "initContainers")
    for position, volume in enumerate(items(pod.spec.get("volumes"))):
        for key in set(table(volume)) - {"name", "secret", "configMap", "projected", "emptyDir"}:
            end = "persistent-volume-claim" if key == "persistentVolumeClaim" else None
            needed[f"volumes[{position}]"] = (f"podspec-{end or 'volumes-' + key.lower()}", key)
    for place, (end, key) in sorted(needed.items()):
        flag = f"kubernetes.{end}"
        if flag not in report.allowed.features:
            where = f"{pod.path}.{place}"
            report.add("knative-feature", where, f"{key} needs {flag} switched on")


def check_request_limit(timeout: Any, where: str, report: Report) -> None:
    """Check the time limit of a request against what Knative allows."""
    cap_s = report.allowed.max_timeout_s or KNATIVE_CAP_S
    report.limit(timeout, where)
    if (whole(timeout) or 0) > cap_s:
        message = f"{timeout} s is above the cap of {cap_s} s; use a Job"
        report.add("knative-timeout", where, message)


def check_concurrency(pod: Pod, limited: bool, bound: str, report: Report) -> None:
    """Warn where more than one request or replica may meet on a GPU."""
    if pod.uses_gpu and not (limited and pod.spec.get("containerConcurrency") == 1):
        message = f"a GPU wants containerConcurrency 1 and {bound}"
        report.warn("knative-concurrency", pod.path, message)


def check_scaling(notes: dict[str, Any], where: str, report: Report) -> None:
    """Check that a revision scales to at least as much as it starts with."""
    bounds = {}
    for key, value in notes.items():
        if str(key).startswith(AUTOSCALING):
            bounds[str(key).removeprefix(AUTOSCALING).replace("S", "-s")] = whole(value)
    most = bounds.get("max-scale")
    if most and (bounds.get("min-scale") or 0) > most:
        report.add("knative-annotation", where, "min-scale is above max-scale")
