"""What exporters exchange: the figures to write, the request, capabilities, patches, documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from jupyter_gpupredict.core.options import option, options_of, required

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """The options of an export; `core.cells.CodeRequest` has those of the function's code."""

    workload: str = option("job", "what runs the function", longest=100)
    sharing: str = option(
        "", "how its GPU is divided; by itself device-plugin, or what the workload has", longest=100
    )
    name: str = required("the function's name", longest=200)
    output: str = required("the folder to write", metavar="DIR", short=("-o",))
    image: str = option("", "its container image")
    node_selector: tuple[tuple[str, str], ...] = option(
        (),
        "label of the nodes to run on (mps: those that run a daemon)",
        metavar="KEY=VALUE",
        several="pairs",
        longest=200,
    )
    memory_mib: int | None = option(
        None, "your own memory limit", metavar="N", low=1, high=1 << 24, unit="MiB"
    )
    sm_percent: int | None = option(
        None, "your own share of the SMs", metavar="P", low=1, high=100, unit="percent of the SMs"
    )
    headroom_percent: float = option(
        0.0,
        "your own margin on memory, beside the 15 % that is in the target",
        metavar="H",
        low=0,
        high=1000,
        unit="percent",
    )
    per_process: bool = option(
        False, "several CUDA processes share what the target grants to their container"
    )
    max_timeout_s: int | None = option(
        None,
        "longest run that your platform allows, in seconds",
        metavar="S",
        short=("--max-timeout",),
        low=1,
        high=1 << 31,
        unit="seconds",
    )
    knative_features: tuple[str, ...] = option(
        (), "feature flags that your Knative has on", metavar="A,B", several="list", longest=200
    )
    gpu_uuid: str = option("", "the GPU that an MPS file is for", metavar="GPU-...", longest=100)
    accelerator: str = option("nvidia-l4", "the accelerator to ask Cloud Run for", longest=100)
    force: bool = option(False, "insist on what is refused, and have it stamped")
    overwrite: bool = option(False, "replace files that are there")

    @classmethod
    def of(cls, **options: Any) -> ExportRequest:
        """Return a request from keywords as people give them: mappings, lists, paths, None.

        Raises:
            TypeError: No such option.
        """
        usual = {one.name: one for one in options_of(cls)}
        given = {
            name: value
            for name, value in options.items()
            if value is not None or usual[name].default is None
        }
        for name, value in given.items():
            if usual[name].several == "pairs":
                given[name] = tuple(sorted(dict(value).items()))
            elif usual[name].several:
                given[name] = tuple(value)
        return cls(**given | {"output": str(given["output"])})


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


def image(figures: Figures, request: ExportRequest) -> str:
    """Return the image to run; a placeholder where the user named none."""
    return request.image or f"registry.example.com/{figures.name}:0.1.0"
