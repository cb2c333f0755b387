"""The stamps on every manifest: where its numbers come from.

Never a GPU's UUID, a host's name, a path, a user or a value of the environment; the session's id
holds a host's name, so it is not stamped either.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.plain import one_line

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import Figures, SharePatch

PREFIX = "jupyter-gpupredict/"


def stamps(figures: Figures, patch: SharePatch) -> dict[str, str]:
    """Return the stamps as annotations: the share that is applied, else those that are known."""
    basis = applied(figures, patch.basis)
    sm, time = (None, None) if patch.whole else (figures.sm_percent, figures.time_percent)
    found: dict[str, object | None] = {
        "sm-percent": sm if basis != "time_share" else None,
        "time-percent": time if basis != "sm_share" else None,
        "memory-mib": figures.memory_mib,
        "basis": basis,
        "state": figures.state,
        "source": figures.source,
        "tool-version": figures.tool_version,
        "share-from": figures.share_from if basis != "none" else None,
        "memory-from": figures.memory_from,
        "coverage": _coverage(figures.coverage_ratio),
        "certified-percent": _certified(figures.certified_percent),
        "watched-seconds": None if figures.watched_s is None else round(figures.watched_s),
        "predicted-runtime-seconds": None
        if figures.predicted_runtime_s is None
        else math.ceil(figures.predicted_runtime_s),
        "gpu-name": figures.gpu_name or None,
        "gpu-total-mib": figures.gpu_total_mib,
        "sm-count": figures.sm_count,
        "gpus": figures.gpus if figures.gpus > 1 else None,
        "processes": figures.processes if figures.processes > 1 else None,
        "ranks": figures.ranks if figures.ranks > 1 else None,
        "hosts": figures.hosts if figures.hosts > 1 else None,
        "partial": "true" if figures.partial else None,
        "cell-sha256": figures.code_hash,
    }
    texts = {key: one_line(str(value)) for key, value in found.items() if value is not None}
    return {PREFIX + key: " ".join(text.split()) for key, text in texts.items() if text.strip()}


def applied(figures: Figures, basis: str) -> str:
    """Return the basis of the share that a target really applies: none where it is not known."""
    known = {"sm_share": figures.sm_percent, "time_share": figures.time_percent}.get(basis)
    return "none" if known is None else basis


def _coverage(ratio: float | None) -> str | None:
    text = "" if ratio is None else f"{ratio:.6f}".rstrip("0")
    return text if text.startswith("0.") and len(text) > 2 else None


def _certified(percent: int | None) -> int | str:
    """Return the certified percent, 99 at most: a finite watch proves no more; none where none."""
    return "none" if percent is None else min(99, max(0, percent))
