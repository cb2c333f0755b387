"""The pod that most workloads share: image, container, resources, and what a patch adds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.deployment import Capability, image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json, SharePatch

SAFE_CPUS, SAFE_MEMORY_MIB = 2.0, 8192
"""Host requests where the run did not measure them; the file says so."""
OPTIONAL = {
    "schedulerName": Capability.SCHEDULER_NAME,
    "runtimeClassName": Capability.RUNTIME_CLASS,
    "tolerations": Capability.TOLERATIONS,
}
"""Pod fields that a platform may supply by itself: left out where a workload has no place."""
RUN = ("python", "handler.py")
SERVE = ("python", "adapters/serve.py")
PORT = 8080


def python_version() -> str:
    """Return the minor version of the Python that the cell ran in."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def memory(figures: Figures) -> str:
    """Return the host memory as a quantity."""
    size = figures.host_memory_mib or SAFE_MEMORY_MIB
    return f"{size // 1024}Gi" if size % 1024 == 0 else f"{size}Mi"


def cpus(figures: Figures) -> str:
    """Return the CPUs as a quantity."""
    return f"{figures.cpu_count or SAFE_CPUS:g}"


def resources(figures: Figures, patch: SharePatch) -> dict[str, Json]:
    """Return requests and limits: memory equal in both, so that no node overcommits it."""
    size = memory(figures)
    found: dict[str, Json] = {
        "requests": {"cpu": cpus(figures), "memory": size},
        "limits": {"memory": size, **dict(patch.limits)},
    }
    if patch.claims:
        found["claims"] = [{"name": name, "request": name} for name in patch.claims]
    return found


def variables(patch: SharePatch) -> list[Json]:
    """Return the patch's environment as Kubernetes writes it."""
    return [{"name": key, "value": value} for key, value in patch.env]


def secrets(figures: Figures) -> list[Json]:
    """Return where secrets come from: the cluster's object of that name, when there is one."""
    return [{"secretRef": {"name": f"{figures.name}-secrets", "optional": True}}]


def container(
    figures: Figures,
    request: ExportRequest,
    patch: SharePatch,
    *,
    name: str = "train",
    command: tuple[str, ...] = RUN,
    port: int | None = None,
    env: Sequence[Json] = (),
) -> dict[str, Json]:
    """Return the one container of the function; `env` is what it is told beside the share."""
    found: dict[str, Json] = {
        "name": name,
        "image": image(figures, request),
        "command": list(command),
    }
    if port is not None:
        found["ports"] = [{"containerPort": port}]
    if patch.env or env:
        found["env"] = [*variables(patch), *env]
    found["envFrom"] = secrets(figures)
    found["resources"] = resources(figures, patch)
    return {**found, **patch.container}


def fields(patch: SharePatch, carries: frozenset[Capability]) -> dict[str, Json]:
    """Return the patch's pod fields, less the optional ones that have no place here."""
    return {
        key: value
        for key, value in patch.pod.items()
        if key not in OPTIONAL or OPTIONAL[key] in carries
    }


def template(patch: SharePatch, spec: dict[str, Json]) -> dict[str, Json]:
    """Return a pod template with the patch's labels and annotations."""
    metadata: dict[str, Json] = {}
    if patch.labels:
        metadata["labels"] = _mapping(patch.labels)
    if patch.annotations:
        metadata["annotations"] = _mapping(patch.annotations)
    return {"metadata": metadata, "spec": spec} if metadata else {"spec": spec}


def metadata(
    figures: Figures, patch: SharePatch, stamps: Mapping[str, str], **more: Json
) -> dict[str, Json]:
    """Return the metadata of the workload object."""
    notes: dict[str, Json] = {**dict(patch.object_annotations), **stamps}
    return {"name": figures.name, **more, "annotations": notes}


def notes(
    figures: Figures, request: ExportRequest, patch: SharePatch, *, default_limit: str = ""
) -> tuple[str, ...]:
    """Return the sentences for the top of a workload's file.

    Args:
        figures: The figures that it carries.
        request: What the user asked for.
        patch: What the sharing backend adds.
        default_limit: What ends a run on this platform when the file sets no limit.
    """
    found = [*figures.warnings, *patch.comments]
    if figures.timeout_s is None:
        found.append(f"No time limit is set: the run time is not known. {default_limit}".strip())
    if figures.host_memory_mib is None:
        found.append("CPU and host memory are round figures, not measured ones.")
    if not request.image:
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


def _mapping(pairs: tuple[tuple[str, str], ...]) -> dict[str, Json]:
    return dict(pairs)
