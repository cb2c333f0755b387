"""What a pair cannot do with these figures: refused in words, with the nearest way on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Refused
from jupyter_gpupredict.export.deployment import Restriction

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures

CARDS_MIB = {
    "nvidia-l4": 23034,
    "nvidia-rtx-pro-6000": 97887,
    "nvidia-tesla-t4": 15360,
    "nvidia-tesla-v100": 16384,
    "nvidia-tesla-a100": 40960,
    "nvidia-a100-80gb": 81920,
    "nvidia-h100-80gb": 81559,
    "nvidia-h200-141gb": 143771,
}
"""Names under which platforms offer accelerators -> memory as the driver reports it."""
ACCELERATOR_LABELS = ("cloud.google.com/gke-accelerator", "run.googleapis.com/accelerator")
PRODUCT_LABEL = "nvidia.com/gpu.product"
"""The label that GPU feature discovery puts on nodes: the model's name with hyphens."""


def bounded(
    figures: Figures,
    request: ExportRequest,
    restrictions: frozenset[Restriction],
    max_run_s: int | None,
    accelerator: str | None,
) -> Figures:
    """Return the figures as this pair may carry them, with its warnings.

    Args:
        figures: The run's figures.
        request: What the user asked for.
        restrictions: Of the workload and the sharing backend together.
        max_run_s: Longest run of a stock platform; None: any.
        accelerator: The accelerator that the target asks for by name.

    Raises:
        Refused: The pair cannot carry them; the line says what would.
    """
    warnings = list(figures.warnings)
    if Restriction.MEMORY_REQUIRED in restrictions and figures.memory_mib is None:
        raise Refused(
            f"{request.sharing} needs a memory limit, and no GPU was read", "--memory-mib N"
        )
    if figures.gpus > 1 and Restriction.ONE_GPU in restrictions:
        raise Refused(
            f"{request.workload} with {request.sharing} holds one GPU, the run used {figures.gpus}",
            "job with mps, dra or hami holds several",
        )
    if figures.ranks > 1:
        if Restriction.ONE_RANK in restrictions:
            raise Refused(
                f"{request.workload} starts one function at a time, and the run had "
                f"{figures.ranks} ranks",
                "job starts them together, as an Indexed Job",
            )
        warnings.append(_replicas(figures))
    if figures.mig and Restriction.NO_MIG in restrictions:
        raise Refused(
            f"{request.sharing} does not share MIG instances, and the run was measured on one",
            "job with mps, or job with hami",
        )
    if figures.processes > 1:
        warnings.append(_several(figures.processes, request, restrictions))
    _fits_card(figures, request, accelerator)
    warnings.extend(_other_card(figures, request, accelerator))
    limit_s = _within_time(figures, request, max_run_s)
    return dataclasses.replace(figures, timeout_s=limit_s, warnings=tuple(warnings))


def _replicas(figures: Figures) -> str:
    if figures.processes > 1:
        return (
            f"The run's processes were on {figures.ranks} GPUs, up to {figures.processes} on one: "
            "each replica is a GPU, with the limits of all that ran on it, and not a rank."
        )
    return f"The run had {figures.ranks} ranks: each replica is one, with all of these limits."


def _several(count: int, request: ExportRequest, restrictions: frozenset[Restriction]) -> str:
    if Restriction.PER_CONTAINER not in restrictions:
        return (
            f"{count} CUDA processes were seen: the limits, which all of them together would fill, "
            "hold for each."
        )
    if not request.per_process:
        raise Refused(
            f"{count} CUDA processes were seen, and {request.sharing} limits the container",
            "--per-process gives it what all of them together used, or use job with device-plugin",
        )
    return f"{count} CUDA processes were seen: the container gets what they used together."


def _card(request: ExportRequest, accelerator: str | None) -> str | None:
    selector = dict(request.node_selector)
    named = (selector[label] for label in ACCELERATOR_LABELS if label in selector)
    return next(named, accelerator)


def _fits_card(figures: Figures, request: ExportRequest, accelerator: str | None) -> None:
    card = _card(request, accelerator)
    total = CARDS_MIB.get(card) if card else figures.gpu_total_mib
    if figures.memory_mib is not None and total is not None and figures.memory_mib > total:
        raise Refused(
            f"{figures.memory_mib} MiB is more than {card or figures.gpu_name} has ({total} MiB)",
            f"another GPU, or --memory-mib N up to {total}",
        )


def _other_card(figures: Figures, request: ExportRequest, accelerator: str | None) -> list[str]:
    """Return the warning that percents of one GPU model were written for another."""
    if figures.gpu_name is None:
        return []
    product = dict(request.node_selector).get(PRODUCT_LABEL)
    card = product or _card(request, accelerator)
    measured = figures.gpu_name.lower().replace("-", " ").split()
    wanted = [word for word in (card or "").lower().replace("-", " ").split() if word != "tesla"]
    if card is None or all(word in measured or word.endswith("gb") for word in wanted):
        return []
    return [f"The share was measured on {figures.gpu_name}, and the target asks for {card}."]


def _within_time(figures: Figures, request: ExportRequest, max_run_s: int | None) -> int | None:
    cap_s = request.max_timeout_s if request.max_timeout_s is not None else max_run_s
    runtime_s = figures.predicted_runtime_s
    if cap_s is None or figures.timeout_s is None or runtime_s is None:
        return figures.timeout_s
    if runtime_s > cap_s:
        raise Refused(
            f"the run takes {runtime_s:.0f} s, and {request.workload} ends one after {cap_s} s",
            "use job, or --max-timeout N where the platform allows more",
        )
    return min(figures.timeout_s, cap_s)
