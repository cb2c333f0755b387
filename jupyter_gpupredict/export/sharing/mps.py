"""MPS by environment: a daemon somebody runs on the node, reached through its pipe directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Fix, InvalidOption
from jupyter_gpupredict.export import pod
from jupyter_gpupredict.export.deployment import Capability, Figures, SharePatch, Sharing

if TYPE_CHECKING:
    from jupyter_gpupredict.export.request import ExportRequest


class Mps(Sharing):
    """Sets the two client limits; the pod reaches the daemon by host IPC and a host path."""

    about = "an MPS daemon that somebody runs on the node"
    needs = pod.MPS_CLIENT | {Capability.NODE_SELECTOR}
    expresses = pod.SM_SHARE

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return environment, mounts and node selector.

        Raises:
            InvalidOption: A cluster workload without a node selector: the scheduler does not know
                which nodes run a daemon, and a client that finds none runs without limits.
        """
        env = ((pod.PIPE_DIRECTORY, pod.PIPE), *pod.mps_env(figures))
        comments = pod.open_share(figures, "sm_share")
        if not request.scheduled:
            return SharePatch("sm_share", env, comments=comments)
        if not request.node_selector:
            raise InvalidOption(
                "mps needs to know which nodes run an MPS daemon",
                "--node-selector KEY=VALUE, the label of those nodes",
                [Fix("Label of those nodes", {"node_selector": None}, True, {"node": "mps"})],
            )
        visible = ",".join(str(ordinal) for ordinal in range(figures.gpus))
        return SharePatch(
            "sm_share",
            (("NVIDIA_VISIBLE_DEVICES", visible), *env),
            pod=pod.PIPE_POD,
            container=pod.PIPE_MOUNT,
            uncounted=True,
            comments=(
                *comments,
                "The scheduler does not count this GPU: "
                "the node selector must name nodes that run an MPS daemon, of the same user.",
            ),
        )
