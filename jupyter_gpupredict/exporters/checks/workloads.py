"""Rules of each kind of workload that its shape does not hold."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.exporters.checks import containers, platforms, pods, values
from jupyter_gpupredict.exporters.checks.containers import GPU, SHARED, Pod, pod
from jupyter_gpupredict.exporters.checks.shapes import join
from jupyter_gpupredict.exporters.checks.values import at, items, seconds, table, whole
from jupyter_gpupredict.exporters.documents import parse_yaml

if TYPE_CHECKING:
    from jupyter_gpupredict.exporters.checks.ledger import Ledger

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
FASTPOD = "fastgshare/"
PROFILE = "com.openfaas.profile"
TIMEOUTS = ("exec_timeout", "read_timeout", "write_timeout")
ACCELERATOR = "run.googleapis.com/accelerator"
CLOUDRUN_LEAST = {"cpu": "4", "memory": "16Gi"}
"""What Cloud Run asks for beside an L4."""


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
    _limit(at(spec, "activeDeadlineSeconds"), f"{base}.activeDeadlineSeconds", ledger)
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


def knative(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a Knative Service: time limits, feature flags, autoscaling annotations."""
    ledger.stamped = True
    for key in table(at(found, "metadata", "annotations")):
        if str(key).startswith(AUTOSCALING):
            where = "metadata.annotations"
            ledger.add("knative-annotation", where, f"{key} belongs on spec.template.metadata")
    template = table(at(found, "spec", "template"))
    inner = pod(
        template.get("spec"), "spec.template.spec", template.get("metadata"),
        "spec.template.metadata",
    )  # fmt: skip
    _scaling(inner, ledger)
    total = inner.spec.get("timeoutSeconds", RESPONSE_S)
    _limit(total, "spec.template.spec.timeoutSeconds", ledger)
    # a training answers at its end, so it must have begun to answer by then
    begun = inner.spec.get("responseStartTimeoutSeconds", min(RESPONSE_S, whole(total) or 0))
    _limit(begun, "spec.template.spec.responseStartTimeoutSeconds", ledger)
    _revision_times(inner, total, ledger)
    _features(inner, ledger)
    if _uses_gpu(inner) and (
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
    _order("kserve", predictor, "minReplicas", "maxReplicas", "spec.predictor", ledger)
    timeout = predictor.get("timeout", 300)
    _limit(timeout, "spec.predictor.timeout", ledger)
    if _uses_gpu(inner) and (
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
    _limit(spec.get("activeDeadlineSeconds"), "spec.activeDeadlineSeconds", ledger)
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


def nuclio(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a Nuclio function, for nuctl or for kubectl."""
    ledger.stamped = True
    spec = table(found.get("spec"))
    if (found.get("apiVersion"), found.get("kind")) != ("nuclio.io/v1beta1", "NuclioFunction"):
        ledger.add("nuclio", "apiVersion", "nuclio.io/v1beta1 with kind NuclioFunction is served")
    runtime, handler = spec.get("runtime"), spec.get("handler")
    if isinstance(runtime, str) and not re.fullmatch(r"python:3\.([89]|1[0-9])", runtime):
        ledger.add("nuclio", "spec.runtime", f"{runtime!r} is not such as python:3.11")
    if isinstance(handler, str) and not re.fullmatch(r"[A-Za-z_][\w./-]*:[A-Za-z_]\w*", handler):
        ledger.add("nuclio", "spec.handler", f"{handler!r} is not module:function")
    _order("nuclio", spec, "minReplicas", "maxReplicas", "spec", ledger)
    if spec.get("minReplicas") == 0 and "maxReplicas" not in spec:
        ledger.add("nuclio", "spec.maxReplicas", "must be set where minReplicas is 0")
    if "eventTimeout" in spec:
        took = seconds(spec["eventTimeout"])
        if not took:
            message = f"{spec['eventTimeout']!r} is no duration such as 4h"
            ledger.add("nuclio", "spec.eventTimeout", message)
        else:
            ledger.limits_s.append((took, "spec.eventTimeout"))
    if not spec.get("image") and not spec.get("build"):
        ledger.add("nuclio", "spec", "needs an image, or a build")
    if "status" in found and not spec.get("image"):
        ledger.add("nuclio", "spec.image", "the controller does not build: kubectl needs an image")
    if spec.get("image") and "build" not in spec and "status" not in found:
        ledger.warn("nuclio-idle", "status", "the controller ignores an object without a state")
    volumes = [table(one) for one in items(spec.get("volumes"))]
    container: dict[str, Any] = {
        key: spec[key] for key in ("env", "envFrom", "resources", "image") if key in spec
    }
    container["volumeMounts"] = [one.get("volumeMount") for one in volumes]
    whole_pod = {
        **spec,
        "volumes": [one.get("volume") for one in volumes],
    }
    if not isinstance(spec.get("nodeSelector", {}), dict):
        del whole_pod["nodeSelector"]
    inner = Pod(whole_pod, "spec", table(found.get("metadata")), "metadata", ((container, "spec"),))
    if _uses_gpu(inner):
        kind = at(spec, "deploymentStrategy", "type")
        if GPU not in inner.limits and kind != "Recreate":
            message = "without type Recreate a redeploy waits for a second share"
            ledger.warn("nuclio-gpu", "spec.deploymentStrategy", message)
        for name, trigger in table(spec.get("triggers")).items():
            if (whole(at(trigger, "numWorkers")) or whole(at(trigger, "maxWorkers")) or 1) > 1:
                message = "several workers are several CUDA processes on one share"
                ledger.warn("nuclio-gpu", f"spec.triggers.{name}", message)
    pods.check(inner, ledger)


def fission(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a Fission function."""
    ledger.stamped = True
    spec = table(found.get("spec"))
    where = "spec.InvokeStrategy.ExecutionStrategy"
    strategy = table(at(spec, "InvokeStrategy", "ExecutionStrategy"))
    executor = strategy.get("ExecutorType") or "poolmgr"
    gpu = any("gpu" in str(name) for name in containers.limits(spec))
    if executor == "poolmgr" and (gpu or "env" in spec or "envFrom" in spec):
        ledger.add("fission", where, "poolmgr's pods are generic: GPU and env are dropped")
    if executor == "newdeploy" and "podspec" in spec:
        ledger.add("fission", "spec.podspec", "newdeploy ignores it; write env and resources")
    if executor == "newdeploy" and not at(spec, "environment", "name"):
        ledger.add("fission", "spec.environment", "newdeploy needs an environment")
    if executor != "container" and not at(spec, "package", "packageref", "name"):
        ledger.add("fission", "spec.package", "there is no code without a package")
    for key in ("hostIPC", "hostPID", "hostNetwork"):
        if at(spec, "podspec", key):
            ledger.add("fission", f"spec.podspec.{key}", "Fission's admission refuses it")
    if any("hostPath" in table(one) for one in items(at(spec, "podspec", "volumes"))):
        ledger.add("fission", "spec.podspec.volumes", "Fission's admission refuses host paths")
    _order("fission", strategy, "MinScale", "MaxScale", where, ledger)
    _limit(spec.get("functionTimeout", 60), "spec.functionTimeout", ledger)
    if executor == "container":
        pods.check(pod(spec.get("podspec"), "spec.podspec"), ledger)
    else:
        pods.check(Pod({}, "spec", containers=((spec, "spec"),)), ledger)


def openfaas_function(found: dict[str, Any], ledger: Ledger) -> None:
    """Check an OpenFaaS Function."""
    ledger.stamped = True
    spec = table(found.get("spec"))
    if spec.get("name") != at(found, "metadata", "name"):
        ledger.add("openfaas", "spec.name", "is not the object's name")
    _openfaas(spec, "spec", ledger)
    profile = at(spec, "annotations", PROFILE)
    if not ledger.profiles:
        ledger.carried |= ledger.told  # the profile that limits is in another file
    elif profile is not None and profile not in ledger.profiles:
        ledger.add("openfaas", "spec.annotations", f"this file has no profile {profile!r}")


def openfaas_profile(found: dict[str, Any], ledger: Ledger) -> None:
    """Check an OpenFaaS Profile."""
    spec = table(found.get("spec"))
    ledger.profiles.add(str(at(found, "metadata", "name")))
    if not any("gpu" in str(name) for name in containers.limits(spec)):
        ledger.add("openfaas", "spec.resources.limits", "the profile holds no GPU")
    pods.check(Pod(spec, "spec", containers=((spec, "spec"),)), ledger)


def openfaas_stack(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a stack file."""
    ledger.stamped = True
    for name, function in table(found.get("functions")).items():
        where = join("functions", str(name))
        if not values.LABEL.fullmatch(str(name)):
            ledger.add("name", where, f"{name!r} is no DNS label")
        _openfaas(table(function), where, ledger)
    ledger.carried |= ledger.told


def _openfaas(spec: dict[str, Any], path: str, ledger: Ledger) -> None:
    containers.image(spec.get("image"), join(path, "image"), ledger)
    own = {"environment": table(spec.get("environment"))}
    mps = containers.environment(own, path, 1, ledger)
    for side in ("limits", "requests"):
        for key in table(spec.get(side)):
            if "gpu" in str(key):
                where = join(join(path, side), str(key))
                ledger.add("openfaas", where, "knows memory and cpu alone; a profile holds the GPU")
    environment = table(spec.get("environment"))
    told = any(str(name).startswith("GPUPREDICT_") for name in environment)
    if (mps or told or ledger.profiles) and not table(spec.get("annotations")).get(PROFILE):
        ledger.add("openfaas", join(path, "annotations"), f"a share needs {PROFILE}")
    given = [key for key in TIMEOUTS if key in environment]
    if given and len(given) < len(TIMEOUTS):
        message = f"{', '.join(TIMEOUTS)} go together: the shortest ends the call"
        ledger.warn("openfaas", join(path, "environment"), message)
    for key in given:
        took = seconds(environment[key])
        where = join(join(path, "environment"), key)
        if not took:
            ledger.add("openfaas", where, f"{environment[key]!r} is no duration such as 4h")
        else:
            ledger.limits_s.append((took, where))


def cloudrun(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a Cloud Run Job or Service."""
    ledger.stamped = True
    is_job = found.get("kind") == "Job"
    path = "spec.template.spec.template.spec" if is_job else "spec.template.spec"
    spec = table(at(found, *path.split(".")))
    timeout = spec.get("timeoutSeconds", "600" if is_job else 300)
    _limit(whole(timeout), join(path, "timeoutSeconds"), ledger)
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


def fastpod(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a FaSTPod's annotations, which its own definition does not look at."""
    ledger.stamped = True
    where = "metadata.annotations"
    notes = {
        str(key).removeprefix(FASTPOD): value
        for key, value in table(at(found, "metadata", "annotations")).items()
        if str(key).startswith(FASTPOD)
    }
    known = {"gpu_quota_request", "gpu_quota_limit", "gpu_sm_partition", "gpu_mem"}
    for key in sorted(set(notes) - known):
        ledger.add("fastpod", where, f"{FASTPOD}{key} is unknown")
    for key in sorted(known - set(notes)):
        ledger.add("fastpod", where, f"{FASTPOD}{key} is missing; all four go together")
    for key, value in notes.items():
        if not isinstance(value, str):
            ledger.add("fastpod", where, f"{FASTPOD}{key} must be text, not {value!r}")
            return
    partition, size = notes.get("gpu_sm_partition", "100"), whole(notes.get("gpu_mem"))
    if not values.PERCENT.fullmatch(partition):
        ledger.add("fastpod", where, f"gpu_sm_partition {partition!r} is not from 1 to 100")
    elif partition != "100":
        ledger.carry("sm", Decimal(partition), where)  # 100 is the whole: no share
    try:
        low = Decimal(notes.get("gpu_quota_request", "1"))
        high = Decimal(notes.get("gpu_quota_limit", "1"))
    except InvalidOperation:
        ledger.add("fastpod", where, "a quota is a number from 0 to 1")
    else:
        if not 0 < low <= high <= 1:
            ledger.add("fastpod", where, "needs 0 < gpu_quota_request <= gpu_quota_limit <= 1")
        elif high < 1:
            ledger.carry("time", 100 * high, where)
    if "gpu_mem" in notes and (not size or size % values.MIB):
        ledger.add(
            "fastpod", where, f"gpu_mem {notes['gpu_mem']!r} is no whole number of MiB in bytes"
        )
    elif size:
        ledger.carry("mem", Decimal(size // values.MIB), where)
    inner = pod(at(found, "spec", "podSpec"), "spec.podSpec")
    before = set(ledger.carried)
    pods.check(inner, ledger)
    for container, path in inner.containers:
        for place, name, _ in containers.variables(container, path):
            if name in (containers.PERCENTAGE, containers.MEMORY):
                ledger.add("mps-conflict", place, "FaST-GShare sets its own limits")
    ledger.carried = before | ledger.carried


def ecs(found: dict[str, Any], ledger: Ledger) -> None:
    """Check an ECS task definition."""
    ledger.stamped = True
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", str(found.get("family", ""))):
        ledger.add("name", "family", "must be letters, digits, _ and -, 255 at most")
    styles: set[str] = set()
    names = []
    for position, one in enumerate(items(found.get("containerDefinitions"))):
        container, path = table(one), f"containerDefinitions[{position}]"
        names.append(container.get("name"))
        containers.image(container.get("image"), join(path, "image"), ledger)
        own = {"env": container.get("environment")}
        mps = containers.environment(own, path, 1, ledger)
        divided = False
        for number, each in enumerate(items(container.get("resourceRequirements"))):
            where, need = f"{path}.resourceRequirements[{number}]", table(each)
            if ("value" in need) == ("sharingStrategy" in need):
                ledger.add("ecs", where, "needs one of value and sharingStrategy")
            if need.get("type") == "GPU":
                styles.add("shared" if "sharingStrategy" in need else "whole")
            elif "sharingStrategy" in need:
                ledger.add("ecs", where, "only a GPU is shared")
            if "sharingStrategy" in need:
                divided = True
                _ecs_share(table(at(need, "sharingStrategy", "nvidiaMps")), where, ledger)
        if len(items(container.get("resourceRequirements"))) > 1:
            ledger.add("ecs", f"{path}.resourceRequirements", "one GPU requirement is enough")
        if "memory" not in container and "memoryReservation" not in container:
            ledger.add("ecs", path, "memory or memoryReservation is needed on EC2")
        if mps and divided:
            ledger.add("mps-conflict", mps[0], "ECS sets both variables itself")
    if len(set(map(str, names))) < len(names):
        ledger.add("name", "containerDefinitions", "one name is given twice")
    if len(styles) > 1:
        ledger.add("ecs", "containerDefinitions", "all containers with a GPU must be alike")
    launch = {str(one) for one in items(found.get("requiresCompatibilities"))}
    wrong = {"FARGATE"} | ({"EXTERNAL"} if "shared" in styles else set())
    if styles and (not launch or launch & wrong):
        message = "must be EC2 or MANAGED_INSTANCES: elsewhere no GPU is shared"
        ledger.add("ecs", "requiresCompatibilities", message)
    keys = [at(one, "key") for one in items(found.get("tags"))]
    for key in sorted({str(key) for key in keys if keys.count(key) > 1}):
        ledger.add("ecs", "tags", f"{key} is given twice")


def _ecs_share(share: dict[str, Any], where: str, ledger: Ledger) -> None:
    percent, memory = share.get("maxComputePercent"), whole(share.get("memory"))
    if percent is not None:
        if isinstance(percent, int) and 1 <= percent <= 100:
            ledger.carry("sm", Decimal(percent), where)
        else:
            ledger.add("ecs", where, f"maxComputePercent {percent!r} is not from 1 to 100")
    if memory:
        ledger.carry("mem", Decimal(memory), where)
    else:
        ledger.add("ecs", where, "memory in MiB, at least 1, is needed")


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


def claim(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a resource claim or its template, with the driver's own parameters."""
    inner = ("spec", "spec") if found.get("kind") == "ResourceClaimTemplate" else ("spec",)
    devices, path = table(at(found, *inner, "devices")), ".".join((*inner, "devices"))
    names = [str(at(one, "name")) for one in items(devices.get("requests"))]
    ledger.claims[str(at(found, "metadata", "name"))] = names
    if len(set(names)) < len(names):
        ledger.add("dra", path, "one request is given twice")
    for position, request in enumerate(items(devices.get("requests"))):
        if len({"exactly", "firstAvailable"} & set(table(request))) != 1:
            where = f"{path}.requests[{position}]"
            ledger.add("dra", where, "needs one of exactly and firstAvailable")
    configured: list[Any] = []
    for position, config in enumerate(items(devices.get("config"))):
        where = f"{path}.config[{position}]"
        for one in items(at(config, "requests")) or names:
            if one not in names:
                ledger.add("dra", where, f"{one!r} is no request of this claim")
            if one in configured:
                ledger.add("dra", where, f"{one!r} is configured twice")
            configured.append(one)
        if at(config, "opaque", "driver") != "gpu.nvidia.com":
            ledger.add("dra", where, "the driver must be gpu.nvidia.com")
            continue
        _gpu_config(table(at(config, "opaque", "parameters")), f"{where}.opaque.parameters", ledger)


def _gpu_config(parameters: dict[str, Any], where: str, ledger: Ledger) -> None:
    for place, message in platforms.GPU_CONFIG(parameters, where):
        ledger.add("dra", place, message)
    sharing = table(parameters.get("sharing"))
    settings, path = table(sharing.get("mpsConfig")), join(where, "sharing.mpsConfig")
    if "mpsConfig" in sharing and sharing.get("strategy") != "MPS":
        ledger.add("dra", path, "goes with strategy MPS alone")
    if "timeSlicingConfig" in sharing and sharing.get("strategy") != "TimeSlicing":
        ledger.add("dra", path, "timeSlicingConfig goes with strategy TimeSlicing alone")
    percent = settings.get("defaultActiveThreadPercentage")
    if percent is not None:
        if isinstance(percent, int) and 1 <= percent <= 100:
            ledger.carry("sm", Decimal(percent), path)
        else:
            ledger.add("dra", path, f"percentage {percent!r} is not from 1 to 100")
    sizes = [settings.get("defaultPinnedDeviceMemoryLimit")]
    sizes += table(settings.get("defaultPerDevicePinnedMemoryLimit")).values()
    for size in sizes:
        if size is None:
            continue
        found = values.quantity(size)
        if found is None or found < values.MIB:
            ledger.add("dra", path, f"{size!r} is no quantity of at least 1Mi")
        else:
            ledger.carry("mem", found // values.MIB, path)  # the driver drops the rest


def config_map(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a ConfigMap that holds configurations of the device plugin."""
    holds = any("sharing:" in str(text) for text in table(found.get("data")).values())
    if ledger.stamps and not holds:
        ledger.add("device-plugin", "data", "the stamped figures are in no configuration")
    for key, text in table(found.get("data")).items():
        if not isinstance(text, str) or "sharing:" not in text:
            continue
        where = join("data", str(key))
        try:
            parsed = parse_yaml(text)
        except ValueError as error:
            ledger.add("device-plugin", where, f"is no YAML: {error}")
            continue
        if len(parsed) == 1 and isinstance(parsed[0], dict):
            plugin(parsed[0], where, ledger)
        else:
            ledger.add("device-plugin", where, "must be one mapping")


def plugin(config: dict[str, Any], where: str, ledger: Ledger) -> None:
    """Check a configuration of the device plugin: its shape, and whether a share fits."""
    for place, message in platforms.PLUGIN_CONFIG(config, where):
        ledger.add("device-plugin", place, message)
    sharing = table(at(config, "sharing", "mps"))
    if sharing and sharing.get("renameByDefault") is not True:
        message = "without renameByDefault the resource keeps its name and is no share"
        ledger.add("device-plugin", where, message)
    stamps = ledger.stamps
    share, memory = whole(stamps.get("sm-percent")), whole(stamps.get("memory-mib"))
    total = whole(stamps.get("gpu-total-mib"))
    for resource in items(sharing.get("resources")):
        count = whole(at(resource, "replicas"))
        if count is None:
            continue
        if not 2 <= count <= 100:
            ledger.add("device-plugin", where, f"{count} replicas: at least 2 share a GPU")
        elif share and 100 // count < share:
            message = f"{count} replicas get {100 // count} % each, below {share} %"
            ledger.add("device-plugin", where, message)
        elif total and memory and total // count < memory:
            message = f"{count} replicas get {total // count} MiB each, below {memory} MiB"
            ledger.add("device-plugin", where, message)


def _uses_gpu(inner: Pod) -> bool:
    return any("gpu" in str(name) for name in inner.limits)


def _limit(value: Any, where: str, ledger: Ledger) -> None:
    found = whole(value)
    if found is not None:
        ledger.limits_s.append((float(found), where))


def _order(
    rule: str, found: dict[str, Any], low: str, high: str, where: str, ledger: Ledger
) -> None:
    least, most = whole(found.get(low)), whole(found.get(high))
    if most is not None and (most < 1 or (least or 0) > most):
        ledger.add(rule, join(where, high), f"must be at least 1 and at least {low}")
