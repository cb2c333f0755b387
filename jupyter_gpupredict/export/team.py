"""What a team asks for beside a function's own needs, put where a platform has a place for it.

One patch carries it all, so no workload and no sharing backend has code of its own for it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import Fix, InvalidOption, TraceError
from jupyter_gpupredict.core.files import read_given_text
from jupyter_gpupredict.core.options import options_of
from jupyter_gpupredict.export import pod
from jupyter_gpupredict.export.deployment import Capability
from jupyter_gpupredict.export.function.container import HOME, OUTPUTS, OUTPUTS_VARIABLE
from jupyter_gpupredict.export.request import ExportRequest
from jupyter_gpupredict.export.shapes import problems
from jupyter_gpupredict.predict.memory import MARGIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_gpupredict.export.deployment import Figures, Json, SharePatch, Sharing, Workload

TORCH_FRACTION = (2, 13)
"""The first PyTorch whose allocator was seen to read a fraction from its variable."""
PLACES = {
    "node_selector": Capability.NODE_SELECTOR,
    "namespace": Capability.NAMESPACE,
    "labels": Capability.LABELS,
    "annotations": Capability.LABELS,
    "service_account": Capability.SERVICE_ACCOUNT,
    "pull_secrets": Capability.PULL_SECRETS,
    "env": Capability.VARIABLES,
    "env_from": Capability.ENV_FROM,
    "volumes": Capability.VOLUMES,
    "tolerations": Capability.TOLERATIONS,
    "queue": Capability.QUEUE,
    "priority_class": Capability.PRIORITY,
    "run_as_user": Capability.SECURITY,
    "restricted": Capability.SECURITY,
    "gpu_resource": Capability.EXTENDED_RESOURCE,
    "gres_count": Capability.GRES,
    "region": Capability.REGION,
    "modules": Capability.GRES,
    "retries": Capability.RETRIES,
    "ttl_s": Capability.RETRIES,
}
"""Option -> what a workload carries that has a place for it."""
OWN = ("name", "output", "memory_mib", "sm_percent", "overwrite", "force", "profile")
"""Options of one export, which a profile does not hold."""
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
SOURCES: dict[str, tuple[str, str]] = {
    "claim": ("persistentVolumeClaim", "claimName"),
    "secret": ("secret", "secretName"),
    "configmap": ("configMap", "name"),
}
"""Kind of a volume -> its field, and the field in that of the object's name."""
CONFINED: dict[str, Json] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""The Pod Security Standard `restricted` (Kubernetes), with a root that nobody writes to."""


def with_profile(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return an export's options with those of a team's profile beneath.

    A profile is a TOML file whose keys are options of `ExportRequest` (docs/options.md); mappings
    are joined key by key.

    Raises:
        InvalidOption: It cannot be read, or holds what is no option of a team.
    """
    from jupyter_gpupredict.export.documents import parse_toml

    path = str(options.get("profile") or "")
    if not path:
        return dict(options)
    try:
        found: dict[str, Any] = parse_toml(read_given_text(path))
    except TraceError as error:
        raise InvalidOption(error.message, error.hint) from error
    except OSError as error:
        raise InvalidOption(f"cannot read {path}: {error.strerror}", "--profile FILE") from error
    except ValueError as error:
        raise InvalidOption(f"{path} is not TOML: {error}", "such as queue = 'training'") from error
    known = {one.name: one for one in options_of(ExportRequest) if one.name not in OWN}
    if wrong := problems(known.values(), found):
        raise InvalidOption(f"{path}: {wrong[0]}", f"a profile holds {', '.join(known)}")
    usual = {one.name: one.default for one in options_of(ExportRequest)}
    given = {name: one for name, one in options.items() if one not in (None, usual.get(name))}
    for name in set(found) & set(given):
        if known[name].several == "pairs":
            given[name] = {**found[name], **dict(given[name])}
    return {**options, **found, **given}


