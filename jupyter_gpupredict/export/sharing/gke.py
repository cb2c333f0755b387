"""Google Kubernetes Engine's own MPS sharing: node pools that divide each GPU into equal parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod
from jupyter_gpupredict.export.deployment import (
    Capability,
    Figures,
    Restriction,
    SharePatch,
    Sharing,
)
from jupyter_gpupredict.export.findings import Node, Pod, Report, variables
from jupyter_gpupredict.export.shapes import check_shape

if TYPE_CHECKING:
    from jupyter_gpupredict.export.request import ExportRequest

STRATEGY = "cloud.google.com/gke-gpu-sharing-strategy"
CLIENTS = "cloud.google.com/gke-max-shared-clients-per-gpu"
GPU, PERCENTAGE = pod.GPU, pod.PERCENTAGE


class Gke(Sharing):
    """Selects a node pool; GKE sets both limits to equal parts and the variables tighten them."""

    about = "Google Kubernetes Engine's own MPS sharing"
    needs = frozenset(
        {
            Capability.ENV,
            Capability.EXTENDED_RESOURCE,
            Capability.NODE_SELECTOR,
            Capability.HOST_IPC,
        }
    )
    restricts = pod.ONE_GPU | {Restriction.NO_MIG}
    expresses = pod.SM_SHARE
    resources = (GPU,)

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return node selectors, one GPU and the environment; or a whole GPU.

        Raises:
            Unrepresentable: As `pod.equal_parts`.
        """
        count, parts = pod.equal_parts(figures, request)
        comments = (*pod.open_share(figures, "sm_share"), parts)
        if count < 2:
            return pod.whole_gpu(figures, comments)
        selector = {STRATEGY: "mps", CLIENTS: str(count)}
        return SharePatch(
            "sm_share",
            pod.mps_env(figures),  # never above GKE's own part: whichever wins, it holds
            limits=((GPU, 1),),
            pod={"hostIPC": True, "nodeSelector": {**selector}},
            comments=comments,
        )

    def judge(self, pod: Pod, report: Report) -> None:
        """Check the selectors, and that a client's part holds the share."""
        selector = pod.spec["nodeSelector"]
        if STRATEGY not in selector and CLIENTS not in selector:
            return
        pod.routed = True
        check_shape("gke", pod.spec, report)
        clients = selector[CLIENTS].whole or 1
        if Node(pod.limits.get(GPU)).whole != 1:
            report.add("gke", pod.spec, f"exactly one {GPU} is needed")
        for container in pod:
            for place, name, value in variables(container):
                percent = Node(value).whole if name == PERCENTAGE else None
                if percent is not None and 100 // clients < percent:
                    message = f"{clients} clients get {100 // clients} % each, below {percent} %"
                    report.add("gke", place, message)
