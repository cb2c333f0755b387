"""What several sharing backends write alike: the variables of an MPS client, and words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import Figures, Json

PIPE = "/tmp/nvidia-mps"  # noqa: S108 - the daemon's documented default, not a file of ours
PERCENTAGE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
MEMORY = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
PIPE_DIRECTORY = "CUDA_MPS_PIPE_DIRECTORY"


def mps_env(figures: Figures) -> tuple[tuple[str, str], ...]:
    """Return the two limits of an MPS client.

    Memory is given for exactly the visible GPUs, by ordinal: an entry for a GPU that the process
    cannot see drops every limit.
    """
    env = []
    if figures.sm_percent is not None:
        env.append((PERCENTAGE, str(figures.sm_percent)))
    if figures.memory_mib is not None:
        entries = (f"{ordinal}={figures.memory_mib}M" for ordinal in range(figures.gpus))
        env.append((MEMORY, ",".join(entries)))
    return tuple(env)


def pipe_pod() -> dict[str, Json]:
    """Return the pod fields that reach a daemon on the node.

    A directory that is not there must fail: a client that finds no daemon runs without limits.
    """
    return {
        "hostIPC": True,
        "runtimeClassName": "nvidia",
        "volumes": [{"name": "mps", "hostPath": {"path": PIPE, "type": "Directory"}}],
    }


def pipe_mount() -> dict[str, Json]:
    """Return the container fields that go with `pipe_pod`."""
    return {"volumeMounts": [{"name": "mps", "mountPath": PIPE}]}


def information(figures: Figures) -> tuple[tuple[str, str], ...]:
    """Return the figures as variables that tell the function and limit nothing."""
    pairs = (
        ("GPUPREDICT_SM_PERCENT", figures.sm_percent),
        ("GPUPREDICT_TIME_PERCENT", figures.time_percent),
        ("GPUPREDICT_MEM_MIB", figures.memory_mib),
    )
    return tuple((name, str(value)) for name, value in pairs if value is not None)


def open_share(figures: Figures, basis: str) -> tuple[str, ...]:
    """Return the sentence that says why a target applies no share; none where it does."""
    if basis == "sm_share" and figures.sm_percent is None:
        if figures.time_percent is None:
            return ("No SM share is set: none is known.",)
        return ("No SM share is set: the run gave a time share, which is no share of the SMs.",)
    if basis == "time_share" and figures.time_percent is None:
        if figures.sm_percent is None:
            return ("No time share is set: none is known.",)
        return ("No time share is set: a share of the SMs is known, which is no share of time.",)
    return ()
