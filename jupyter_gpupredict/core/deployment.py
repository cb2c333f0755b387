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
    RUNTIME_CLASS = "a runtime class"
    TOLERATIONS = "tolerations"
    WHOLE_GPU = "whole GPUs alone"
    TIME_LIMIT = "a time limit"


class Restriction(Enum):
    """What a workload or a sharing backend cannot do; each is refused with its reason."""

    ONE_GPU = "holds one GPU"
    ONE_RANK = "runs one rank"
    PER_CONTAINER = "limits the container, not each process in it"
    NO_MIG = "does not run on MIG instances"
    MEMORY_REQUIRED = "needs a memory limit"


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
    """Added to the memory target before it is rounded up."""
    per_process: bool = False
    """Several CUDA processes share what a target grants to their container, and the user knows."""
    max_timeout_s: int | None = None
    """Longest run that the user's platform allows, where it is not the documented one."""
    knative_features: tuple[str, ...] = ()
    """Feature flags that the user's Knative has switched on."""
    gpu_uuid: str = ""
    """The GPU of the machine that an MPS start-up file is for."""
    accelerator: str = "nvidia-l4"
    """The accelerator that a target asks for by name (Cloud Run)."""
    scheduled: bool = True
    """As `Workload.scheduled`."""


Origin = Literal["verified", "estimate", "user"]


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
    share_from: Origin
    """Where the applied share comes from."""
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
    ranks: int = 1
    """Replicas that work together, each with these limits; 1: the run was not distributed."""
    hosts: int = 1
    """Hosts that the run's devices were on."""
    partial: bool = False
    """A device of the run was lost and not found again."""
    mig: bool = False
    """The figures are those of a MIG instance."""
    predicted_runtime_s: float | None = None
    sm_from: Origin = "estimate"
    time_from: Origin = "estimate"
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
    """Fields merged into the pod spec; a workload leaves out the optional ones it cannot carry."""
    container: dict[str, Json] = field(default_factory=dict)
    """Fields merged into the container."""
    claims: tuple[str, ...] = ()
    """Names of the pod's resource claims that the container uses."""
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    """Labels and annotations of the pod template."""
    object_annotations: tuple[tuple[str, str], ...] = ()
    """Annotations of the workload object itself."""
    before: tuple[Json, ...] = ()
    """Objects that stand in the workload's file before it, because it refers to them."""
    companions: tuple[Document, ...] = ()
    """Files of their own, for the administrator."""
    config: dict[str, Json] = field(default_factory=dict)
    """An MPS configuration, for workloads that start a daemon."""
    comments: tuple[str, ...] = ()
    """Sentences for the top of the file."""
    whole: bool = False
    """The share is all there is, which this target cannot tell from no share: none is stamped."""
    uncounted: bool = False
    """No scheduler counts the GPU: nothing but the pod itself keeps others off it."""


@dataclass(frozen=True, slots=True)
class Hosting:
    """What the function's folder and image hold so that a workload can run it."""

    deploy: str = ""
    """The command that deploys the folder; empty: `kubectl apply` of the first manifest."""
    adapters: tuple[str, ...] = ()
    """Names of adapters that call the function in the workload's way; none: `handler.py`."""
    rank_adapters: tuple[str, ...] = ()
    """More of them for a run of several ranks."""
    serves: bool = False
    """Its container listens, and does not run to its end."""
    requirement: str = ""
    """The line of `requirements.txt` without which its platform does not start the image."""
    packages: tuple[tuple[str, str], ...] = ()
    """Debian packages of the image, each with the reason."""


@dataclass(frozen=True, slots=True)
class Document:
    """One file to write."""

    path: str
    """Relative to the function folder, with forward slashes."""
    content: Json | str
    """Data for `.yaml`, `.json` and `.toml`, text for everything else."""
    comments: tuple[str, ...] = ()
    """Lines for the top, without the comment sign."""
    executable: bool = False
    before: tuple[Json, ...] = ()
    """YAML documents of the same file that come before the content."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a workload writes down: figures, as the user asks, with what the sharing adds."""

    figures: Figures
    request: ExportRequest
    patch: SharePatch

    @property
    def image(self) -> str:
        """The image to run."""
        return image(self.figures, self.request)


def image(figures: Figures, request: ExportRequest) -> str:
    """Return the image to run; a placeholder where the user named none."""
    return request.image or f"registry.example.com/{figures.name}:0.1.0"
