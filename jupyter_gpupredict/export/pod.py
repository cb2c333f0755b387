"""What several workloads and sharing backends write: container, pod, stamped object, MPS variables.

The variables of several ranks are those that torch.distributed reads (its `env://`
initialisation).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import metrics
from jupyter_gpupredict.core.errors import Fix, Unrepresentable
from jupyter_gpupredict.export.deployment import Capability, Restriction, SharePatch
from jupyter_gpupredict.export.stamps import stamps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jupyter_gpupredict.export.deployment import Figures, Json, Plan
    from jupyter_gpupredict.export.request import ExportRequest

FUNCTION = frozenset(
    {Capability.ENV, Capability.EXTENDED_RESOURCE, Capability.COMPANION, Capability.TIME_LIMIT}
)
"""What a function of a cluster carries at least."""
REVISION = FUNCTION | {Capability.POD_ANNOTATION}
"""What a revision of Knative carries."""
FEATURES = {
    Capability.HOST_IPC: "kubernetes.podspec-hostipc",
    Capability.HOST_PATH: "kubernetes.podspec-volumes-hostpath",
    Capability.NODE_SELECTOR: "kubernetes.podspec-nodeselector",
    Capability.SCHEDULER_NAME: "kubernetes.podspec-schedulername",
    Capability.RUNTIME_CLASS: "kubernetes.podspec-runtimeclassname",
    Capability.TOLERATIONS: "kubernetes.podspec-tolerations",
    Capability.PRIORITY: "kubernetes.podspec-priorityclassname",
    Capability.VOLUMES: "kubernetes.podspec-persistent-volume-claim",
}
"""Capability -> the flag of Knative's config-features that switches it on."""
OBJECT = frozenset({Capability.NAMESPACE, Capability.LABELS, Capability.VARIABLES})
"""What an object with a container carries of a team's options."""
TEAM = OBJECT | {
    Capability.SERVICE_ACCOUNT,
    Capability.PULL_SECRETS,
    Capability.ENV_FROM,
    Capability.SECURITY,
    Capability.VOLUMES,
    Capability.MEMORY_VOLUME,
}
"""What a pod of a team carries, of a revision of Knative's, too."""
REVISION_OF_TEAM = REVISION | TEAM - {Capability.VOLUMES}
POD = REVISION | TEAM | {*FEATURES, Capability.RESOURCE_CLAIM, Capability.RETRIES, Capability.QUEUE}
"""What a whole pod template carries."""
ONE_GPU, ONE_RANK = frozenset({Restriction.ONE_GPU}), frozenset({Restriction.ONE_RANK})
OWN_LIMITS = ONE_GPU | {Restriction.PER_CONTAINER, Restriction.MEMORY_REQUIRED}
"""What platforms restrict that limit the container by fields of their own."""
SM_SHARE, TIME_SHARE = frozenset({"sm_pct", "memory_mib"}), frozenset({"time_pct", "memory_mib"})
"""What backends apply that divide SMs, and those that divide time."""
SAFE_CPUS, SAFE_MEMORY_MIB = 2.0, 8192
"""Host requests where the run did not measure them; the file says so."""
OPTIONAL = {
    "schedulerName": Capability.SCHEDULER_NAME,
    "runtimeClassName": Capability.RUNTIME_CLASS,
    "tolerations": Capability.TOLERATIONS,
}
"""Pod fields that a platform may supply by itself: left out where a workload has no place."""
USUAL_SHARED_MIB = 64
"""What container engines give to /dev/shm."""
RUN = ("python", "handler.py")
SERVE = ("python", "adapters/serve.py")
PORT = 8080
RENDEZVOUS_PORT = 29500
"""The default of torch.distributed; a pod's ports are its own."""
GPU, SHARED_GPU = "nvidia.com/gpu", "nvidia.com/gpu.shared"
PIPE = "/tmp/nvidia-mps"  # noqa: S108 - the daemon's documented default, not a file of ours
PERCENTAGE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
MEMORY = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
PIPE_DIRECTORY = "CUDA_MPS_PIPE_DIRECTORY"
TOLERATED: Json = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
"""The taint that keeps pods without a GPU off nodes that have one, on most clusters."""
PIPE_POD: dict[str, Json] = {
    "tolerations": [TOLERATED],
    "hostIPC": True,
    "runtimeClassName": "nvidia",
    "volumes": [{"name": "mps", "hostPath": {"path": PIPE, "type": "Directory"}}],
}
"""Pod fields that reach a daemon on the node. A directory that is not there must fail: a client
that finds no daemon runs without limits."""
PIPE_MOUNT: dict[str, Json] = {"volumeMounts": [{"name": "mps", "mountPath": PIPE}]}
"""Container fields beside them."""
MPS_CLIENT = frozenset({Capability.ENV, Capability.HOST_IPC, Capability.HOST_PATH})
"""What they need."""
BUCKET_VARIABLE = "GPUPREDICT_OUTPUTS_URL"
"""Where the handler copies them after the run."""
KAI, VOLCANO = "kai-scheduler", "volcano"
"""Names of schedulers."""
KAI_QUEUE = "kai.scheduler/queue"
VOLCANO_QUEUE = "scheduling.volcano.sh/queue-name"
KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
"""By what a scheduler, or Kueue, knows the queue of a workload."""
NOT_THE_CODES: Json = {"type": "DisruptionTarget", "status": "True"}
"""The condition of a pod that was evicted or preempted, or whose node went away."""
LOCAL_RANK: Json = {"name": "LOCAL_RANK", "value": "0"}
"""Each rank is alone in its pod, with a GPU of its own."""
ALONE = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": str(RENDEZVOUS_PORT),
}
"""The variables of one rank that runs by itself, as by hand."""


