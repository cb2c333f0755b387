"""Rules of every pod and container, wherever a target keeps it, that a schema cannot express."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.findings import Node, limits, variables
from jupyter_gpupredict.export.function.detectors import has_shape
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
    from jupyter_gpupredict.export.findings import Pod, Report

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
    mps: list[Node] = []
    for container in pod:
        check_amounts(container, report)
        mps += check_environment(container, _gpu_count(container, report), report)
    names = [str(container["name"].value) for container in pod]
    for name in sorted({name for name in names if names.count(name) > 1}):
        report.add("name", pod.spec, f"two containers are called {name}")
    deadline = pod.spec["activeDeadlineSeconds"]
    report.limit(deadline.whole, deadline)
    _check_volumes(pod, report)
    for one in report.judges:
        one.judge(pod, report)
    if any(str(key).startswith("sharedgpu/") for key in pod.metadata["labels"].table):
        _check_kubeshare(pod.metadata["labels"], report)
    if mps and pod.limiter:
        report.add("mps-conflict", mps[0], f"{pod.limiter} sets and enforces its own limits")
    elif mps and not pod.routed:
        _check_route(pod, mps[0], report)


def check_environment(container: Node, gpus: int | None, report: Report) -> list[Node]:
    """Check a container's variables and return the places of MPS limits among them."""
    seen: set[str] = set()
    found = []
    for node, name, value in variables(container):
        if not isinstance(name, str) or not ENV_NAME.fullmatch(name):
            report.add("env", node, f"{name!r} is not the name of a variable")
            continue
        if name in seen:
            report.add("env", node, f"{name} is given twice")
        seen.add(name)
        if value is None:
            report.warn("env", node, f"{name} has no value")
        if not isinstance(value, str):
            continue  # from elsewhere, or its shape says so
        if "\0" in value:
            report.add("env", node, f"{name} holds a NUL")
        if value and SECRET_NAME.fullmatch(name):
            report.add("secret", node, f"{name} carries a literal; refer to a secret instead")
        if check_variable(name, Node(value, node.path), gpus, report):
            found.append(node)
    return found


def check_variable(name: str, node: Node, gpus: int | None, report: Report) -> bool:
    """Check a variable that carries a figure; return whether it is a limit of MPS."""
    value = str(node.value)
    if name in (PERCENTAGE, "GPUPREDICT_SM_PERCENT", "GPUPREDICT_TIME_PERCENT"):
        if PERCENT.fullmatch(value):
            note = report.carry if name == PERCENTAGE else report.inform
            note("time" if "TIME" in name else "sm", Decimal(value), node)
        else:
            report.add("mps-percent", node, f"{value!r} is not a whole percent from 1 to 100")
    elif name == "GPUPREDICT_MEM_MIB":
        if node.whole:
            report.inform("mem", node.whole, node)
        else:
            report.add("mps-memory", node, f"{value!r} is not a whole number of MiB")
    elif name == MEMORY:
        _check_memory_limit(value, node, gpus, report)
    return name in (PERCENTAGE, MEMORY)


def _check_memory_limit(value: str, node: Node, gpus: int | None, report: Report) -> None:
    devices = []
    for part in value.split(","):
        entry = MEMORY_ENTRY.fullmatch(part)
        if entry is None:
            report.add("mps-memory", node, f"{value!r} is not such as 0=5874M (binary MiB)")
            return
        devices.append(entry[1])
        report.carry("mem", Decimal(entry[2]) * (1024 if entry[3] == "G" else 1), node)
    ordinals = sorted(int(one) for one in devices if one.isdecimal())
    count = len(devices) if gpus is None else gpus
    by_ordinal = ordinals == list(range(count))
    by_uuid = not ordinals and len(devices) == count
    if len(set(devices)) != len(devices) or not (by_ordinal or by_uuid):
        message = (
            f"{value!r} does not name each of {count} visible GPU once; an entry for a GPU that is "
            "not visible drops every limit"
        )
        report.add("mps-ordinal", node, message)


def check_amounts(container: Node, report: Report) -> None:
    """Check quantities: their form, whole pieces of extended resources, requests to limits."""
    known = {GPU, *(name for one in report.judges for name in one.resources)}
    asked, most = container["resources"]["requests"], limits(container)
    for side in (most, asked):
        for name, node in side.pairs():
            number = quantity(node.value)
            named = RESOURCE.fullmatch(str(name))
            if not named or (str(name).startswith(FAMILIES) and name not in known):
                report.add("resource", node, "a container has no such resource")
            if number is None:
                report.add("quantity", node, f"{node.value!r} is not a quantity such as 8Gi")
            elif number < 0:
                report.add("quantity", node, f"{node.value!r} is below nothing")
            elif _extended(name) and number != number.to_integral_value():
                report.add("ext-int", node, f"{node.value!r} is not a whole number of pieces")
    for name, node in asked.pairs():
        number, limit = quantity(node.value), quantity(most[name].value)
        if _extended(name) and number != limit:
            report.add("request-limit", node, "needs a limit that is equal")
        elif number is not None and limit is not None and number > limit:
            report.add("request-limit", node, "is above the limit")
    if SHARED_GPU in most:
        if quantity(most[SHARED_GPU].value) != 1:
            message = "the device plugin refuses more than one share"
            report.add("shared-one", most[SHARED_GPU], message)
        if GPU in most:
            report.add("shared-one", most[SHARED_GPU], "a share and a whole GPU in one container")


