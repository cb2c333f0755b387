"""Rules of a whole pod: which backend divides its GPU, and whether its limits can take hold."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.exporters.checks import containers, values
from jupyter_gpupredict.exporters.checks.containers import GPU, SHARED, Pod
from jupyter_gpupredict.exporters.checks.shapes import join
from jupyter_gpupredict.exporters.checks.values import at, items, table, whole

if TYPE_CHECKING:
    from jupyter_gpupredict.exporters.checks.ledger import Ledger

PIPE_DEFAULT = "/tmp/nvidia-mps"  # noqa: S108 - the daemon's documented default
STRATEGY = "cloud.google.com/gke-gpu-sharing-strategy"
CLIENTS = "cloud.google.com/gke-max-shared-clients-per-gpu"
INT32 = 2**31 - 1


def check(pod: Pod, ledger: Ledger) -> None:
    """Check a pod template."""
    mps: list[str] = []
    for container, path in pod.containers:
        containers.names(container, path, ledger)
        containers.image(container.get("image"), join(path, "image"), ledger)
        containers.amounts(container, path, ledger)
        mps += containers.environment(container, path, containers.gpu_count(container, pod), ledger)
    names = [str(container.get("name")) for container, _ in pod.containers]
    for name in sorted({name for name in names if names.count(name) > 1}):
        ledger.add("name", pod.path, f"two containers are called {name}")
    _selector(pod, ledger)
    _volumes(pod, ledger)
    limits = pod.limits
    own = []
    if _is_hami(pod, limits):
        own.append("hami")
        ledger.by_time = True
        _hami(pod, ledger)
    if any(str(name).startswith("volcano.sh/vgpu-") for name in limits):
        own.append("volcano")
        ledger.by_time = True
        _volcano(pod, ledger)
    gke = STRATEGY in table(pod.spec.get("nodeSelector")) or CLIENTS in table(
        pod.spec.get("nodeSelector")
    )
    if gke:
        _gke(pod, ledger)
    if pod.spec.get("schedulerName") == "kai-scheduler" or {"gpu-memory", "gpu-fraction"} & set(
        pod.annotations
    ):
        _kai(pod, ledger)
    if items(pod.spec.get("resourceClaims")) or any(
        at(container, "resources", "claims") for container, _ in pod.containers
    ):
        _claims(pod, ledger)
    if any(str(key).startswith("sharedgpu/") for key in table(pod.metadata.get("labels"))):
        ledger.by_time = True
        _kubeshare(pod, ledger)
    if mps and own:
        ledger.add("mps-conflict", mps[0], f"{own[0]} sets and enforces its own limits")
    elif mps:
        _route(pod, mps[0], gke, ledger)


def _selector(pod: Pod, ledger: Ledger) -> None:
    for key, value in table(pod.spec.get("nodeSelector")).items():
        if not values.LABEL_KEY.fullmatch(str(key)) or not values.LABEL_VALUE.fullmatch(str(value)):
            where = join(pod.path, "nodeSelector")
            ledger.add("node-selector", where, f"{key}={value!r} is no label of a node")


def _volumes(pod: Pod, ledger: Ledger) -> None:
    """Check that mounts and volumes name one another, each once."""
    named = [at(one, "name") for one in items(pod.spec.get("volumes"))]
    mounted = set()
    for container, path in pod.containers:
        targets = []
        for position, one in enumerate(items(container.get("volumeMounts"))):
            mounted.add(at(one, "name"))
            targets.append(at(one, "mountPath"))
            if at(one, "name") not in named:
                where = f"{join(path, 'volumeMounts')}[{position}]"
                ledger.add("volume", where, f"there is no volume {at(one, 'name')!r}")
        if len(set(map(str, targets))) < len(targets):
            ledger.add("volume", join(path, "volumeMounts"), "one path is mounted twice")
    if len(set(map(str, named))) < len(named):
        ledger.add("volume", join(pod.path, "volumes"), "one name is given twice")
    for name in named:
        if name not in mounted:
            ledger.warn("volume", join(pod.path, "volumes"), f"{name!r} is mounted nowhere")


def _route(pod: Pod, where: str, gke: bool, ledger: Ledger) -> None:
    """Warn where a client would find no daemon: it then runs without limits and without error."""
    pipe = PIPE_DEFAULT
    mounts = []
    for container, path in pod.containers:
        mounts += [at(one, "mountPath") for one in items(container.get("volumeMounts"))]
        for _, name, value in containers.variables(container, path):
            if name == containers.PIPE and isinstance(value, str):
                pipe = value
    through_platform = SHARED in pod.limits or bool(items(pod.spec.get("resourceClaims")))
    if through_platform or gke:
        return
    if pipe not in mounts:
        ledger.warn("mps-route", where, "nothing leads to an MPS daemon: the limits do nothing")
        return
    if pod.spec.get("hostIPC") is not True and "/dev/shm" not in mounts:  # noqa: S108
        ledger.warn("mps-route", where, "the pipe directory also needs hostIPC: true")
    _pipe(pod, pipe, where, ledger)


def _pipe(pod: Pod, pipe: str, where: str, ledger: Ledger) -> None:
    """Warn where a mounted pipe directory may not be the daemon's, or not on this node."""
    mounts = [table(one) for found, _ in pod.containers for one in items(found.get("volumeMounts"))]
    names = {str(one.get("name")) for one in mounts if one.get("mountPath") == pipe}
    for volume in map(table, items(pod.spec.get("volumes"))):
        if volume.get("name") in names and at(volume, "hostPath", "type") != "Directory":
            message = "a hostPath of type Directory fails without a daemon; others run unlimited"
            ledger.warn("mps-route", join(pod.path, "volumes"), message)
    if pod.spec.get("schedulerName") == "kai-scheduler":
        return  # it chooses node and GPU
    if not any(pod.spec.get(key) for key in ("nodeSelector", "affinity", "nodeName")):
        message = "nothing says which nodes run an MPS daemon"
        ledger.warn("mps-route", join(pod.path, "nodeSelector"), message)
    named = {
        name
        for container, path in pod.containers
        for _, name, _ in containers.variables(container, path)
    }
    if "NVIDIA_VISIBLE_DEVICES" not in named and not any("gpu" in key for key in pod.limits):
        ledger.warn("mps-route", where, "NVIDIA_VISIBLE_DEVICES does not say which GPU is seen")