def python_version() -> str:
    """Return the minor version of the Python that the cell ran in."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def memory(figures: Figures) -> str:
    """Return the host memory as a quantity."""
    size = figures.host_memory_mib or SAFE_MEMORY_MIB
    return f"{size // 1024}Gi" if size % 1024 == 0 else f"{size}Mi"


def needs_shared_memory(figures: Figures) -> bool:
    """Whether the run needs more of `/dev/shm` than is usual, as far as is known.

    Data loaders that hand over batches by it fail where there is too little.
    """
    return figures.shared_mib is None or figures.shared_mib > USUAL_SHARED_MIB


def cpus(figures: Figures) -> str:
    """Return the CPUs as a quantity."""
    return f"{figures.cpu_count or SAFE_CPUS:g}"


def resources(plan: Plan) -> dict[str, Json]:
    """Return requests and limits: memory equal in both, so that no node overcommits it."""
    size = memory(plan.figures)
    found: dict[str, Json] = {
        "requests": {"cpu": cpus(plan.figures), "memory": size},
        "limits": {"memory": size, **dict(plan.patch.limits)},
    }
    if plan.patch.claims:
        found["claims"] = [{"name": name, "request": name} for name in plan.patch.claims]
    return found


def variables(plan: Plan) -> list[Json]:
    """Return the environment as Kubernetes writes it: the share's, the team's, what must be given.

    A pod does not start without a variable that the code requires, and says which is missing.
    """
    pairs = (*plan.patch.env, *plan.patch.variables)
    given: list[Json] = [{"name": key, "value": value} for key, value in pairs]
    missing = [name for name in plan.required if name not in dict(pairs)]
    return [*given, *(_secret(plan.figures, name) for name in missing)]


def _secret(figures: Figures, name: str) -> Json:
    ref: Json = {"name": secret_name(figures), "key": name}
    return {"name": name, "valueFrom": {"secretKeyRef": ref}}


def secret_name(figures: Figures) -> str:
    """Return the name of the object that holds what the code reads and nobody writes down."""
    return f"{figures.name}-secrets"


def sources(plan: Plan) -> list[Json]:
    """Return where variables come from: the cluster's secret, when there is one, and the team's."""
    own: Json = {"secretRef": {"name": secret_name(plan.figures), "optional": True}}
    return [own, *plan.patch.env_from]


def container(
    plan: Plan,
    *,
    name: str = "train",
    command: tuple[str, ...] = RUN,
    port: int | None = None,
    env: Sequence[Json] = (),
) -> dict[str, Json]:
    """Return the one container of the function; `env` stands behind the share's variables."""
    found: dict[str, Json] = {"name": name, "image": plan.image, "command": list(command)}
    if port is not None:
        found["ports"] = [{"containerPort": port}]
    if known := [*variables(plan), *env]:
        found["env"] = known
    found["envFrom"] = sources(plan)
    found["resources"] = resources(plan)
    return {**found, **plan.patch.container}


def fields(patch: SharePatch, carries: frozenset[Capability]) -> dict[str, Json]:
    """Return the patch's pod fields, less the optional ones that have no place here."""
    return {
        key: value
        for key, value in patch.pod.items()
        if key not in OPTIONAL or OPTIONAL[key] in carries
    }


