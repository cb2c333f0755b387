"""A RayJob (ray.io/v1): starts a cluster, runs the function on it, and takes it down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core import rounding
from jupyter_gpupredict.core.deployment import Capability, Document, Restriction
from jupyter_gpupredict.exporters import pod, provenance
from jupyter_gpupredict.exporters.documents import yaml_text

if TYPE_CHECKING:
    from jupyter_gpupredict.core.deployment import ExportRequest, Figures, Json, SharePatch

RAY_VERSION = "2.49.0"


class RayJob:
    """`deploy/rayjob.yaml`."""

    carries = frozenset(
        {
            Capability.ENV,
            Capability.EXTENDED_RESOURCE,
            Capability.POD_ANNOTATION,
            Capability.NODE_SELECTOR,
            Capability.SCHEDULER_NAME,
            Capability.RUNTIME_CLASS,
            Capability.TOLERATIONS,
            Capability.HOST_IPC,
            Capability.HOST_PATH,
            Capability.RESOURCE_CLAIM,
            Capability.COMPANION,
            Capability.TIME_LIMIT,
        }
    )
    switchable: frozenset[Capability] = frozenset()
    restricts = frozenset({Restriction.ONE_RANK})
    max_run_s = None

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return the job; Ray's own GPU share is bookkeeping and limits nothing."""
        booked = _booked(figures, patch)
        spec: dict[str, Json] = {
            "entrypoint": "python handler.py",
            "entrypointNumCpus": _plain(figures.cpu_count or pod.SAFE_CPUS),
            "entrypointNumGpus": booked,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 3600,
        }
        if figures.timeout_s is not None:
            spec["activeDeadlineSeconds"] = figures.timeout_s
        container = pod.container(figures, request, patch, name="ray-head")
        del container["command"]  # KubeRay starts Ray in it
        if patch.env and not patch.pod.get("hostIPC"):
            # The device plugin brings the way to its daemon; the limits are the function's alone.
            # Where the pod mounts the way itself, they stand beside it and Ray's workers inherit.
            spec["runtimeEnvYAML"] = yaml_text({"env_vars": dict(patch.env)})
            del container["env"]
        head = pod.template(patch, {**pod.fields(patch, self.carries), "containers": [container]})
        # KubeRay counts only resources whose name ends in gpu, and no claim or environment.
        counted = any(name.endswith("gpu") for name, _ in patch.limits)
        start: dict[str, Json] = {} if counted else {"num-gpus": str(figures.gpus)}
        spec["rayClusterSpec"] = {
            "rayVersion": RAY_VERSION,
            "headGroupSpec": {"rayStartParams": start, "template": head},
        }
        job: dict[str, Json] = {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": pod.metadata(figures, patch, provenance.stamps(figures, patch)),
            "spec": spec,
        }
        comments = (
            *pod.notes(figures, request, patch),
            f"The image must hold Ray {RAY_VERSION}. entrypointNumGpus is Ray's bookkeeping.",
        )
        return (
            Document("deploy/rayjob.yaml", job, comments, before=patch.before),
            *patch.companions,
        )


def _booked(figures: Figures, patch: SharePatch) -> int | float:
    if figures.gpus > 1:
        return figures.gpus
    share = figures.sm_percent if patch.basis == "sm_share" else None
    return _plain(rounding.ray_gpus(share, figures.memory_mib, figures.gpu_total_mib))


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value