def joined(
    patch: SharePatch,
    figures: Figures,
    request: ExportRequest,
    carries: frozenset[Capability],
    workload: Workload,
    sharing: Sharing,
    needs: str = "",
) -> SharePatch:
    """Return a sharing backend's patch with what the user asks for beside it.

    `needs` is the text of the function's requirements, empty where they are not known.

    Raises:
        InvalidOption: The workload has no place for something, or it cannot be read.
    """
    usual = {one.name: one.default for one in options_of(ExportRequest)}
    for name, place in PLACES.items():
        if getattr(request, name) not in (usual[name], ()) and place not in carries:
            said = f"{request.workload} has no place for {place.value}"
            flag = workload.switchable.get(place)
            option = name.replace("_", "-")
            hint = f"--knative-features {flag}" if flag else f"leave --{option} out"
            empty: Any = {} if isinstance(usual[name], tuple) else usual[name]
            pairs = name in ("node_selector", "labels", "annotations", "env")
            alone = isinstance(usual[name], tuple) and not pairs  # a fix adds to a list
            fix = Fix(f"Leave {place.value} out", {name: empty})
            raise InvalidOption(said, hint, () if alone else [fix])
    spec, container = dict(patch.pod), dict(patch.container)
    if request.node_selector:
        own: Any = spec.get("nodeSelector") or {}
        spec["nodeSelector"] = {**dict(request.node_selector), **own}
    if request.service_account:
        spec["serviceAccountName"] = request.service_account
    if request.priority_class:
        spec["priorityClassName"] = request.priority_class
    if request.pull_secrets:
        spec["imagePullSecrets"] = [{"name": one} for one in request.pull_secrets]
    if Capability.TOLERATIONS in carries:
        _append(spec, "tolerations", [_toleration(one) for one in request.tolerations])
    kept, comment = _outputs(request, carries)
    volumes = [_volume(one, number) for number, one in enumerate(request.volumes, start=1)]
    volumes += kept[1]
    if request.scheduled and patch.basis != "sm_share" and pod.needs_shared_memory(figures):
        # beside a daemon of MPS it is the daemon's
        if Capability.MEMORY_VOLUME in carries:
            volumes.append(_shared(figures))
        else:
            comment += (_unshared(figures, request),)
    security = _security(patch, request, sharing)
    if request.restricted:
        taken = [str(mount["mountPath"]) for _, mount in volumes]
        places = {"tmp": "/tmp", "home": HOME, "outputs": OUTPUTS}  # noqa: S108
        volumes += [
            ({"name": name, "emptyDir": {}}, {"name": name, "mountPath": path})
            for name, path in places.items()
            if path not in taken
        ]
    _append(spec, "volumes", [volume for volume, _ in volumes])
    _append(container, "volumeMounts", [mount for _, mount in volumes])
    if security:
        container["securityContext"] = security
    labels, annotations = dict(request.labels), dict(request.annotations)
    object_labels = dict(request.labels)
    _enqueue(request, spec, labels, object_labels, annotations)
    own_variables = {**framework_variables(figures, needs), **dict(kept[0]), **dict(request.env)}
    for name in own_variables:
        if not VARIABLE.fullmatch(name):
            raise InvalidOption(f"{name[:40]!r} is not the name of a variable", "--env NAME=VALUE")
    renamed = {
        name: name.replace(pod.GPU, request.gpu_resource) for name in (pod.GPU, pod.SHARED_GPU)
    }
    return dataclasses.replace(
        patch,
        pod=spec,
        container=container,
        limits=tuple((renamed.get(name, name), amount) for name, amount in patch.limits),
        variables=tuple(own_variables.items()),
        env_from=tuple(_source(one) for one in request.env_from),
        labels=tuple({**dict(patch.labels), **labels}.items()),
        annotations=tuple({**dict(patch.annotations), **annotations}.items()),
        object_labels=tuple(object_labels.items()),
        object_annotations=(*patch.object_annotations, *request.annotations),
        comments=(*patch.comments, *comment),
    )


