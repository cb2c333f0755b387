"""Rules of what scales with requests: Knative, KServe and Cloud Run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.checks import bounds, containers, pods, values
from jupyter_gpupredict.export.checks.containers import GPU, Pod, pod, template
from jupyter_gpupredict.export.checks.shapes import join
from jupyter_gpupredict.export.checks.values import at, items, seconds, table, whole

if TYPE_CHECKING:
    from jupyter_gpupredict.export.checks.ledger import Ledger


KNATIVE_CAP_S, CLOUDRUN_CAP_S = 600, 3600
RESPONSE_S = 300
"""Knative's limits for a request, and for the beginning of its answer, when none is given."""
NEEDS_FEATURE = {
    "affinity": "affinity",
    "dnsConfig": "dnsconfig",
    "dnsPolicy": "dnspolicy",
    "hostAliases": "hostaliases",
    "hostIPC": "hostipc",
    "hostNetwork": "hostnetwork",
    "hostPID": "hostpid",
    "initContainers": "init-containers",
    "nodeSelector": "nodeselector",
    "priorityClassName": "priorityclassname",
    "runtimeClassName": "runtimeclassname",
    "schedulerName": "schedulername",
    "securityContext": "securitycontext",
    "shareProcessNamespace": "shareprocessnamespace",
    "tolerations": "tolerations",
    "topologySpreadConstraints": "topologyspreadconstraints",
}
"""Pod field -> end of the Knative flag that switches it on; a stock Knative has all of them off."""
SCALING = frozenset(
    {
        "activation-scale", "class", "initial-scale", "max-scale", "metric",
        "metric-aggregation-algorithm", "min-scale", "panic-threshold-percentage",
        "panic-window-percentage", "scale-down-delay", "scale-to-zero-pod-retention-period",
        "target", "target-burst-capacity", "target-utilization-percentage", "window",
    }
)  # fmt: skip
"""Autoscaling annotations that Knative knows; each may be written in camel case too."""
DURATIONS = ("scale-to-zero-pod-retention-period", "scale-down-delay", "window")
AUTOSCALING = "autoscaling.knative.dev/"
ACCELERATOR = "run.googleapis.com/accelerator"
CLOUDRUN_LEAST = {"cpu": "4", "memory": "16Gi"}
"""What Cloud Run asks for beside an L4."""


