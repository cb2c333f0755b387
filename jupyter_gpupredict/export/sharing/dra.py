"""Dynamic resource allocation: a claim whose MPS settings NVIDIA's driver reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import limits
from jupyter_gpupredict.export.deployment import Capability, Restriction, SharePatch

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json

DRIVER = "gpu.nvidia.com"
CLAIM = "gpu"


class Dra:
    """A ResourceClaimTemplate in front of the workload (Kubernetes 1.34 or newer)."""

    needs = frozenset({Capability.RESOURCE_CLAIM})
    restricts: frozenset[Restriction] = frozenset()
    expresses = frozenset({"sm_pct", "memory_mib"})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the claim and the fields that use it."""
        settings: dict[str, Json] = {}
        if figures.sm_percent is not None:
            settings["defaultActiveThreadPercentage"] = figures.sm_percent
        if figures.memory_mib is not None:
            settings["defaultPinnedDeviceMemoryLimit"] = f"{figures.memory_mib}Mi"
        sharing: dict[str, Json] = {"strategy": "MPS"}
        if settings:
            sharing["mpsConfig"] = settings
        exactly: dict[str, Json] = {"deviceClassName": DRIVER}
        if figures.gpus > 1:
            exactly["count"] = figures.gpus
        parameters: dict[str, Json] = {
            "apiVersion": "resource.nvidia.com/v1beta1",
            "kind": "GpuConfig",
            "sharing": sharing,
        }
        template: dict[str, Json] = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaimTemplate",
            "metadata": {"name": f"{figures.name}-gpu"},
            "spec": {
                "spec": {
                    "devices": {
                        "requests": [{"name": CLAIM, "exactly": exactly}],
                        "config": [
                            {
                                "requests": [CLAIM],
                                "opaque": {"driver": DRIVER, "parameters": parameters},
                            }
                        ],
                    }
                }
            },
        }
        pod: dict[str, Json] = {}
        if request.node_selector:
            pod["nodeSelector"] = dict(request.node_selector)
        pod["resourceClaims"] = [
            {"name": CLAIM, "resourceClaimTemplateName": f"{figures.name}-gpu"}
        ]
        return SharePatch(
            "sm_share",
            pod=pod,
            claims=(CLAIM,),
            before=(template,),
            comments=(
                *limits.open_share(figures, "sm_share"),
                "The driver's feature gate MPSSupport must be on; it is alpha and off by default.",
            ),
        )
