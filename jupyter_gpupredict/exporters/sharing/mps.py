"""MPS by environment: a daemon somebody runs on the node, reached through its pipe directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.deployment import Capability, SharePatch
from jupyter_gpupredict.core.errors import InvalidOption

if TYPE_CHECKING:
    from jupyter_gpupredict.core.deployment import ExportRequest, Figures, Json

PIPE = "/tmp/nvidia-mps"  # noqa: S108 - the daemon's documented default, not a file of ours


class Mps:
    """Sets the two client limits; the pod reaches the daemon by host IPC and a host path."""

    needs = frozenset({Capability.ENV, Capability.HOST_IPC, Capability.HOST_PATH})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return environment, mounts and node selector.

        Raises:
            InvalidOption: A cluster workload without a node selector: the scheduler does not know
                which nodes run a daemon, and a client that finds none runs without limits.
        """
        env = {"CUDA_MPS_PIPE_DIRECTORY": PIPE}
        if figures.sm_percent is not None:
            env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = str(figures.sm_percent)
        if figures.memory_mib is not None:
            env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={figures.memory_mib}M"
        comments = []
        if figures.sm_percent is None:
            comments.append(
                "No SM share is set: the run gave a time share, which is no share of the SMs."
            )
        if request.workload == "local":
            return SharePatch("sm_share", tuple(env.items()), comments=tuple(comments))
        if not request.node_selector:
            raise InvalidOption(
                "mps needs to know which nodes run an MPS daemon",
                "--node-selector KEY=VALUE, the label of those nodes",
            )
        comments.append(
            "The scheduler does not count this GPU: "
            "the node selector must name nodes that run an MPS daemon."
        )
        selector: dict[str, Json] = dict(request.node_selector)
        pod: dict[str, Json] = {
            "hostIPC": True,
            "runtimeClassName": "nvidia",
            "nodeSelector": selector,
            "volumes": [{"name": "mps", "hostPath": {"path": PIPE, "type": "Directory"}}],
        }
        container: dict[str, Json] = {"volumeMounts": [{"name": "mps", "mountPath": PIPE}]}
        return SharePatch(
            "sm_share",
            (("NVIDIA_VISIBLE_DEVICES", "0"), *env.items()),
            pod=pod,
            container=container,
            comments=tuple(comments),
        )