def knative(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a Knative Service: time limits, feature flags, autoscaling annotations."""
    ledger.stamped = True
    for key in table(at(found, "metadata", "annotations")):
        if str(key).startswith(AUTOSCALING):
            where = "metadata.annotations"
            ledger.add("knative-annotation", where, f"{key} belongs on spec.template.metadata")
    inner = template(at(found, "spec", "template"), "spec.template")
    _scaling(inner, ledger)
    total = inner.spec.get("timeoutSeconds", RESPONSE_S)
    bounds.limit(total, "spec.template.spec.timeoutSeconds", ledger)
    # a training answers at its end, so it must have begun to answer by then
    begun = inner.spec.get("responseStartTimeoutSeconds", min(RESPONSE_S, whole(total) or 0))
    bounds.limit(begun, "spec.template.spec.responseStartTimeoutSeconds", ledger)
    _revision_times(inner, total, ledger)
    _features(inner, ledger)
    if inner.uses_gpu and (
        inner.spec.get("containerConcurrency") != 1
        or not {AUTOSCALING + "max-scale", AUTOSCALING + "maxScale"} & set(inner.annotations)
    ):
        message = "a GPU wants containerConcurrency 1 and a max-scale"
        ledger.warn("knative-concurrency", inner.path, message)
    pods.check(inner, ledger)


def _scaling(inner: Pod, ledger: Ledger) -> None:
    where, bounds = join(inner.metadata_path, "annotations"), {}
    for key, value in inner.annotations.items():
        if not str(key).startswith(AUTOSCALING):
            continue
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", str(key).removeprefix(AUTOSCALING)).lower()
        if name not in SCALING:
            ledger.add("knative-annotation", where, f"Knative knows no {key}")
        elif name in ("min-scale", "max-scale", "initial-scale"):
            bounds[name] = whole(value)
            if bounds[name] is None:
                ledger.add("knative-annotation", where, f"{key}: {value!r} is no whole number")
        elif name in DURATIONS and seconds(value) is None:
            ledger.add("knative-annotation", where, f"{key}: {value!r} is no duration")
    most = bounds.get("max-scale")
    if most and (bounds.get("min-scale") or 0) > most:
        ledger.add("knative-annotation", where, "min-scale is above max-scale")


def _revision_times(inner: Pod, total: Any, ledger: Ledger) -> None:
    cap_s = ledger.allowed.max_timeout_s or KNATIVE_CAP_S
    total = whole(total)
    if total is None:
        return
    if total > cap_s:
        where = join(inner.path, "timeoutSeconds")
        ledger.add("knative-timeout", where, f"{total} s is above the cap of {cap_s} s; use a Job")
    for key in ("responseStartTimeoutSeconds", "idleTimeoutSeconds"):
        part = whole(inner.spec.get(key))
        if part is not None and part > total:
            ledger.add("knative-timeout", join(inner.path, key), f"{part} s is above {total} s")


def _features(inner: Pod, ledger: Ledger) -> None:
    on = ledger.allowed.features
    for key, end in NEEDS_FEATURE.items():
        flag = f"kubernetes.podspec-{end}"
        if key in inner.spec and flag not in on:
            ledger.add("knative-feature", join(inner.path, key), f"needs {flag} switched on")
    for position, volume in enumerate(items(inner.spec.get("volumes"))):
        for key in set(table(volume)) - {"name", "secret", "configMap", "projected", "emptyDir"}:
            name = "persistent-volume-claim" if key == "persistentVolumeClaim" else None
            flag = f"kubernetes.podspec-{name or 'volumes-' + key.lower()}"
            if flag not in on:
                where = f"{join(inner.path, 'volumes')}[{position}]"
                ledger.add("knative-feature", where, f"{key} needs {flag} switched on")


def kserve(found: dict[str, Any], ledger: Ledger) -> None:
    """Check an InferenceService."""
    ledger.stamped = True
    predictor = table(at(found, "spec", "predictor"))
    inner = pod(predictor, "spec.predictor", found.get("metadata"), "metadata")
    if "kserve-container" not in [one.get("name") for one, _ in inner.containers]:
        message = "a predictor's own container must be called kserve-container"
        ledger.add("kserve", "spec.predictor.containers", message)
    bounds.order("kserve", predictor, "minReplicas", "maxReplicas", "spec.predictor", ledger)
    timeout = predictor.get("timeout", 300)
    bounds.limit(timeout, "spec.predictor.timeout", ledger)
    if inner.uses_gpu and (
        predictor.get("containerConcurrency") != 1 or "maxReplicas" not in predictor
    ):
        message = "a GPU wants containerConcurrency 1 and maxReplicas"
        ledger.warn("knative-concurrency", inner.path, message)
    mode = at(found, "metadata", "annotations", "serving.kserve.io/deploymentMode")
    cap_s = ledger.allowed.max_timeout_s or KNATIVE_CAP_S
    if mode not in ("RawDeployment", "Standard"):
        if (whole(timeout) or 0) > cap_s:
            message = f"{timeout} s is above the cap of {cap_s} s"
            ledger.add("knative-timeout", "spec.predictor.timeout", message)
        _features(inner, ledger)
    pods.check(inner, ledger)


def cloudrun(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a Cloud Run Job or Service."""
    ledger.stamped = True
    is_job = found.get("kind") == "Job"
    path = "spec.template.spec.template.spec" if is_job else "spec.template.spec"
    spec = table(at(found, *path.split(".")))
    timeout = spec.get("timeoutSeconds", "600" if is_job else 300)
    bounds.limit(whole(timeout), join(path, "timeoutSeconds"), ledger)
    cap_s = ledger.allowed.max_timeout_s or CLOUDRUN_CAP_S
    if (whole(timeout) or 0) > cap_s:
        message = f"{timeout} s is above {cap_s} s for work on a GPU"
        ledger.add("cloudrun", join(path, "timeoutSeconds"), message)
    inner = pod(spec, path)
    if not is_job:
        _cloudrun_service(found, spec, ledger)
    for container, place in inner.containers:
        where = join(join(place, "resources"), "limits")
        for name, value in containers.limits(container).items():
            if name not in ("cpu", "memory", GPU):
                ledger.add("cloudrun", join(where, name), "there are cpu, memory and one GPU only")
            elif name == GPU and value != "1":
                ledger.add("cloudrun", join(where, name), f'must be "1", not {value!r}')
        if GPU in containers.limits(container):
            for name, least in CLOUDRUN_LEAST.items():
                given = values.quantity(containers.limits(container).get(name))
                if given is None or given < (values.quantity(least) or 0):
                    ledger.warn("cloudrun", join(where, name), f"a GPU wants {least} at least")
        containers.names(container, place, ledger)
        containers.image(container.get("image"), join(place, "image"), ledger)
        containers.amounts(container, place, ledger)
        for where in containers.environment(container, place, 1, ledger):
            ledger.add("cloudrun", where, "there is no MPS daemon: the variable does nothing")
    if (GPU in inner.limits) != (ACCELERATOR in table(spec.get("nodeSelector"))):
        ledger.add("cloudrun", join(path, "nodeSelector"), f"a GPU and {ACCELERATOR} go together")
    names = [str(container.get("name")) for container, _ in inner.containers]
    if len(set(names)) < len(names):
        ledger.add("name", path, "two containers have one name, or none")
    ledger.carried |= ledger.told


def _cloudrun_service(found: dict[str, Any], spec: dict[str, Any], ledger: Ledger) -> None:
    template = table(at(found, "spec", "template"))
    _scaling(Pod({}, "", table(template.get("metadata")), "spec.template.metadata"), ledger)
    notes = table(at(template, "metadata", "annotations"))
    if spec.get("containerConcurrency") != 1 or not {
        AUTOSCALING + "maxScale", AUTOSCALING + "max-scale"
    } & set(notes):  # fmt: skip
        message = "a GPU wants containerConcurrency 1 and a maxScale: each instance is billed"
        ledger.warn("knative-concurrency", "spec.template", message)
    if notes.get("run.googleapis.com/cpu-throttling") != "false":
        message = 'a GPU wants run.googleapis.com/cpu-throttling: "false"'
        ledger.warn("cloudrun", "spec.template.metadata.annotations", message)