def revision_fields(plan: Plan) -> dict[str, Json]:
    """Return the pod fields of a Knative revision, with what the user's Knative has on."""
    on = {one for one, flag in FEATURES.items() if flag in plan.request.knative_features}
    return fields(plan.patch, REVISION | on)


def template(
    patch: SharePatch, spec: Mapping[str, Json], annotations: Mapping[str, Json] | None = None
) -> dict[str, Json]:
    """Return a pod template with the patch's labels and annotations, and more annotations."""
    metadata: dict[str, Json] = {}
    if patch.labels:
        metadata["labels"] = {**dict(patch.labels)}
    if annotations or patch.annotations:
        metadata["annotations"] = {**(annotations or {}), **dict(patch.annotations)}
    return {"metadata": metadata, "spec": dict(spec)} if metadata else {"spec": dict(spec)}


def workload(
    type_: tuple[str, str],
    plan: Plan,
    spec: Mapping[str, Json],
    annotations: Mapping[str, str] | None = None,
    *,
    namespace: str = "",
    labels: Mapping[str, str] | None = None,
) -> dict[str, Json]:
    """Return the workload's object with its stamps.

    Args:
        type_: apiVersion and kind.
        plan: Whose name, figures and annotations it carries.
        spec: Its `spec`.
        annotations: More of them, behind the stamps.
        namespace: Where it stands if the user names none; empty: where the user applies it.
        labels: Its labels.
    """
    metadata = named(plan.figures.name, plan.request, namespace)
    if every := {**(labels or {}), **dict(plan.patch.object_labels)}:
        metadata["labels"] = {**every}
    own = {**dict(plan.patch.object_annotations), **stamps(plan.figures, plan.patch)}
    metadata["annotations"] = {**own, **(annotations or {})}
    return {"apiVersion": type_[0], "kind": type_[1], "metadata": metadata, "spec": dict(spec)}


def named(name: str, request: ExportRequest, namespace: str = "") -> dict[str, Json]:
    """Return the metadata of an object: its name, and its namespace where one is known."""
    where = request.namespace or namespace
    return {"name": name, "namespace": where} if where else {"name": name}


def once(plan: Plan) -> dict[str, Json]:
    """Return the pod fields of a run that goes to its end once.

    A pod's deadline counts from when a node has it, so that waiting for a place does not, and
    pulling the image does (Kubernetes, PodSpec.activeDeadlineSeconds).
    """
    found: dict[str, Json] = {"restartPolicy": "Never"}
    if plan.figures.timeout_s is not None:
        found["activeDeadlineSeconds"] = plan.figures.timeout_s
    return found


def notes(
    plan: Plan, *, default_limit: str = "", endless: str = "", image: bool = True
) -> tuple[str, ...]:
    """Return the sentences for the top of a workload's file.

    Args:
        plan: What it carries.
        default_limit: What ends a run on this platform when the file sets no limit.
        endless: What to say instead where the platform knows no time limit.
        image: It names one.
    """
    found = [*plan.figures.warnings, *plan.patch.comments]
    if endless:
        found.append(endless)
    elif plan.figures.timeout_s is None:
        found.append(f"No time limit is set: the run time is not known. {default_limit}".strip())
    round_figures = [
        name
        for name, measured in (
            ("CPU", plan.figures.cpu_count),
            ("Host memory", plan.figures.host_memory_mib),
        )
        if measured is None
    ]
    if len(round_figures) > 1:
        found.append("CPU and host memory are round figures, not measured ones.")
    elif round_figures:
        found.append(f"{round_figures[0]} is a round figure, not a measured one.")
    if image and not plan.request.image:
        found.append("The image is a placeholder: none was named.")
    return tuple(found)


