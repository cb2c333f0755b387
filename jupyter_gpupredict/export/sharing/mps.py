"""MPS by environment: a daemon somebody runs on the node, reached through its pipe directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.export import limits
from jupyter_gpupredict.export.deployment import Capability, Restriction, SharePatch

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json


class Mps:
    """Sets the two client limits; the pod reaches the daemon by host IPC and a host path."""

    needs = frozenset(
        {
            Capability.ENV,
            Capability.HOST_IPC,
            Capability.HOST_PATH,
            Capability.NODE_SELECTOR,
        }
    )
    restricts: frozenset[Restriction] = frozenset()
    expresses = frozenset({"sm_pct", "memory_mib"})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return environment, mounts and node selector.

        Raises:
            InvalidOption: A cluster workload without a node selector: the scheduler does not know
                which nodes run a daemon, and a client that finds none runs without limits.
        """
        env = ((limits.PIPE_DIRECTORY, limits.PIPE), *limits.mps_env(figures))
        comments = limits.open_share(figures, "sm_share")
        if request.workload == "local":
            return SharePatch("sm_share", env, comments=comments)
        if not request.node_selector:
            raise InvalidOption(
                "mps needs to know which nodes run an MPS daemon",
                "--node-selector KEY=VALUE, the label of those nodes",
            )
        selector: dict[str, Json] = dict(request.node_selector)
        visible = ",".join(str(ordinal) for ordinal in range(figures.gpus))
        return SharePatch(
            "sm_share",
            (("NVIDIA_VISIBLE_DEVICES", visible), *env),
            pod={**limits.pipe_pod(), "nodeSelector": selector},
            container=limits.pipe_mount(),
            uncounted=True,
            comments=(
                *comments,
                "The scheduler does not count this GPU: "
                "the node selector must name nodes that run an MPS daemon, of the same user.",
            ),
        )
