"""What exporters exchange: figures, request, cells, capabilities, patches, documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal, Protocol

from jupyter_gpupredict.core.options import option
from jupyter_gpupredict.export.findings import PodRules
from jupyter_gpupredict.export.request import ExportRequest  # noqa: TC001 - found here, too

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jupyter_gpupredict.export.findings import Manifest

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
    GRES = "Slurm's generic resources"
    MPS_CONFIG = "an MPS configuration file"
    RUNTIME_CLASS = "a runtime class"
    TOLERATIONS = "tolerations"
    WHOLE_GPU = "whole GPUs alone"
    TIME_LIMIT = "a time limit"
    NAMESPACE = "a namespace"
    LABELS = "labels and annotations"
    SERVICE_ACCOUNT = "a service account"
    PULL_SECRETS = "pull secrets"
    VARIABLES = "variables of your own"
    ENV_FROM = "variables from secrets and config maps"
    VOLUMES = "volumes"
    MEMORY_VOLUME = "volumes in memory"
    PRIORITY = "a priority class"
    SECURITY = "a security context"
    QUEUE = "a queue"
    RETRIES = "retries and a time to live"
    REGION = "a region"


class Restriction(Enum):
    """What a workload or a sharing backend cannot do; each is refused with its reason."""

    ONE_GPU = "holds one GPU"
    ONE_RANK = "runs one rank"
    PER_CONTAINER = "limits the container, not each process in it"
    NO_MIG = "does not run on MIG instances"
    MEMORY_REQUIRED = "needs a memory limit"


MODES = ("replay", "strict")
"""What is done about what only running the notebook makes: it runs again, or is refused."""
SECRETS_FROM = ("env", "param")
"""Who may give a function its credentials: the environment, the caller."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One executed cell."""

    label: str
    """How a message names it, such as `In [3]`."""
    source: str
    """As its author wrote it, magics and all."""
    tags: tuple[str, ...] = ()
    failed: bool = False
    """It ended with an error, so that what stands below the failing line never ran."""


TRIALS = ("import", "venv", "no")


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """Where a function's code comes from and what may be done about what it cannot hold."""

    cells: tuple[Cell, ...]
    """In the order of execution; one of them has the hash of the measured code."""
    folder: Path
    """Where the notebook stands: modules beside it are copied."""
    mode: str = option(
        "replay",
        "replay what the measured cell needs of earlier cells before it, or be strict and refuse "
        "what only running them makes",
        choices=MODES,
    )
    params: tuple[str, ...] = option(
        (),
        "a name that the function's caller gives, not the notebook",
        metavar="NAME",
        short=("--param",),
        several="list",
        longest=200,
        pattern="^[A-Za-z_][0-9A-Za-z_]*$",
    )
    setup: tuple[str, ...] = option(
        (),
        "cells with this tag, or number, run again before the measured one",
        metavar="TAG",
        several="list",
        longest=200,
    )
    save: tuple[tuple[str, str], ...] = option(
        (),
        "also save what has this name, the way its library does, to this file of the output folder",
        metavar="NAME=PATH",
        several="pairs",
        longest=200,
    )
    copy: tuple[str, ...] = option(
        (),
        "a file beside the notebook that the code reads, to copy into the folder; 16 MiB in all",
        metavar="PATH",
        several="list",
        longest=200,
    )
    adapters: tuple[str, ...] = option(
        (),
        "serve, functions-framework, runpod, openfaas, func or ray",
        metavar="NAME",
        short=("--adapter",),
        several="list",
        longest=100,
    )
    base_image: str = option("", "what the Dockerfile starts from", metavar="IMAGE")
    drop_magics: bool = option(
        False, "leave out what earlier cells have that works in a notebook only"
    )
    secrets: str = option(
        "",
        "who gives what looks like a credential: the environment, by a name in .env.example, or "
        "the function's caller; by itself such code is refused",
        choices=SECRETS_FROM,
    )
    allow_secrets: bool = option(False, "keep what looks like a credential")
    trial: str = option(
        "import",
        "try the folder before it is written: import it with what is installed here, install it "
        "and import it in a fresh environment (venv), or do not try it; a server never does",
        choices=TRIALS,
    )
    trial_limit_s: float | None = option(
        None,
        "how long each step of the trial may take; by itself 60 s, and 900 s for an installation",
        metavar="S",
        short=("--trial-limit",),
        low=1,
        high=86400,
        unit="seconds",
    )
    notes: tuple[str, ...] = ()
    """What is to be said about where the cells come from."""
    tried: bool = True
    """Whether the folder is imported for a trial, which runs the user's code in a child of this
    process; not where that has no business to, as in a server."""
    pinned: bool = True
    """Whether the packages that this process sees are those that the code ran with."""
    python: str = ""
    """The Python that it ran with, such as `3.11`; empty: this process's."""


