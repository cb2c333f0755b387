"""What a check of a manifest collects: findings, and every figure that the file states.

`Node` and `Pod` are how rules look at a document whose shape may be wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol

from jupyter_gpupredict.core.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
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

    def add(self, rule: str, where: Node | str, message: str, level: Level = "error") -> None:
        """Add a finding."""
        place = ": ".join(part for part in (self.object, str(where)) if part)
        self.findings.append(Finding(rule, self.file, one_line(place), one_line(message), level))

    def warn(self, rule: str, where: Node | str, message: str) -> None:
        """Add a finding that only deserves a second look."""
        self.add(rule, where, message, "warning")

    def carry(self, kind: Kind, value: Decimal | int, where: Node | str) -> None:
        """Add a figure that the platform would apply."""
        self.figures.append((kind, Decimal(value), str(where)))
        self.carried.add(kind)

    def inform(self, kind: Kind, value: Decimal | int, where: Node | str) -> None:
        """Add a figure that informs the function and limits nothing."""
        self.figures.append((kind, Decimal(value), str(where)))
        self.informed.add(kind)

    def limit(self, value_s: float | None, where: Node | str) -> None:
        """Add a time limit in seconds; None: there is none."""
        if value_s is not None:
            self.limits_s.append((float(value_s), str(where)))

    def named(self, *kinds: str) -> dict[str, Node]:
        """Return the documents of these kinds in the same file, by name."""
        found = [one for one in map(Node, self.documents) if one["kind"].value in kinds]
        return {str(one.at("metadata.name").value): one for one in found}

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
    check: Callable[[Node, Report], None] | None = None
    """Adds findings that a schema cannot express, and the figures and time limits it sees."""
    only: Callable[[Node], bool] | None = None
    """Recognises the document, where `api` and `kind` are not enough; asked before those."""
    suffix: str = ""
    """Ending of files that are of this kind whatever they hold, such as `.env`."""
    stamped: bool = True
    """It is a workload, which must carry the provenance stamps."""


@dataclass(frozen=True, slots=True)
class Node:
    """A place in a document. What is not there, or of another type, reads as nothing."""

    value: Any = None
    path: str = ""

    def __str__(self) -> str:
        return self.path

    def __getitem__(self, key: str) -> Node:
        return Node(self.table.get(key), join(self.path, key))

    def __contains__(self, key: str) -> bool:
        return key in self.table

    def __iter__(self) -> Iterator[Node]:
        for position, one in enumerate(self.value if isinstance(self.value, list) else ()):
            yield Node(one, f"{self.path}[{position}]")

    def at(self, path: str) -> Node:
        """Return what stands below keys that are joined by dots."""
        node = self
        for key in path.split("."):
            node = node[key]
        return node

    def pairs(self) -> Iterator[tuple[str, Node]]:
        """Yield the keys of a mapping with what stands under them."""
        for key in self.table:
            yield key, self[key]

    @property
    def table(self) -> dict[str, Any]:
        """A mapping as it is, anything else as an empty one."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def whole(self) -> int | None:
        """A whole number from 0, as a number or as digits; None for anything else."""
        if isinstance(self.value, int) and not isinstance(self.value, bool) and self.value >= 0:
            return self.value
        text = self.value if isinstance(self.value, str) else ""
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) else None


@dataclass(slots=True)
class Pod:
    """A pod template, wherever a workload keeps it."""

    spec: Node
    metadata: Node = field(default_factory=Node)
    containers: tuple[Node, ...] | None = None
    """Of the spec, where none are given."""
    limiter: str = ""
    """The sharing backend that enforces limits of its own here, beside which MPS's conflict."""
    routed: bool = False
    """The platform brings the way to the MPS daemon."""
    placed: bool = False
    """The scheduler chooses node and GPU for each of several such pods."""

    def __iter__(self) -> Iterator[Node]:
        if self.containers is not None:
            yield from self.containers
            return
        yield from self.spec["initContainers"]
        yield from self.spec["containers"]

    @property
    def annotations(self) -> Node:
        """The template's annotations."""
        return self.metadata["annotations"]

    @property
    def limits(self) -> dict[str, Any]:
        """Limits of all containers together."""
        return {name: one for container in self for name, one in limits(container).table.items()}

    @property
    def variables(self) -> dict[Any, Any]:
        """Name -> value, or where it comes from, of all containers together."""
        return {name: value for container in self for _, name, value in variables(container)}

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


def template(node: Node) -> Pod:
    """Return the pod of a template."""
    return Pod(node["spec"], node["metadata"])


def limits(container: Node) -> Node:
    """Return a container's resource limits."""
    return container["resources"]["limits"]


def variables(container: Node) -> Iterator[tuple[Node, Any, Any]]:
    """Yield (place, name, value or its `valueFrom`) of variables, in a list or in a mapping."""
    listed = container["env" if "env" in container else "environment"]
    for name, node in listed.pairs():
        yield node, name, node.value
    for node in listed:
        if isinstance(node.value, dict):
            yield node, node["name"].value, node.table.get("value", node["valueFrom"].value)


def join(path: str, key: str) -> str:
    """Return the path of a key below a path."""
    part = f'"{key}"' if "." in str(key) or "/" in str(key) else str(key)
    return f"{path}.{part}" if path else part
