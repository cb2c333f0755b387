"""Rules of every container, wherever a target keeps it: environment, amounts, image, names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.checks import values
from jupyter_gpupredict.export.checks.shapes import join
from jupyter_gpupredict.export.checks.values import at, items, table
from jupyter_gpupredict.export.function.container import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_gpupredict.export.checks.ledger import Ledger

PERCENTAGE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
MEMORY = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
PIPE = "CUDA_MPS_PIPE_DIRECTORY"
SHARED = "nvidia.com/gpu.shared"
GPU = "nvidia.com/gpu"
MAX_GPUS = 64
RESOURCE = re.compile(r"cpu|memory|ephemeral-storage|hugepages-.+|[^/]+/[^/]+")
"""Names of what a container may ask for."""
OURS = ("nvidia.com/gpu", "volcano.sh/vgpu-")
KNOWN = (
    GPU,
    SHARED,
    *(f"nvidia.com/{name}" for name in ("gpucores", "gpumem", "gpumem-percentage")),
    *(f"volcano.sh/vgpu-{name}" for name in ("number", "cores", "memory", "memory-percentage")),
)
"""Resources of the sharing backends."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod template, wherever a workload keeps it."""

    spec: dict[str, Any]
    path: str
    metadata: dict[str, Any] = field(default_factory=dict)
    metadata_path: str = ""
    containers: tuple[tuple[dict[str, Any], str], ...] = ()
    """(container, path)."""

    @property
    def annotations(self) -> dict[str, Any]:
        """The template's annotations."""
        return table(self.metadata.get("annotations"))

    @property
    def limits(self) -> dict[str, Any]:
        """Limits of all containers together."""
        found: dict[str, Any] = {}
        for container, _ in self.containers:
            found |= limits(container)
        return found

    @property
    def variables(self) -> set[Any]:
        """Names of the variables of all containers together."""
        return {
            name for container, path in self.containers for _, name, _ in variables(container, path)
        }

    @property
    def uses_gpu(self) -> bool:
        """Whether a limit names a GPU, or a part of one."""
        return any("gpu" in str(name) for name in self.limits)


def pod(spec: Any, path: str, metadata: Any = None, metadata_path: str = "") -> Pod:
    """Return a pod with its containers found."""
    found = table(spec)
    containers = tuple(
        (table(one), f"{join(path, key)}[{position}]")
        for key in ("initContainers", "containers")
        for position, one in enumerate(items(found.get(key)))
    )
    return Pod(found, path, table(metadata), metadata_path, containers)


def template(found: Any, path: str) -> Pod:
    """Return the pod of a template."""
    one = table(found)
    return pod(one.get("spec"), f"{path}.spec", one.get("metadata"), f"{path}.metadata")


def limits(container: dict[str, Any]) -> dict[str, Any]:
    """Return a container's resource limits."""
    return table(at(container, "resources", "limits"))


def variables(container: dict[str, Any], path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, name, value) of literal variables, in a list or in a mapping."""
    listed = container.get("env", container.get("environment"))
    if isinstance(listed, dict):
        for name, value in listed.items():
            yield join(join(path, "environment"), str(name)), name, value
        return
    for position, one in enumerate(items(listed)):
        where = f"{join(path, 'env')}[{position}]"
        if isinstance(one, dict) and "value" in one:
            yield where, one.get("name"), one["value"]
        elif isinstance(one, dict):
            yield where, one.get("name"), None


def environment(
    container: dict[str, Any], path: str, gpus: int | None, ledger: Ledger
) -> list[str]:
    """Check a container's variables and return the paths of MPS limits among them."""
    seen: set[str] = set()
    found = []
    listed = container.get("env")
    for where, name, value in variables(container, path):
        if not isinstance(name, str) or not values.ENV_NAME.fullmatch(name):
            ledger.add("env", where, f"{name!r} is no name of a variable")
            continue
        if name in seen:
            ledger.add("env", where, f"{name} is given twice")
        seen.add(name)
        if value is None:
            if isinstance(listed, list) and not _from_elsewhere(listed, name):
                ledger.warn("env", where, f"{name} has no value")
            continue
        if not isinstance(value, str):
            ledger.add("env", where, f"{name} must be quoted text, not {value!r}")
            continue
        if "\0" in value:
            ledger.add("env", where, f"{name} holds a NUL")
        if value and values.SECRET_NAME.fullmatch(name):
            ledger.add("secret", where, f"{name} carries a literal; refer to a secret instead")
        if variable(name, value, where, gpus, ledger):
            found.append(where)
    return found


def _from_elsewhere(listed: list[Any], name: str) -> bool:
    return any(table(one).get("name") == name and "valueFrom" in table(one) for one in listed)