def framework_variables(figures: Figures, needs: str) -> dict[str, str]:
    """Return what keeps frameworks that take a whole card at once within the memory limit.

    JAX takes a part of the card, whatever limit it has: here that which was used, without the
    margin, which its context and libraries need. TensorFlow takes what it needs when it is told to.
    PyTorch frees what it caches before it passes the limit, from the release on that knows the
    setting (c10/cuda/CUDAAllocatorConfig.h; an older one refuses to start with it).
    """
    names = {line.partition("==")[0].strip().lower() for line in needs.splitlines()}
    found: dict[str, str] = {}
    memory, total = figures.memory_mib, figures.gpu_total_mib
    if memory is None:
        return found
    if names & {"tensorflow", "tf-keras"}:
        found["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    if names & {"jax", "jaxlib"}:
        part = math.floor(1000 * memory / MARGIN / total) / 1000 if total else 0.0
        if part:
            found["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{min(part, 0.95):g}"
        else:
            found["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    torch = re.search(r"^torch==(\d+)\.(\d+)", needs, re.MULTILINE)
    if torch and total and (int(torch[1]), int(torch[2])) >= TORCH_FRACTION:
        part = math.floor(1000 * memory / total) / 1000
        if 0 < part < 1:
            found["PYTORCH_CUDA_ALLOC_CONF"] = f"per_process_memory_fraction:{part:g}"
    return found


def _append(spec: dict[str, Json], key: str, more: list[Any]) -> None:
    own: Any = spec.get(key) or []
    if more:
        spec[key] = [*own, *(one for one in more if one not in own)]


def _toleration(text: str) -> Json:
    """Return a toleration from `KEY[=VALUE][:EFFECT]`, as kubectl writes taints."""
    rest, _, effect = text.partition(":")
    key, equal, value = rest.partition("=")
    if not key or (effect and effect not in EFFECTS):
        hint = f"KEY[=VALUE][:EFFECT], an effect of {', '.join(EFFECTS)}"
        raise InvalidOption(f"{text[:80]!r} is not a toleration", hint)
    found: dict[str, Json] = {"key": key, "operator": "Equal" if equal else "Exists"}
    if equal:
        found["value"] = value
    return {**found, "effect": effect} if effect else found


def _source(text: str) -> Json:
    """Return where variables come from, of `secret:NAME` or `configmap:NAME`."""
    kind, _, name = text.partition(":")
    fields = {"secret": "secretRef", "configmap": "configMapRef"}
    if kind not in fields or not NAME.fullmatch(name):
        raise InvalidOption(f"--env-from {text[:80]!r}", "secret:NAME or configmap:NAME")
    return {fields[kind]: {"name": name}}


def _volume(text: str, number: int) -> tuple[dict[str, Json], dict[str, Json]]:
    """Return a volume and its mount, of `KIND:NAME:PATH` or `empty:PATH`.

    Raises:
        InvalidOption: It is none of these, or a path of the node, which a function must not reach.
    """
    kind, _, rest = text.partition(":")
    name, _, path = rest.rpartition(":")
    if kind.lower() == "hostpath":
        said = "--volume hostpath: a path of the node is not mounted"
        raise InvalidOption(said, "claim:NAME:PATH")
    named = NAME.fullmatch(name) if kind in SOURCES else kind == "empty" and not name
    if not named or not path.startswith("/") or ".." in path.split("/"):
        hint = "claim:NAME:PATH, secret:NAME:PATH, configmap:NAME:PATH or empty:PATH"
        raise InvalidOption(f"--volume {text[:80]!r} is not known", hint)
    volume = f"volume-{number}"
    field, key = SOURCES.get(kind, ("emptyDir", ""))
    content: Json = {key: name} if key else {}
    return {"name": volume, field: content}, {"name": volume, "mountPath": path}


_Mount = tuple[dict[str, Any], dict[str, Any]]


def _outputs(
    request: ExportRequest, carries: frozenset[Capability]
) -> tuple[tuple[dict[str, str], list[_Mount]], tuple[str, ...]]:
    """Return variables and volumes of what keeps the results, and what the file says of it.

    Raises:
        InvalidOption: It is none of the known places, or the workload cannot hold it.
    """
    kind, _, rest = request.outputs.partition(":")
    if kind == "claim" and NAME.fullmatch(rest):
        if Capability.VOLUMES not in carries:
            said = f"{request.workload} has no place for {Capability.VOLUMES.value}"
            raise InvalidOption(said, "--outputs bucket:URL")
        volume = {"name": "outputs", "persistentVolumeClaim": {"claimName": rest}}
        mount = {"name": "outputs", "mountPath": OUTPUTS}
        return ({OUTPUTS_VARIABLE: OUTPUTS}, [(volume, mount)]), ()
    if kind == "bucket" and re.fullmatch(r"[a-z][a-z0-9+.-]*://\S+", rest):
        found = {OUTPUTS_VARIABLE: OUTPUTS, pod.BUCKET_VARIABLE: rest}
        return (found, []), ()
    if not request.scheduled and request.outputs and kind == request.outputs:
        return ({OUTPUTS_VARIABLE: request.outputs}, []), ()
    if request.outputs and not request.outputs.startswith("/"):
        hint = "claim:NAME, bucket:URL such as bucket:s3://results/runs, or the path of a mount"
        raise InvalidOption(f"--outputs {request.outputs[:80]!r} is not known", hint)
    if not request.scheduled:
        return ({}, []), ()
    path = request.outputs or OUTPUTS
    mounts = [one.rpartition(":") for one in request.volumes if not one.startswith("empty:")]
    inside = any(path == at or path.startswith(f"{at.rstrip('/')}/") for _, _, at in mounts)
    said = (
        f"Nothing keeps {path}: what the run writes there is lost with it. "
        "--outputs claim:NAME or bucket:URL keeps it."
    )
    variables = {OUTPUTS_VARIABLE: path} if request.outputs else {}
    return (variables, []), () if inside else (said,)


def _shared(figures: Figures) -> _Mount:
    """Return `/dev/shm` as large as the run used it; not known, it is bounded by the memory."""
    memory: dict[str, Json] = {"medium": "Memory"}
    if figures.shared_mib is not None:
        memory["sizeLimit"] = f"{figures.shared_mib}Mi"
    return {"name": "shm", "emptyDir": memory}, {"name": "shm", "mountPath": "/dev/shm"}  # noqa: S108


def _unshared(figures: Figures, request: ExportRequest) -> str:
    """Return the sentence about `/dev/shm` where the workload has no field for it."""
    needed = "how much the run needs was not measured"
    if figures.shared_mib is not None:
        needed = f"the run needs {figures.shared_mib} MiB"
    return (
        f"{request.workload} has no field for /dev/shm, which usually has "
        f"{pod.USUAL_SHARED_MIB} MiB: {needed}. Data loaders use it when they have workers."
    )


def _security(patch: SharePatch, request: ExportRequest, sharing: Sharing) -> dict[str, Json]:
    """Return the container's security context.

    Raises:
        InvalidOption: What the user asks for excludes what the sharing backend needs.
    """
    found: dict[str, Json] = {}
    if request.restricted:
        if sharing.as_root and patch.basis != "none":
            said = f"the daemon of {request.sharing} runs as root, and so do its clients"
            raise InvalidOption(f"{said}: restricted forbids it", "job with dra or hami")
        if patch.pod.get("hostIPC"):
            said = f"{request.sharing} needs host IPC, which restricted forbids"
            raise InvalidOption(said, "job with dra or hami")
        found |= CONFINED
    if request.run_as_user is not None:
        found["runAsUser"] = request.run_as_user
        if request.restricted and not request.run_as_user:
            raise InvalidOption("--run-as-user 0 is root, which restricted forbids", "another user")
    return found


def _enqueue(
    request: ExportRequest,
    spec: dict[str, Json],
    labels: dict[str, str],
    object_labels: dict[str, str],
    annotations: dict[str, str],
) -> None:
    """Name the queue where the scheduler of this pod looks for it."""
    if not request.queue:
        return
    scheduler = spec.get("schedulerName")
    if scheduler == pod.KAI:
        labels[pod.KAI_QUEUE] = request.queue
    elif scheduler == pod.VOLCANO:
        annotations[pod.VOLCANO_QUEUE] = request.queue
    else:
        object_labels[pod.KUEUE_QUEUE] = request.queue
