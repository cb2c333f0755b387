"""A RayJob (ray.io/v1): starts a cluster, runs the function on it, and takes it down."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import rounding
from jupyter_gpupredict.core.deployment import Capability, Document, Restriction, SharePatch
from jupyter_gpupredict.export import pod, provenance, ranks
from jupyter_gpupredict.export.documents import yaml_text
from jupyter_gpupredict.export.function import container

if TYPE_CHECKING:
    from jupyter_gpupredict.core.deployment import ExportRequest, Figures, Json


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
    restricts: frozenset[Restriction] = frozenset()
    max_run_s = None

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return the job; Ray's own GPU share is bookkeeping and limits nothing.

        Several ranks are tasks of that many workers with a GPU each, and the head has none.
        """
        spec: dict[str, Json] = {"entrypoint": "python handler.py"}
        if figures.ranks > 1:
            spec["entrypoint"] = f"python {container.RANKS.path} {figures.ranks} '{{}}'"
        else:
            spec["entrypointNumCpus"] = _plain(figures.cpu_count or pod.SAFE_CPUS)
            spec["entrypointNumGpus"] = _booked(figures, patch)
        spec["shutdownAfterJobFinishes"] = True
        spec["ttlSecondsAfterFinished"] = 3600
        if figures.timeout_s is not None:
            spec["activeDeadlineSeconds"] = figures.timeout_s
        if patch.env and not patch.pod.get("hostIPC"):
            # The device plugin brings the way to its daemon; the limits are the function's alone.
            # Where the pod mounts the way itself, they stand beside it and Ray's workers inherit.
            spec["runtimeEnvYAML"] = yaml_text({"env_vars": dict(patch.env)})
            patch = dataclasses.replace(patch, env=())
        # KubeRay counts only resources whose name ends in gpu, and no claim or environment.
        counted = any(name.endswith("gpu") for name, _ in patch.limits)
        start: dict[str, Json] = {} if counted else {"num-gpus": str(figures.gpus)}
        if patch.basis == "sm_share":
            # KubeRay would lay memory of its own over the /dev/shm of the MPS daemon otherwise.
            start["plasma-directory"] = "/tmp"  # noqa: S108 - a container's own
        cluster: dict[str, Json] = {"rayVersion": container.RAY_VERSION}
        if figures.ranks > 1:
            none: dict[str, Json] = {"num-gpus": "0"}  # else it counts those that it sees
            head = SharePatch("none", pod=_only(patch.pod, "schedulerName"), labels=patch.labels)
            cluster["headGroupSpec"] = self._pods("head", figures, request, head, none)
            if patch.uncounted:
                affinity = ranks.apart("ray.io/group", figures.name)
                patch = dataclasses.replace(patch, pod={**patch.pod, "affinity": affinity})
            workers = self._pods("worker", figures, request, patch, start)
            counts = dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), figures.ranks)
            cluster["workerGroupSpecs"] = [{"groupName": figures.name, **counts, **workers}]
        else:
            cluster["headGroupSpec"] = self._pods("head", figures, request, patch, start)
        spec["rayClusterSpec"] = cluster
        job: dict[str, Json] = {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": pod.metadata(figures, patch, provenance.stamps(figures, patch)),
            "spec": spec,
        }
        comments = (
            *pod.notes(figures, request, patch),
            f"The image must hold Ray {container.RAY_VERSION}. What Ray counts of GPUs is its "
            "bookkeeping.",
        )
        return (
            Document("deploy/rayjob.yaml", job, comments, before=patch.before),
            *patch.companions,
        )

    def _pods(
        self,
        role: str,
        figures: Figures,
        request: ExportRequest,
        patch: SharePatch,
        start: dict[str, Json],
    ) -> dict[str, Json]:
        """Return the pods of a group; no command, since KubeRay starts Ray in them."""
        container = pod.container(figures, request, patch, name=f"ray-{role}")
        del container["command"]
        inside: dict[str, Json] = {**pod.fields(patch, self.carries), "containers": [container]}
        return {"rayStartParams": start, "template": pod.template(patch, inside)}


def _only(fields: dict[str, Json], name: str) -> dict[str, Json]:
    return {name: fields[name]} if name in fields else {}


def _booked(figures: Figures, patch: SharePatch) -> int | float:
    if figures.gpus > 1:
        return figures.gpus
    share = figures.sm_percent if patch.basis == "sm_share" else None
    return _plain(rounding.ray_gpus(share, figures.memory_mib, figures.gpu_total_mib))


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value