def variable(name: str, value: str, where: str, gpus: int | None, ledger: Ledger) -> bool:
    """Check a variable that carries a figure; returns whether it is a limit of MPS."""
    if name in (PERCENTAGE, "GPUPREDICT_SM_PERCENT", "GPUPREDICT_TIME_PERCENT"):
        if values.PERCENT.fullmatch(value):
            note = ledger.carry if name == PERCENTAGE else ledger.tell
            note("time" if "TIME" in name else "sm", Decimal(value), where)
        else:
            ledger.add("mps-percent", where, f"{value!r} is no whole percent from 1 to 100")
    elif name == "GPUPREDICT_MEM_MIB":
        if values.whole(value):
            ledger.tell("mem", Decimal(value), where)
        else:
            ledger.add("mps-memory", where, f"{value!r} is no whole number of MiB")
    elif name == MEMORY:
        _memory_limit(value, where, gpus, ledger)
    return name in (PERCENTAGE, MEMORY)


def _memory_limit(value: str, where: str, gpus: int | None, ledger: Ledger) -> None:
    devices = []
    for part in value.split(","):
        entry = values.MEMORY_ENTRY.fullmatch(part)
        if entry is None:
            ledger.add("mps-memory", where, f"{value!r} is not such as 0=5874M (binary MiB)")
            return
        devices.append(entry[1])
        factor = 1024 if entry[3] == "G" else 1
        ledger.carry("mem", Decimal(entry[2]) * factor, where)
    ordinals = sorted(int(one) for one in devices if one.isdecimal())
    count = len(devices) if gpus is None else gpus
    by_ordinal = ordinals == list(range(count))
    by_uuid = not ordinals and len(devices) == count
    if len(set(devices)) != len(devices) or not (by_ordinal or by_uuid):
        ledger.add(
            "mps-ordinal",
            where,
            f"{value!r} does not name each of {count} visible GPU once; an entry for a GPU that is "
            "not visible drops every limit",
        )


def amounts(container: dict[str, Any], path: str, ledger: Ledger) -> None:
    """Check quantities: their form, whole pieces of extended resources, requests to limits."""
    base = join(path, "resources")
    limit, request = limits(container), table(at(container, "resources", "requests"))
    known: dict[tuple[str, str], Decimal | None] = {}
    for side, given in (("limits", limit), ("requests", request)):
        for name, value in given.items():
            where = join(join(base, side), str(name))
            number = known[side, name] = values.quantity(value)
            if not RESOURCE.fullmatch(str(name)) or (
                str(name).startswith(OURS) and name not in KNOWN
            ):
                ledger.add("resource", where, "a container has no such resource")
            if number is None:
                ledger.add("quantity", where, f"{value!r} is no quantity")
            elif number < 0:
                ledger.add("quantity", where, f"{value!r} is below nothing")
            elif values.extended(name) and number != number.to_integral_value():
                ledger.add("ext-int", where, f"{value!r} is no whole number of pieces")
    for name in request:
        where = join(join(base, "requests"), str(name))
        asked, most = known["requests", name], known.get(("limits", name))
        if values.extended(name):
            if asked != most:
                ledger.add("request-limit", where, "needs a limit that is equal")
        elif asked is not None and most is not None and asked > most:
            ledger.add("request-limit", where, "is above the limit")
    if SHARED in limit:
        where = join(join(base, "limits"), SHARED)
        if known["limits", SHARED] != 1:
            ledger.add("shared-one", where, "the device plugin refuses more than one share")
        if GPU in limit:
            ledger.add("shared-one", where, "a share and a whole GPU in one container")


def image(value: Any, where: str, ledger: Ledger) -> None:
    """Check an image reference and that it is fixed."""
    if not isinstance(value, str):
        return  # its shape says so
    if not IMAGE.fullmatch(value):
        ledger.add("image", where, f"{value!r} is no image reference")
        return
    last = value.rsplit("/", 1)[-1]
    if "@sha256:" not in value and (":" not in last or last.endswith(":latest")):
        ledger.warn("image-tag", where, f"{value!r} has no fixed tag")


def gpu_count(container: dict[str, Any], found: Pod) -> int:
    """Return how many GPUs a container sees."""
    limit = limits(container)
    for name in (SHARED, GPU, "volcano.sh/vgpu-number"):
        number = values.whole(limit.get(name))
        if number is not None:
            return min(max(number, 1), MAX_GPUS)
    for _, name, value in variables(container, ""):
        if name == "NVIDIA_VISIBLE_DEVICES" and isinstance(value, str) and value[:1].isdecimal():
            return min(len(value.split(",")), MAX_GPUS)
    return min(max(1, len(items(at(container, "resources", "claims")))), MAX_GPUS)


def names(container: dict[str, Any], path: str, ledger: Ledger) -> None:
    """Check a container's name and those of what it refers to."""
    name = container.get("name")
    if isinstance(name, str) and not values.LABEL.fullmatch(name):
        ledger.add("name", join(path, "name"), f"{name!r} is no DNS label")
    for position, one in enumerate(items(container.get("envFrom"))):
        where = f"{join(path, 'envFrom')}[{position}]"
        kinds = [kind for kind in ("secretRef", "configMapRef") if kind in table(one)]
        if len(kinds) != 1:
            ledger.add("env", where, "needs one of secretRef and configMapRef")
            continue
        referred = at(one, kinds[0], "name")
        if not isinstance(referred, str) or not values.SUBDOMAIN.fullmatch(referred):
            ledger.add("name", where, f"{referred!r} is no name of an object")
