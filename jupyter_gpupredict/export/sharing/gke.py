"""Google Kubernetes Engine's own MPS sharing: node pools that divide each GPU into equal parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core import rounding
from jupyter_gpupredict.core.errors import Unrepresentable
from jupyter_gpupredict.export import limits
from jupyter_gpupredict.export.deployment import Capability, Restriction, SharePatch

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json

STRATEGY = "cloud.google.com/gke-gpu-sharing-strategy"
CLIENTS = "cloud.google.com/gke-max-shared-clients-per-gpu"
FEWEST_CLIENTS = 2


class Gke:
    """Selects a node pool; GKE sets both limits to equal parts and the variables tighten them."""

    needs = frozenset(
        {
            Capability.ENV,
            Capability.EXTENDED_RESOURCE,
            Capability.NODE_SELECTOR,
            Capability.HOST_IPC,
        }
    )
    restricts = frozenset({Restriction.ONE_GPU, Restriction.NO_MIG})
    expresses = frozenset({"sm_pct", "memory_mib"})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return node selectors, one GPU and the environment.

        Raises:
            Unrepresentable: Two such functions do not fit on one GPU.
        """
        count = rounding.replicas(figures.sm_percent, figures.memory_mib, figures.gpu_total_mib)
        comments = [*limits.open_share(figures, "sm_share")]
        if count is None:
            count = FEWEST_CLIENTS
            comments.append("How many clients fit on a GPU is not known: two are asked for.")
        if count < FEWEST_CLIENTS:
            raise Unrepresentable(
                "gke divides a GPU into two equal parts at least, and this function needs more",
                "job with dra or mps gives one function more than a half",
            )
        selector: dict[str, Json] = dict(request.node_selector)
        selector |= {STRATEGY: "mps", CLIENTS: str(count)}
        return SharePatch(
            "sm_share",
            limits.mps_env(figures),  # never above GKE's own part: whichever wins, it holds
            limits=(("nvidia.com/gpu", 1),),
            pod={"hostIPC": True, "nodeSelector": selector},
            comments=tuple(comments),
        )