def _is_hami(pod: Pod, limits: dict[str, Any]) -> bool:
    named = {"nvidia.com/gpucores", "nvidia.com/gpumem", "nvidia.com/gpumem-percentage"}
    return bool(named & set(limits)) or (
        pod.spec.get("schedulerName") == "hami-scheduler" and GPU in limits
    )


def _hami(pod: Pod, ledger: Ledger) -> None:
    for container, path in pod.containers:
        limits = containers.limits(container)
        where = join(join(path, "resources"), "limits")
        if not any(str(name).startswith("nvidia.com/gpu") for name in limits):
            continue
        if not whole(limits.get(GPU)):
            ledger.add("hami", join(where, GPU), "is the number of GPUs, at least 1")
        _percent_of("hami", limits, "nvidia.com/gpucores", where, ledger)
        _mib_of("hami", limits, "nvidia.com/gpumem", where, ledger)
        part = limits.get("nvidia.com/gpumem-percentage")
        if part is not None and not 1 <= (whole(part) or 0) <= 100:
            ledger.add("hami", where, f"gpumem-percentage {part!r} is not from 1 to 100")
        if part is not None and "nvidia.com/gpumem" in limits:
            ledger.add("hami", where, "gpumem and gpumem-percentage exclude each other")
        if at(container, "securityContext", "privileged") is True:
            ledger.add("hami", path, "HAMi's webhook refuses a privileged container")
    if pod.spec.get("nodeName"):
        ledger.add("hami", join(pod.path, "nodeName"), "HAMi's webhook refuses a node's name")


def _volcano(pod: Pod, ledger: Ledger) -> None:
    for container, path in pod.containers:
        limits = containers.limits(container)
        where = join(join(path, "resources"), "limits")
        if not whole(limits.get("volcano.sh/vgpu-number")):
            ledger.add("volcano", where, "volcano.sh/vgpu-number of at least 1 is needed")
        _percent_of("volcano", limits, "volcano.sh/vgpu-cores", where, ledger)
        _mib_of("volcano", limits, "volcano.sh/vgpu-memory", where, ledger)
        if {"volcano.sh/vgpu-memory", "volcano.sh/vgpu-memory-percentage"} <= set(limits):
            ledger.add("volcano", where, "memory and its percentage exclude each other")
    if not ledger.scheduled and pod.spec.get("schedulerName") != "volcano":
        ledger.add("volcano", join(pod.path, "schedulerName"), "must be volcano")
    mode = pod.annotations.get("volcano.sh/vgpu-mode")
    if mode is None:
        ledger.warn("volcano", pod.metadata_path, "no volcano.sh/vgpu-mode: it is the node's")
    elif mode != "hami-core":
        ledger.add("volcano", pod.metadata_path, f"vgpu-mode {mode!r}: percents need hami-core")


def _percent_of(rule: str, limits: dict[str, Any], name: str, where: str, ledger: Ledger) -> None:
    if name not in limits:
        return
    found = whole(limits[name])
    if found is None or not 1 <= found <= 100:
        ledger.add(rule, join(where, name), f"{limits[name]!r} is no whole percent from 1 to 100")
    else:
        ledger.carry("time", Decimal(found), join(where, name))


def _mib_of(rule: str, limits: dict[str, Any], name: str, where: str, ledger: Ledger) -> None:
    if name not in limits:
        return
    found = whole(limits[name])
    if not found or found > INT32:
        message = f"{limits[name]!r} is no plain number of MiB; a quantity would be read as bytes"
        ledger.add(rule, join(where, name), message)
    else:
        ledger.carry("mem", Decimal(found), join(where, name))


