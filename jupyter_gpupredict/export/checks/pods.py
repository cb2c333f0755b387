"""Rules of a whole pod: what divides its GPU, and whether its limits can take hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export.checks import backends, containers, values
from jupyter_gpupredict.export.checks.containers import SHARED, Pod
from jupyter_gpupredict.export.checks.shapes import join
from jupyter_gpupredict.export.checks.values import at, items, table

if TYPE_CHECKING:
    from jupyter_gpupredict.export.checks.ledger import Ledger


PIPE_DEFAULT = "/tmp/nvidia-mps"  # noqa: S108 - the daemon's documented default


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
    if backends.is_hami(pod, limits):
        own.append("hami")
        ledger.by_time = True
        backends.hami(pod, ledger)
    if any(str(name).startswith("volcano.sh/vgpu-") for name in limits):
        own.append("volcano")
        ledger.by_time = True
        backends.volcano(pod, ledger)
    gke = backends.STRATEGY in table(pod.spec.get("nodeSelector")) or backends.CLIENTS in table(
        pod.spec.get("nodeSelector")
    )
    if gke:
        backends.gke(pod, ledger)
    if pod.spec.get("schedulerName") == "kai-scheduler" or {"gpu-memory", "gpu-fraction"} & set(
        pod.annotations
    ):
        backends.kai(pod, ledger)
    if items(pod.spec.get("resourceClaims")) or any(
        at(container, "resources", "claims") for container, _ in pod.containers
    ):
        backends.claims(pod, ledger)
    if any(str(key).startswith("sharedgpu/") for key in table(pod.metadata.get("labels"))):
        ledger.by_time = True
        backends.kubeshare(pod, ledger)
    if mps and own:
        ledger.add("mps-conflict", mps[0], f"{own[0]} sets and enforces its own limits")
    elif mps:
        _route(pod, mps[0], gke, ledger)


def _selector(pod: Pod, ledger: Ledger) -> None:
    for key, value in table(pod.spec.get("nodeSelector")).items():
        if not values.LABEL_KEY.fullmatch(str(key)) or not values.LABEL_VALUE.fullmatch(str(value)):
            where = join(pod.path, "nodeSelector")
            ledger.add("node-selector", where, f"{key!r}: {value!r} is no label of a node")


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
    by_node = at(pod.spec, "affinity", "nodeAffinity")
    if not (by_node or any(pod.spec.get(key) for key in ("nodeSelector", "nodeName"))):
        message = "nothing says which nodes run an MPS daemon"
        ledger.warn("mps-route", join(pod.path, "nodeSelector"), message)
    if "NVIDIA_VISIBLE_DEVICES" not in pod.variables and not any(
        "gpu" in key for key in pod.limits
    ):
        ledger.warn("mps-route", where, "NVIDIA_VISIBLE_DEVICES does not say which GPU is seen")
