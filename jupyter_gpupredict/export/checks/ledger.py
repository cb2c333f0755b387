"""What a check of one file collects: findings, and every figure that the file carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from jupyter_gpupredict.core.plain import one_line

if TYPE_CHECKING:
    from decimal import Decimal

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
class Ledger:
    """Findings and figures of one file."""

    file: str
    allowed: Allowed
    findings: list[Finding] = field(default_factory=list)
    figures: list[tuple[Kind, Decimal, str]] = field(default_factory=list)
    """Every share and size that the file states, in percent or MiB, and where."""
    carried: set[Kind] = field(default_factory=set)
    """Kinds that stand outside the stamps: what a platform would apply."""
    told: set[Kind] = field(default_factory=set)
    """Kinds of which variables inform the function."""
    limits_s: list[tuple[float, str]] = field(default_factory=list)
    """Time limits."""
    stamps: dict[str, str] = field(default_factory=dict)
    stamped: bool = False
    """The file is a workload, which must carry stamps."""
    by_time: bool = False
    """The target applies shares of time."""
    claims: dict[str, list[str]] = field(default_factory=dict)
    """Resource claims of this file -> names of their requests."""
    headless: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Headless Services of this file -> labels that they select."""
    profiles: set[str] = field(default_factory=set)
    """OpenFaaS profiles of this file."""
    scheduled: bool = False
    """The workload names the scheduler outside its pods."""
    object: str = ""
    """The object that is being checked, for messages."""

    def add(self, rule: str, where: str, message: str, level: Level = "error") -> None:
        """Note a broken rule."""
        place = ": ".join(part for part in (self.object, where) if part)
        found = Finding(rule, self.file, one_line(place), one_line(message), level)
        self.findings.append(found)

    def warn(self, rule: str, where: str, message: str) -> None:
        """Note something that deserves a second look."""
        self.add(rule, where, message, "warning")

    def carry(self, kind: Kind, value: Decimal, where: str) -> None:
        """Note a figure that the platform would apply."""
        self.figures.append((kind, value, where))
        self.carried.add(kind)

    def tell(self, kind: Kind, value: Decimal, where: str) -> None:
        """Note a figure that informs the function and limits nothing."""
        self.figures.append((kind, value, where))
        self.told.add(kind)

    @property
    def failed(self) -> bool:
        """Whether anything is wrong, and not only doubtful."""
        return any(finding.level == "error" for finding in self.findings)