def _extended(name: str) -> bool:
    """Whether a resource is an extended one: such come in whole pieces."""
    return "/" in str(name) and "kubernetes.io/" not in str(name)


def _gpu_count(container: Node, report: Report) -> int:
    """Return how many GPUs a container sees."""
    for name in (one.resources[0] for one in report.judges if one.resources):
        if (number := limits(container)[name].whole) is not None:
            return min(max(number, 1), MAX_GPUS)
    for _, name, value in variables(container):
        if name == "NVIDIA_VISIBLE_DEVICES" and isinstance(value, str) and value[:1].isdecimal():
            return min(len(value.split(",")), MAX_GPUS)
    return min(max(1, len(list(container["resources"]["claims"]))), MAX_GPUS)


def _check_volumes(pod: Pod, report: Report) -> None:
    """Check that mounts and volumes name one another, each once."""
    volumes = pod.spec["volumes"]
    named = [str(one["name"].value) for one in volumes]
    mounted = set()
    for container in pod:
        targets = []
        for mount in container["volumeMounts"]:
            name = str(mount["name"].value)
            mounted.add(name)
            targets.append(str(mount["mountPath"].value))
            if name not in named:
                report.add("volume", mount, f"no volume is named {name!r}")
        if len(set(targets)) < len(targets):
            report.add("volume", container["volumeMounts"], "one path is mounted twice")
    if len(set(named)) < len(named):
        report.add("volume", volumes, "one name is given twice")
    for name in named:
        if name not in mounted:
            report.warn("volume", volumes, f"{name!r} is mounted nowhere")


def _check_route(pod: Pod, node: Node, report: Report) -> None:
    """Warn where a client would find no daemon: it then runs without limits and without error."""
    given = pod.variables.get(PIPE_DIRECTORY)
    pipe = given if isinstance(given, str) else PIPE
    mounts = [mount for container in pod for mount in container["volumeMounts"]]
    targets = [mount["mountPath"].value for mount in mounts]
    if pipe not in targets:
        report.warn("mps-route", node, "nothing leads to an MPS daemon: the limits do nothing")
        return
    if pod.spec["hostIPC"].value is not True and "/dev/shm" not in targets:  # noqa: S108
        report.warn("mps-route", node, "the pipe directory also needs hostIPC: true")
    names = [mount["name"].value for mount in mounts if mount["mountPath"].value == pipe]
    for volume in pod.spec["volumes"]:
        if volume["name"].value in names and volume.at("hostPath.type").value != "Directory":
            message = "a hostPath of type Directory fails without a daemon; others run unlimited"
            report.warn("mps-route", pod.spec["volumes"], message)
    if pod.placed:
        return
    by_node = ("affinity.nodeAffinity", "nodeSelector", "nodeName")
    if not any(pod.spec.at(path).value for path in by_node):
        message = "nothing says which nodes run an MPS daemon"
        report.warn("mps-route", pod.spec["nodeSelector"], message)
    if "NVIDIA_VISIBLE_DEVICES" not in pod.variables and not pod.uses_gpu:
        report.warn("mps-route", node, "NVIDIA_VISIBLE_DEVICES does not say which GPU is seen")


def check_shell(text: str, report: Report) -> None:
    """Check a script, as far as that goes without a shell: quotes that do not close, secrets."""
    if not text.startswith("#!"):
        report.add("parse", "", "the shebang line is missing")
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    words = re.findall(r"(?:^|[\n;]|&&|\|\||\bthen|\belse|\bdo)[ \t]*(\w+)\b", code)
    for opens, closes in (("if", "fi"), ("case", "esac")):
        started = len(re.findall(rf"(?:^|[\n;])[ \t]*{opens}\b", code))
        if started != words.count(closes):
            report.add("parse", "", f"{started} {opens}, {words.count(closes)} {closes}")
    if code.replace('\\"', "").count('"') % 2:
        report.add("parse", "", "a quote does not close")
    if has_shape(text):
        report.add("secret", "", "something has the shape of a credential")


