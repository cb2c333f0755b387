"""A start-up file for an MPS daemon of version 3: `nvidia-cuda-mps-control -d -p 3 -a mps.toml`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.export import limits
from jupyter_gpupredict.export.deployment import Capability, Restriction, SharePatch

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json

SERVER = "gpupredict"
UUID = re.compile(r"GPU-[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class MpsV3:
    """One server on one GPU with one namespace, which the client selects by its pipe directory."""

    needs = frozenset({Capability.MPS_CONFIG})
    restricts = frozenset({Restriction.ONE_GPU, Restriction.MEMORY_REQUIRED})
    expresses = frozenset({"sm_pct", "memory_mib"})

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the configuration; a namespace inherits nothing, so both carry the limits.

        Raises:
            InvalidOption: The GPU is not named. It is that of the machine the file is for, so it
                is asked for and never taken from the run.
        """
        if not UUID.fullmatch(request.gpu_uuid):
            raise InvalidOption(
                "mps-v3 needs the UUID of the GPU on the machine that the file is for",
                "--gpu-uuid GPU-...; nvidia-smi -L lists them there",
            )
        both: dict[str, Json] = {"pinned_memory_limit": f"{figures.memory_mib}M"}
        if figures.sm_percent is not None:
            both["active_thread_percentage"] = str(figures.sm_percent)
        namespaces: dict[str, Json] = {figures.name: {**both}}
        server: dict[str, Json] = {
            "allowed_devices": request.gpu_uuid,
            **both,
            "namespaces": namespaces,
        }
        pipe = f"{limits.PIPE}/{SERVER}/{figures.name}"
        return SharePatch(
            "sm_share",
            ((limits.PIPE_DIRECTORY, pipe),),
            config={"schema_version": "1.0", "servers": {SERVER: server}},
            comments=(
                *limits.open_share(figures, "sm_share"),
                "Start, with driver r615 or newer: nvidia-cuda-mps-control -d -p 3 -a mps.toml",
                "Clients run as the daemon's user. A server whose GPU is absent disappears, and "
                "its clients then run without limits.",
            ),
        )