def duration(seconds: int) -> str:
    """Return seconds as a Go duration.

    >>> duration(14400), duration(5400), duration(90)
    ('4h', '1h30m', '1m30s')
    """
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (left, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def mps_env(figures: Figures) -> tuple[tuple[str, str], ...]:
    """Return the two limits of an MPS client.

    Memory is given for exactly the visible GPUs, by ordinal: an entry for a GPU that the process
    cannot see drops every limit.
    """
    env = []
    if figures.sm_percent is not None:
        env.append((PERCENTAGE, str(figures.sm_percent)))
    if figures.memory_mib is not None:
        entries = (f"{ordinal}={figures.memory_mib}M" for ordinal in range(figures.gpus))
        env.append((MEMORY, ",".join(entries)))
    return tuple(env)


def time_limits(
    figures: Figures, count: tuple[str, int], cores: str, memory: str
) -> tuple[tuple[str, int], ...]:
    """Return the resources of a backend that holds kernel launches back, memory in plain MiB."""
    amounts = (count, (cores, figures.time_percent), (memory, figures.memory_mib))
    return tuple((name, amount) for name, amount in amounts if amount is not None)


def exclusive(figures: Figures, cores: str) -> tuple[str, ...]:
    """Return the sentence that 100 percent of the time is a card of its own, to both schedulers."""
    if figures.time_percent != 100:
        return ()
    return (f"{cores} 100 asks for a card that no other pod is on.",)


def information(figures: Figures) -> tuple[tuple[str, str], ...]:
    """Return the figures as variables that inform the function and limit nothing."""
    pairs = (
        ("GPUPREDICT_SM_PERCENT", figures.sm_percent),
        ("GPUPREDICT_TIME_PERCENT", figures.time_percent),
        ("GPUPREDICT_MEM_MIB", figures.memory_mib),
    )
    return tuple((name, str(value)) for name, value in pairs if value is not None)


def open_share(figures: Figures, basis: str) -> tuple[str, ...]:
    """Return the sentence that says why a target applies no share; none where it does."""
    own, other, name = figures.sm_percent, figures.time_percent, "SM"
    said = "the run gave a time share, which is not a share of the SMs"
    if basis == "time_share":
        own, other, name = other, own, "time"
        said = "a share of the SMs is known, which is not a share of time"
    if own is not None:
        return ()
    return (f"No {name} share is set: {said if other is not None else 'none is known'}.",)


def equal_parts(figures: Figures, request: ExportRequest) -> tuple[int, str]:
    """Return among how many clients a GPU is divided, and what the file says of it.

    Each client of such a daemon gets an equal part, whatever it asks for. So the count follows from
    the share and the memory; 1 where no share is known or no two functions fit: nothing is divided.

    Raises:
        Unrepresentable: In as many parts as the user states, one is too small.
    """
    share, size, total = figures.sm_percent, figures.memory_mib, figures.gpu_total_mib
    fits, count = metrics.replicas(share or 1, size, total), request.clients
    if count is None and share is None:
        return 1, (
            "The function gets a whole GPU, which nothing divides: an equal part of one is a share "
            "of the SMs, and none is known. --clients N has it divided all the same."
        )
    if count is None and fits < 2:
        return 1, (
            "The function gets a whole GPU, which nothing divides: it needs more than a half."
        )
    parts = count or fits
    each = f"{100 // parts} % of the SMs" + (f" and {total // parts} MiB" if total else "")
    if parts > fits:
        said = f"each of {parts} clients of a GPU gets {each}, which is less than the run needs"
        hint = "leave --clients out: it needs a whole GPU"
        fewer = f"Divide it for {fits} clients" if fits > 1 else "Take a whole GPU"
        fix = Fix(fewer, {"clients": fits if fits > 1 else None})
        raise Unrepresentable(said, f"--clients N up to {fits}" if fits > 1 else hint, [fix])
    said = f"Each of {parts} clients of a GPU gets {each}"
    if share is None:
        said += ", as --clients states: what the run needs of the SMs is not known"
    elif not total:
        said += "; the GPU's memory is not known, so see that it holds them"
    return parts, f"{said}."


def whole_gpu(figures: Figures, comments: tuple[str, ...], **fields: Json) -> SharePatch:
    """Return a limit of one GPU, and figures that inform the function and limit nothing."""
    said = "The figures are information for the function and limit nothing."
    return SharePatch(
        "none",
        env=information(figures),
        limits=((GPU, figures.gpus),),
        pod=fields,
        comments=(*comments, said),
    )


def given_by_user(names: Iterable[str], figures: Figures) -> list[str]:
    """Return the variables whose values the user has to give: of several ranks, not these."""
    return [name for name in names if figures.ranks == 1 or name not in ALONE]


def apart(label: str, value: str) -> dict[str, Json]:
    """Return the affinity that keeps the pods of this label on nodes of their own.

    Where no scheduler counts GPUs, each would take the first one of its node.
    """
    term: Json = {
        "labelSelector": {"matchLabels": {label: value}},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
