"""The options of an export, beside those of the function's code: one table for every front end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jupyter_gpupredict.core.metrics import MAX_MPS_CLIENTS
from jupyter_gpupredict.core.options import option, options_of, required

DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """The options of an export; `CodeRequest` has those of the function's code."""

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
    sm_share: str = option(
        "high",
        "which end of a share that follows from the kernels' geometry, or your own percentage",
        metavar="low|high|P",
        pattern=r"^(low|high|[1-9]\d?|100)$",
        longest=4,
    )
    clients: int | None = option(
        None,
        "your own count of clients that share a GPU, of which each gets an equal part "
        "(device-plugin, gke)",
        metavar="N",
        low=2,
        high=MAX_MPS_CLIENTS,
        unit="clients",
    )
    headroom_percent: float = option(
        0.0,
        "your own margin on memory, beside the one that is in the target",
        metavar="H",
        low=0,
        high=1000,
        unit="percent",
    )
    headroom_sm_percent: float = option(
        0.0,
        "your own margin on a measured share of the SMs; 100 doubles it, as NVIDIA advises for "
        "clients that are not busy all the time",
        metavar="H",
        short=("--headroom-sm",),
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
    outputs: str = option(
        "",
        "what keeps the results: claim:NAME (a volume claim), bucket:URL (an object store), or the "
        "path of a mount; by itself nothing does, on a cluster",
        metavar="WHERE",
    )
    namespace: str = option("", "namespace of the objects", longest=63)
    labels: tuple[tuple[str, str], ...] = option(
        (), "label of object and pod", metavar="KEY=VALUE", several="pairs", longest=63
    )
    annotations: tuple[tuple[str, str], ...] = option(
        (), "annotation of object and pod", metavar="KEY=VALUE", several="pairs"
    )
    service_account: str = option("", "service account of the pod", longest=253)
    pull_secrets: tuple[str, ...] = option(
        (),
        "secret that the image is pulled with",
        short=("--pull-secret",),
        several="list",
        metavar="NAME",
        longest=253,
    )
    env: tuple[tuple[str, str], ...] = option(
        (), "variable of the function, no credential", metavar="NAME=VALUE", several="pairs"
    )
    env_from: tuple[str, ...] = option(
        (),
        "variables from secret:NAME or configmap:NAME",
        metavar="KIND:NAME",
        several="list",
        longest=300,
    )
    volumes: tuple[str, ...] = option(
        (),
        "what to mount: claim:NAME:PATH, secret:NAME:PATH, configmap:NAME:PATH or empty:PATH",
        metavar="KIND:NAME:PATH",
        short=("--volume",),
        several="list",
    )
    tolerations: tuple[str, ...] = option(
        (),
        "taint that the pod tolerates",
        metavar="KEY[=VALUE][:EFFECT]",
        short=("--toleration",),
        several="list",
        longest=400,
    )
    queue: str = option(
        "", "queue: Volcano's or KAI's with their schedulers, else Kueue's", longest=253
    )
    priority_class: str = option("", "priority class of the pod", longest=253)
    gpu_resource: str = option(
        "nvidia.com/gpu",
        "what the cluster calls a whole GPU",
        longest=253,
        pattern="^[a-z0-9.-]+/[A-Za-z0-9._-]+$",
    )
    run_as_user: int | None = option(
        None,
        "number of the user that runs the function",
        metavar="UID",
        low=0,
        high=(1 << 31) - 1,
        unit="as a number",
    )
    restricted: bool = option(
        False, "what the Pod Security Standard `restricted` asks for, and a read-only root"
    )
    retries: int = option(
        0,
        "further tries after a failure; disruptions are always tried again",
        metavar="N",
        low=0,
        high=100,
        unit="tries",
    )
    ttl_s: int = option(
        DAY_S,
        "how long a finished job stays, for its logs",
        metavar="S",
        short=("--ttl",),
        low=0,
        high=1 << 31,
        unit="seconds",
    )
    gres_count: int | None = option(
        None,
        "what your Slurm counts of mps or shard per GPU; by itself 100",
        metavar="N",
        short=("--mps-count",),
        low=1,
        high=1 << 20,
        unit="per GPU",
    )
    region: str = option("", "AWS region of an ECS task's logs", longest=40, pattern="^[a-z0-9-]*$")
    modules: tuple[str, ...] = option(
        (),
        "environment module that a Slurm script loads",
        short=("--module",),
        several="list",
        metavar="NAME",
        longest=200,
    )
    profile: str = option(
        "", "TOML file with options of a team, which those given here go before", metavar="FILE"
    )
    gpu_uuid: str = option("", "the GPU that an MPS file is for", metavar="GPU-...", longest=100)
    accelerator: str = option("nvidia-l4", "the accelerator to ask Cloud Run for", longest=100)
    force: bool = option(False, "insist on what is refused, and have it stamped")
    overwrite: bool = option(False, "replace files that are there")
    scheduled: bool = True
    """As `Workload.scheduled`; no option."""

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
