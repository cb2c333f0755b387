"""What exporters exchange: the figures to write, the request, capabilities, patches, documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Capability(Enum):
    """What a workload can carry and a sharing backend may need."""

    ENV = "environment variables"
    EXTENDED_RESOURCE = "extended resources"
    POD_ANNOTATION = "pod annotations"
    NODE_SELECTOR = "a node selector"
    SCHEDULER_NAME = "a scheduler name"
    HOST_IPC = "host IPC"
    HOST_PATH = "host paths"
    RESOURCE_CLAIM = "resource claims"
    COMPANION = "companion objects"
    ECS_FIELDS = "ECS GPU sharing fields"
    FASTPOD_FIELDS = "FaSTPod annotations"
    MPS_CONFIG = "an MPS configuration file"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What the user asked for."""

    workload: str
    sharing: str
    name: str
    image: str = ""
    node_selector: tuple[tuple[str, str], ...] = ()
    force: bool = False
    """Insist on what is otherwise refused (not converged, simulated, CPU only)."""
    sm_percent: int | None = None
    """The user's own SM share."""
    memory_mib: int | None = None
    """The user's own memory limit."""
    headroom_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of one prediction as a manifest writes them: whole percents and MiB."""

    name: str
    """The function's name, a DNS label."""
    sm_percent: int | None
    time_percent: int | None
    memory_mib: int | None
    timeout_s: int | None
    host_memory_mib: int | None
    cpu_count: float | None
    state: str
    source: str
    share_from: Literal["verified", "estimate", "user"]
    memory_from: Literal["target", "observed", "user"] | None
    tool_version: str
    coverage_ratio: float | None = None
    certified_percent: int | None = None
    watched_s: float | None = None
    gpu_name: str | None = None
    gpu_total_mib: int | None = None
    sm_count: int | None = None
    session_id: str | None = None
    code_hash: str | None = None
    gpus: int = 1
    processes: int = 1
    warnings: tuple[str, ...] = ()
    """Sentences that head every written file: what is unusual about these figures."""


@dataclass(frozen=True, slots=True)
class SharePatch:
    """What a sharing backend adds to a workload."""

    basis: Literal["sm_share", "time_share", "none"]
    """The share this backend applies."""
    env: tuple[tuple[str, str], ...] = ()
    limits: tuple[tuple[str, int], ...] = ()
    pod: dict[str, Json] = field(default_factory=dict)
    """Fields merged into the pod spec."""
    container: dict[str, Json] = field(default_factory=dict)
    """Fields merged into the container."""
    companions: tuple[Document, ...] = ()
    comments: tuple[str, ...] = ()
    """Sentences for the top of the file."""


@dataclass(frozen=True, slots=True)
class Document:
    """One file to write."""

    path: str
    """Relative to the function folder, with forward slashes."""
    content: Json | str
    """Data for `.yaml` and `.json`, text for everything else."""
    comments: tuple[str, ...] = ()
    """Lines for the top, without the comment sign."""
    executable: bool = False
