"""Rules of each sharing backend on a pod: HAMi, Volcano, GKE, KAI-Scheduler, claims, KubeShare."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.checks import containers, values
from jupyter_gpupredict.export.checks.containers import GPU, Pod
from jupyter_gpupredict.export.checks.shapes import join
from jupyter_gpupredict.export.checks.values import at, items, table, whole

if TYPE_CHECKING:
    from jupyter_gpupredict.export.checks.ledger import Ledger


STRATEGY = "cloud.google.com/gke-gpu-sharing-strategy"
CLIENTS = "cloud.google.com/gke-max-shared-clients-per-gpu"
INT32 = 2**31 - 1


def is_hami(pod: Pod, limits: dict[str, Any]) -> bool:
    """Return whether HAMi would divide this pod's GPU."""
    named = {"nvidia.com/gpucores", "nvidia.com/gpumem", "nvidia.com/gpumem-percentage"}
    return bool(named & set(limits)) or (
        pod.spec.get("schedulerName") == "hami-scheduler" and GPU in limits
    )


def hami(pod: Pod, ledger: Ledger) -> None:
    """Check HAMi's limits: plain numbers, for each GPU."""
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


def volcano(pod: Pod, ledger: Ledger) -> None:
    """Check Volcano's vGPU limits, scheduler and mode."""
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


def gke(pod: Pod, ledger: Ledger) -> None:
    """Check GKE's selectors, and that a client's part holds the share."""
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


def kai(pod: Pod, ledger: Ledger) -> None:
    """Check KAI-Scheduler's labels and annotations."""
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
    uses_gpu = pod.limits.keys() & {GPU, containers.SHARED} or containers.PIPE in pod.variables
    if not given and uses_gpu:
        ledger.warn("kai", where, "without gpu-memory or gpu-fraction no GPU is reserved")
    if len(given) > 1:
        ledger.add("kai", where, "gpu-fraction, gpu-memory and a whole GPU exclude one another")
    if pod.spec.get("schedulerName") != "kai-scheduler":
        ledger.add("kai", join(pod.path, "schedulerName"), "must be kai-scheduler")
    if not table(pod.metadata.get("labels")).get("kai.scheduler/queue"):
        ledger.add("kai", pod.metadata_path, "the label kai.scheduler/queue is missing")


def claims(pod: Pod, ledger: Ledger) -> None:
    """Check that claims and requests name one another."""
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


def kubeshare(pod: Pod, ledger: Ledger) -> None:
    """Check KubeShare's labels."""
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
