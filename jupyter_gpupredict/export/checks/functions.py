"""Rules of function platforms: Nuclio, Fission and OpenFaaS."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.checks import bounds, containers, pods, values
from jupyter_gpupredict.export.checks.containers import GPU, Pod, pod
from jupyter_gpupredict.export.checks.shapes import join
from jupyter_gpupredict.export.checks.values import at, items, seconds, table, whole

if TYPE_CHECKING:
    from jupyter_gpupredict.export.checks.ledger import Ledger


PROFILE = "com.openfaas.profile"
TIMEOUTS = ("exec_timeout", "read_timeout", "write_timeout")


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
    bounds.order("nuclio", spec, "minReplicas", "maxReplicas", "spec", ledger)
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
    if inner.uses_gpu:
        kind = at(spec, "deploymentStrategy", "type")
        if GPU not in inner.limits and kind != "Recreate":
            message = "without type Recreate a redeploy waits for a second share"
            ledger.warn("nuclio-gpu", "spec.deploymentStrategy", message)
        for name, trigger in table(spec.get("triggers")).items():
            if (whole(at(trigger, "numWorkers")) or whole(at(trigger, "maxWorkers")) or 1) > 1:
                message = "several workers are several CUDA processes on one share"
                ledger.warn("nuclio-gpu", f"spec.triggers.{name}", message)
    pods.check(inner, ledger)


def fission_environment(found: dict[str, Any], ledger: Ledger) -> None:
    """Check the environment that Fission functions run in."""
    containers.image(at(table(found.get("spec")), "runtime", "image"), "spec.runtime.image", ledger)


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
    bounds.order("fission", strategy, "MinScale", "MaxScale", where, ledger)
    bounds.limit(spec.get("functionTimeout", 60), "spec.functionTimeout", ledger)
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