Origin = Literal["verified", "estimate", "user"]
SmMethod = Literal["gpm", "geometry", "verified"]


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
    shared_mib: int | None = None
    """Shared memory, which `/dev/shm` has to hold; None: it was not measured."""
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
    answer: tuple[str, ...] = ()
    """What the run's views say first, a line each."""
    sm_from: Origin = "estimate"
    sm_method: SmMethod | None = None
    """How the share of the SMs came about; None: it is not known, or the user's own."""
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
    object_labels: tuple[tuple[str, str], ...] = ()
    object_annotations: tuple[tuple[str, str], ...] = ()
    """Labels and annotations of the workload object itself."""
    variables: tuple[tuple[str, str], ...] = ()
    """Variables of the function that limit nothing."""
    env_from: tuple[Json, ...] = ()
    """More sources of variables, as Kubernetes writes them."""
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
    secrets: str = "kubectl create secret generic {name}-secrets{namespace} --from-env-file=.env"
    """The command that gives the workload the variables which the code reads."""
    namespace: str = ""
    """Where its objects stand if the user names no namespace; empty: where they are applied."""
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
    copied: bool = False
    """The content is a user's file, whose bytes that are not UTF-8 are surrogates."""
    before: tuple[Json, ...] = ()
    """YAML documents of the same file that come before the content."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a workload writes down: figures, as the user asks, with what the sharing adds."""

    figures: Figures
    request: ExportRequest
    patch: SharePatch
    required: tuple[str, ...] = ()
    """Variables that the code does not run without; the user gives them, by a secret."""

    @property
    def image(self) -> str:
        """The image to run."""
        return image(self.figures, self.request)


def image(figures: Figures, request: ExportRequest) -> str:
    """Return the image to run; a placeholder where the user named none."""
    return request.image or f"registry.example.com/{figures.name}:0.1.0"


class Workload(Protocol):
    """What runs the exported function. Whoever inherits gets the defaults."""

    about: str = ""
    """What it is, in a line for those who choose."""
    carries: frozenset[Capability]
    switchable: Mapping[Capability, str] = {}
    """What its platform can do and switches off, with the flag that the user says is on."""
    restricts: frozenset[Restriction] = frozenset()
    max_run_s: int | None = None
    """Longest run that a stock platform allows; None: any."""
    sharing: str = "device-plugin"
    """The sharing backend where none is named."""
    refuses: Sequence[tuple[str, str]] = ()
    """Sharing backend, or `*` for any, and why it cannot carry what that needs."""
    scheduled: bool = True
    """A scheduler chooses the machine, and mounts what the function needs."""
    hosting: Hosting = Hosting()
    """What the function's folder and image hold for it."""
    manifests: Sequence[Manifest] = ()
    """The documents it writes, with their schemas and rules; `validate` judges by these."""

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return the files of this workload with the sharing backend's patch applied."""
        ...


class Sharing(PodRules, Protocol):
    """How the function's GPU is divided. Whoever inherits gets the defaults."""

    about: str = ""
    """What it is, in a line for those who choose."""
    needs: frozenset[Capability]
    restricts: frozenset[Restriction] = frozenset()
    expresses: frozenset[str]
    """What it applies: `sm_pct`, `time_pct`, `memory_mib`."""
    as_root: bool = False
    """Its MPS daemon runs as root, so its clients have to."""
    refuses: str = ""
    """Why it does not go with a workload that carries too little; empty: what is missing."""
    manifests: Sequence[Manifest] = ()
    """The documents beside the workload, as `Workload.manifests`."""

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return what a workload must carry so that the share is applied."""
        ...
