"""The stamps on every manifest: where its numbers come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_gpupredict.core.deployment import Figures, SharePatch

PREFIX = "jupyter-gpupredict/"


def stamps(figures: Figures, patch: SharePatch) -> dict[str, str]:
    """Return the stamps as annotations: the share that is applied, else the one that is known."""
    applied = patch.basis
    found: dict[str, object | None] = {
        "sm-percent": figures.sm_percent if applied == "sm_share" else None,
        "time-percent": figures.time_percent if applied == "time_share" else None,
        "memory-mib": figures.memory_mib,
        "basis": applied if applied == "none" or _applies(figures, applied) else "none",
        "state": figures.state,
        "source": figures.source,
        "tool-version": figures.tool_version,
        "share-from": figures.share_from if _applies(figures, applied) else None,
        "memory-from": figures.memory_from,
        "coverage": figures.coverage_ratio,
        "watched-seconds": None if figures.watched_s is None else round(figures.watched_s),
        "gpu-name": figures.gpu_name,
        "gpu-total-mib": figures.gpu_total_mib,
        "sm-count": figures.sm_count,
        "session": None,
        "cell-sha256": figures.code_hash,
    }
    if figures.certified_percent is not None:
        found["certified-percent"] = figures.certified_percent
    if not _applies(figures, applied):
        if figures.sm_percent is not None:
            found["sm-percent"] = figures.sm_percent
        elif figures.time_percent is not None:
            found["time-percent"] = figures.time_percent
    return {PREFIX + key: str(value) for key, value in found.items() if value is not None}


def _applies(figures: Figures, basis: str) -> bool:
    return (basis == "sm_share" and figures.sm_percent is not None) or (
        basis == "time_share" and figures.time_percent is not None
    )
