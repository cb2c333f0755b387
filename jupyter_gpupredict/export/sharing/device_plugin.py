"""NVIDIA's Kubernetes device plugin (GPU Operator) with MPS sharing, and its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core import rounding
from jupyter_gpupredict.export import limits
from jupyter_gpupredict.export.deployment import Capability, Document, Restriction, SharePatch
from jupyter_gpupredict.export.documents import yaml_text
from jupyter_gpupredict.export.provenance import PREFIX

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json

PATH = "deploy/device-plugin-configmap.yaml"


class DevicePlugin:
    """One `nvidia.com/gpu.shared`; the plugin brings pipe directory and /dev/shm.

    Every client gets an equal part of the GPU, and the two variables tighten it.
    """

    needs = frozenset({Capability.ENV, Capability.EXTENDED_RESOURCE, Capability.COMPANION})
    restricts = frozenset({Restriction.ONE_GPU, Restriction.NO_MIG})
    expresses = frozenset({"sm_pct", "memory_mib"})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return limit and environment, and the administrator's companion where it makes sense."""
        pod: dict[str, Json] = {}
        if request.node_selector:
            pod["nodeSelector"] = dict(request.node_selector)
        pod["tolerations"] = [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        ]
        count = rounding.replicas(figures.sm_percent, figures.memory_mib, figures.gpu_total_mib)
        companions: tuple[Document, ...] = ()
        if count is None:
            said = "How many replicas the plugin should make is not known: no companion is written."
        elif count < 2:
            said = (
                "Two such functions do not fit on one GPU, so there is nothing to share and no "
                "companion: replicas that are there already grant less than is asked for here."
            )
        else:
            said = (
                f"Nodes need {PATH.removeprefix('deploy/')} and the label "
                f"nvidia.com/device-plugin.config=mps-{count}; "
                "the container runs as the daemon's user."
            )
            companions = (_companion(figures, count),)
        return SharePatch(
            "sm_share",
            limits.mps_env(figures),
            limits=(("nvidia.com/gpu.shared", 1),),
            pod=pod,
            companions=companions,
            comments=(*limits.open_share(figures, "sm_share"), said),
        )


def _companion(figures: Figures, count: int) -> Document:
    sharing: dict[str, Json] = {
        "version": "v1",
        "sharing": {
            "mps": {
                "renameByDefault": True,
                "resources": [{"name": "nvidia.com/gpu", "replicas": count}],
            }
        },
    }
    inputs = (
        ("sm-percent", figures.sm_percent),
        ("memory-mib", figures.memory_mib),
        ("gpu-total-mib", figures.gpu_total_mib),
    )
    content: dict[str, Json] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "gpupredict-mps",
            "namespace": "gpu-operator",
            "annotations": {PREFIX + key: str(value) for key, value in inputs if value is not None},
        },
        "data": {f"mps-{count}": yaml_text(sharing)},
    }
    return Document(PATH, content, ("For the cluster's administrator: equal parts of each GPU.",))