def carry_amounts(pod: Pod, cores: str, memory: str, report: Report) -> None:
    """Add the figures of resources that are percents of the time and plain MiB."""
    for container in pod:
        percent, size = limits(container)[cores], limits(container)[memory]
        if percent.whole and percent.whole <= 100:
            report.carry("time", percent.whole, percent)
        if size.whole and size.whole <= INT32:
            report.carry("mem", size.whole, size)


def _check_kubeshare(labels: Node, report: Report) -> None:
    """Check the labels of KubeShare, for which nothing is exported."""
    report.by_time = True
    try:
        low, high = (
            Decimal(str(labels[f"sharedgpu/gpu_{one}"].value)) for one in ("request", "limit")
        )
    except ArithmeticError:
        report.add("kubeshare", labels, "gpu_request and gpu_limit are needed as numbers")
        return
    if not 0 <= low <= high <= 1:
        report.add("kubeshare", labels, "needs 0 <= gpu_request <= gpu_limit <= 1")
    report.carry("time", 100 * high, labels)
    size = labels["sharedgpu/gpu_mem"].whole
    if not size or size % MIB:
        report.add("kubeshare", labels, "gpu_mem is bytes, a whole number of MiB")
    else:
        report.carry("mem", size // MIB, labels)


def check_order(rule: str, node: Node, low: str, high: str, report: Report) -> None:
    """Check that the most is at least one, and at least the least."""
    least, most = node[low].whole, node[high].whole
    if most is not None and (most < 1 or (least or 0) > most):
        report.add(rule, node[high], f"must be at least 1 and at least {low}")


def check_count(given: int | None, node: Node, report: Report) -> None:
    """Check that as many ranks start as the run had, where the stamps tell."""
    had = Node(report.stamps.get("ranks")).whole or 1
    if report.stamps and given != had:
        report.warn("ranks", node, f"{given} start, and the run had {had}")


def check_apart(pod: Pod, labels: dict[str, Any], report: Report) -> None:
    """Warn where several pods reach MPS by the node's own pipe and nothing keeps them apart.

    No scheduler counts a GPU then, and each of them takes the first one of its node.
    """
    if PIPE_DIRECTORY not in pod.variables or pod.uses_gpu or pod.placed:
        return
    for term in pod.spec["affinity"]["podAntiAffinity"][REQUIRED]:
        chosen = term.at("labelSelector.matchLabels").table
        if term["topologyKey"].value == HOSTNAME and chosen and chosen.items() <= labels.items():
            return
    message = "nothing keeps these pods on nodes of their own: all may take the same GPU"
    report.warn("ranks", pod.spec["affinity"], message)


def check_features(pod: Pod, report: Report) -> None:
    """Check that what a stock Knative switches off is switched on."""
    needed = [(pod.spec[key], f"podspec-{key.lower()}", key) for key in sorted(NEEDS_FEATURE)]
    needed.append((pod.spec["initContainers"], "podspec-init-containers", "initContainers"))
    for volume in pod.spec["volumes"]:
        for key in set(volume.table) - {"name", "secret", "configMap", "projected", "emptyDir"}:
            end = "persistent-volume-claim" if key == "persistentVolumeClaim" else ""
            needed.append((volume, f"podspec-{end or 'volumes-' + key.lower()}", key))
    for node, end, key in needed:
        flag = f"kubernetes.{end}"
        if node.value is not None and flag not in report.allowed.features:
            report.add("knative-feature", node, f"{key} needs {flag} switched on")


def check_request_limit(timeout: Node, default_s: int, report: Report) -> None:
    """Check the time limit of a request against what Knative allows."""
    cap_s = report.allowed.max_timeout_s or KNATIVE_CAP_S
    limit_s = timeout.whole if timeout.value is not None else default_s
    report.limit(limit_s, timeout)
    if (limit_s or 0) > cap_s:
        message = f"{limit_s} s is above the cap of {cap_s} s; use a Job"
        report.add("knative-timeout", timeout, message)


def check_concurrency(pod: Pod, limited: bool, bound: str, report: Report) -> None:
    """Warn where more than one request or replica may meet on a GPU."""
    if pod.uses_gpu and not (limited and pod.spec["containerConcurrency"].value == 1):
        message = f"a GPU wants containerConcurrency 1 and {bound}"
        report.warn("knative-concurrency", pod.spec, message)


def check_scaling(notes: Node, report: Report) -> None:
    """Check that a revision scales to at least as much as it starts with."""
    bounds = {}
    for key, node in notes.pairs():
        if str(key).startswith(AUTOSCALING):
            bounds[str(key).removeprefix(AUTOSCALING).replace("S", "-s")] = node.whole
    most = bounds.get("max-scale")
    if most and (bounds.get("min-scale") or 0) > most:
        report.add("knative-annotation", notes, "min-scale is above max-scale")
