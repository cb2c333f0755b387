"""What a check of a manifest collects: findings, and every figure that the file states.

`Pod` and the small readers below are how rules look at a document whose shape may be wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from jupyter_gpupredict.core.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal
    from pathlib import Path

Level = Literal["error", "warning"]
Kind = Literal["sm", "time", "mem"]
"""A share of the SMs or of time in percent, memory in MiB."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a file breaks."""

    rule: str
    file: str
    where: str
    """Path of the node; empty for the whole file."""
    message: str
    level: Level = "error"

    def __str__(self) -> str:
        where = f" {self.where}" if self.where else ""
        return f"{self.file}: {self.level} [{self.rule}]{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the user's platform allows beyond a stock one, and what the figures should be."""

    features: frozenset[str] = frozenset()
    """Knative's feature flags that are on."""
    max_timeout_s: int | None = None
    sm_percent: int | None = None
    time_percent: int | None = None
    memory_mib: int | None = None


@dataclass(slots=True)
class Report:
    """Findings and figures of one file."""

    file: str
    allowed: Allowed
    judges: tuple[PodRules, ...] = ()
    """What is applied to each pod: all sharing backends."""
    findings: list[Finding] = field(default_factory=list)
    documents: list[Any] = field(default_factory=list)
    """All documents of the file, for references from one to another."""
    figures: list[tuple[Kind, Decimal, str]] = field(default_factory=list)
    """Every share and size that the file states, in percent or MiB, and where."""
    carried: set[Kind] = field(default_factory=set)
    """Kinds that stand outside the stamps: what a platform would apply."""
    informed: set[Kind] = field(default_factory=set)
    """Kinds that variables give to the function for its information."""
    limits_s: list[tuple[float, str]] = field(default_factory=list)
    """Time limits."""
    stamps: dict[str, str] = field(default_factory=dict)
    stamped: bool = False
    """The file is a workload, which must carry stamps."""
    by_time: bool = False
    """The target applies shares of time."""
    object: str = ""
    """The object that is being checked, for messages."""

    def add(self, rule: str, where: str, message: str, level: Level = "error") -> None:
        """Add a finding."""
        place = ": ".join(part for part in (self.object, where) if part)
        self.findings.append(Finding(rule, self.file, one_line(place), one_line(message), level))

    def warn(self, rule: str, where: str, message: str) -> None:
        """Add a finding that only deserves a second look."""
        self.add(rule, where, message, "warning")

    def carry(self, kind: Kind, value: Decimal, where: str) -> None:
        """Add a figure that the platform would apply."""
        self.figures.append((kind, value, where))
        self.carried.add(kind)

    def inform(self, kind: Kind, value: Decimal, where: str) -> None:
        """Add a figure that informs the function and limits nothing."""
        self.figures.append((kind, value, where))
        self.informed.add(kind)

    def limit(self, value: Any, where: str) -> None:
        """Add a time limit in seconds, where it is a whole number."""
        if (found := whole(value)) is not None:
            self.limits_s.append((float(found), where))

    def named(self, *kinds: str) -> dict[str, dict[str, Any]]:
        """Return the documents of these kinds in the same file, by name."""
        found = [one for one in map(table, self.documents) if one.get("kind") in kinds]
        return {str(at(one, "metadata", "name")): one for one in found}

    @property
    def failed(self) -> bool:
        """Whether anything is wrong, and not only doubtful."""
        return any(finding.level == "error" for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A kind of document that an adapter writes, with what judges it."""

    api: str = ""
    kind: str = ""
    schema: str | Path = ""
    """JSON Schema: the name of one of `export/schemas`, or the path of another file; empty: none.

    It may refer to `kubernetes.json#/$defs/...`, and may state `rule`, `level` and `says` (the
    message; `{}` stands for the value) beside the keywords of JSON Schema.
    """
    check: Callable[[Any, Report], None] | None = None
    """Adds findings that a schema cannot express, and the figures and time limits it sees."""
    only: Callable[[Any], bool] | None = None
    """Recognises the document, where `api` and `kind` are not enough; asked before those."""
    suffix: str = ""
    """Ending of files that are of this kind whatever they hold, such as `.env`."""
    stamped: bool = True
    """It is a workload, which must carry the provenance stamps."""


@dataclass(slots=True)
class Pod:
    """A pod template, wherever a workload keeps it."""

    spec: dict[str, Any]
    path: str
    metadata: dict[str, Any] = field(default_factory=dict)
    metadata_path: str = ""
    containers: tuple[tuple[dict[str, Any], str], ...] = ()
    """(container, path)."""
    limiter: str = ""
    """The sharing backend that enforces limits of its own here, beside which MPS's conflict."""
    routed: bool = False
    """The platform brings the way to the MPS daemon."""
    placed: bool = False
    """The scheduler chooses node and GPU for each of several such pods."""

    @property
    def annotations(self) -> dict[str, Any]:
        """The template's annotations."""
        return table(self.metadata.get("annotations"))

    @property
    def labels(self) -> dict[str, Any]:
        """The template's labels."""
        return table(self.metadata.get("labels"))

    @property
    def limits(self) -> dict[str, Any]:
        """Limits of all containers together."""
        found: dict[str, Any] = {}
        for container, _ in self.containers:
            found |= limits(container)
        return found

    @property
    def variables(self) -> dict[Any, Any]:
        """Name -> value, or where it comes from, of all containers together."""
        each = (variables(container, path) for container, path in self.containers)
        return {name: value for found in each for _, name, value in found}

    @property
    def uses_gpu(self) -> bool:
        """Whether a limit names a GPU, or a part of one."""
        return any("gpu" in str(name) for name in self.limits)


class PodRules(Protocol):
    """What a sharing backend knows of pods. Whoever inherits gets the defaults."""

    resources: Sequence[str] = ()
    """Extended resources that containers ask for; the first counts GPUs."""

    def judge(self, pod: Pod, report: Report) -> None:
        """Check a pod, of any workload, by the rules of this backend; most pods are others'."""
        del pod, report


def pod_at(spec: Any, path: str, metadata: Any = None, metadata_path: str = "") -> Pod:
    """Return a pod with its containers found."""
    found = table(spec)
    containers = tuple(
        (table(one), f"{join(path, key)}[{position}]")
        for key in ("initContainers", "containers")
        for position, one in enumerate(items(found.get(key)))
    )
    return Pod(found, path, table(metadata), metadata_path, containers)


def template_at(found: Any, path: str) -> Pod:
    """Return the pod of a template."""
    one = table(found)
    return pod_at(one.get("spec"), f"{path}.spec", one.get("metadata"), f"{path}.metadata")


def limits(container: Any) -> dict[str, Any]:
    """Return a container's resource limits."""
    return table(at(container, "resources", "limits"))


def variables(container: dict[str, Any], path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, name, value or its `valueFrom`) of variables, in a list or in a mapping."""
    listed = container.get("env", container.get("environment"))
    for name, value in table(listed).items():
        yield join(path, "environment", str(name)), name, value
    for position, one in enumerate(items(listed)):
        if isinstance(one, dict):
            yield (
                f"{join(path, 'env')}[{position}]",
                one.get("name"),
                one.get("value", one.get("valueFrom")),
            )


def table(value: Any) -> dict[str, Any]:
    """Return a mapping as it is, anything else as an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Return a list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def at(value: Any, *path: str | int) -> Any:
    """Return what stands at a path of keys and positions; None where it ends."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def whole(value: Any) -> int | None:
    """Return a plain non-negative whole number, as a number or as digits; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value >= 0 else None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
        return int(value)
    return None


def join(path: str, *keys: str) -> str:
    """Return the path of a key below a path."""
    parts = [path] * bool(path)
    parts += [f'"{key}"' if "." in key or "/" in key else key for key in keys]
    return ".".join(parts)