def _gke(pod: Pod, ledger: Ledger) -> None:
    selector, where = table(pod.spec.get("nodeSelector")), join(pod.path, "nodeSelector")
    if selector.get(STRATEGY) != "mps":
        ledger.add("gke", where, f"{STRATEGY} must be mps")
    clients = whole(selector.get(CLIENTS))
    if clients is None or not 2 <= clients <= 48 or not isinstance(selector.get(CLIENTS), str):
        ledger.add("gke", where, f"{CLIENTS} must be text from 2 to 48")
        return
    if pod.spec.get("hostIPC") is not True:
        ledger.add("gke", join(pod.path, "hostIPC"), "GKE's MPS needs hostIPC: true")
    if whole(pod.limits.get(GPU)) != 1:
        ledger.add("gke", pod.path, "exactly one nvidia.com/gpu is needed")
    for container, path in pod.containers:
        for place, name, value in containers.variables(container, path):
            percent = whole(value) if name == containers.PERCENTAGE else None
            if percent is not None and 100 // clients < percent:
                message = f"{clients} clients get {100 // clients} % each, below {percent} %"
                ledger.add("gke", place, message)


def _kai(pod: Pod, ledger: Ledger) -> None:
    where = join(pod.metadata_path, "annotations")
    fraction, memory = pod.annotations.get("gpu-fraction"), pod.annotations.get("gpu-memory")
    if fraction is not None:
        try:
            fits = 0.0 < float(fraction) < 1.0
        except (TypeError, ValueError):
            fits = False
        if not fits:
            ledger.add("kai", where, f"gpu-fraction {fraction!r} is not between 0 and 1")
    if memory is not None:
        if not isinstance(memory, str) or not whole(memory):
            ledger.add("kai", where, f"gpu-memory {memory!r} is no whole number of MiB")
        else:
            ledger.carry("mem", Decimal(memory), join(where, "gpu-memory"))
    given = [what for what in (fraction, memory) if what is not None]
    if GPU in pod.limits:
        given.append(GPU)
    if not given:
        ledger.warn("kai", where, "without gpu-memory or gpu-fraction no GPU is reserved")
    if len(given) > 1:
        ledger.add("kai", where, "gpu-fraction, gpu-memory and a whole GPU exclude one another")
    if pod.spec.get("schedulerName") != "kai-scheduler":
        ledger.add("kai", join(pod.path, "schedulerName"), "must be kai-scheduler")
    if not table(pod.metadata.get("labels")).get("kai.scheduler/queue"):
        ledger.add("kai", pod.metadata_path, "the label kai.scheduler/queue is missing")


def _claims(pod: Pod, ledger: Ledger) -> None:
    known: dict[str, list[str] | None] = {}
    for position, one in enumerate(items(pod.spec.get("resourceClaims"))):
        claim = table(one)
        where = f"{join(pod.path, 'resourceClaims')}[{position}]"
        names = [
            claim[key] for key in ("resourceClaimName", "resourceClaimTemplateName") if key in claim
        ]
        if len(names) != 1:
            ledger.add("dra", where, "one of claim and claim template is needed")
        if claim.get("name") in known:
            ledger.add("dra", where, f"{claim.get('name')!r} is given twice")
        known[str(claim.get("name"))] = ledger.claims.get(str(names[0])) if names else None
        if names and ledger.claims and str(names[0]) not in ledger.claims:
            ledger.add("dra", where, f"this file has no claim {names[0]!r}")
    used = set()
    for container, path in pod.containers:
        for position, one in enumerate(items(at(container, "resources", "claims"))):
            where = f"{join(join(path, 'resources'), 'claims')}[{position}]"
            name, request = at(one, "name"), at(one, "request")
            if name in used:
                ledger.add("dra", where, f"{name!r} is used twice")
            used.add(name)
            if name not in known:
                ledger.add("dra", where, f"{name!r} is no claim of this pod")
            elif request is not None and request not in (known[name] or [request]):
                ledger.add("dra", where, f"{request!r} is no request of that claim")
    for name in sorted(set(known) - used):
        ledger.warn("dra", join(pod.path, "resourceClaims"), f"no container uses {name!r}")


def _kubeshare(pod: Pod, ledger: Ledger) -> None:
    labels, where = table(pod.metadata.get("labels")), join(pod.metadata_path, "labels")
    try:
        low, high = (Decimal(str(labels[f"sharedgpu/gpu_{one}"])) for one in ("request", "limit"))
    except (KeyError, ArithmeticError):
        ledger.add("kubeshare", where, "gpu_request and gpu_limit are needed as numbers")
        return
    if not 0 <= low <= high <= 1:
        ledger.add("kubeshare", where, "needs 0 <= gpu_request <= gpu_limit <= 1")
    ledger.carry("time", 100 * high, where)
    size = whole(labels.get("sharedgpu/gpu_mem"))
    if not size or size % values.MIB:
        ledger.add("kubeshare", where, "gpu_mem is bytes, a whole number of MiB")
    else:
        ledger.carry("mem", Decimal(size // values.MIB), where)
