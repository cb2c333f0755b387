"""The function folder: deploy/, gpupredict.json, README.md; written whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.deployment import Document, Json
from jupyter_gpupredict.core.errors import ExportError, OutputExists
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.exporters.documents import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.deployment import ExportRequest, Figures
    from jupyter_gpupredict.core.run import Run


def folder(
    manifests: Sequence[Document],
    run: Run,
    figures: Figures,
    request: ExportRequest,
    basis: str,
    forced: Sequence[str],
) -> tuple[Document, ...]:
    """Return everything the folder holds: the manifests, their record and a README."""
    files: list[Json] = [document.path for document in manifests]
    record = _record(run, figures, request, basis, files, list(forced))
    readme = _readme(figures, request, manifests)
    return (*manifests, Document("gpupredict.json", record), Document("README.md", readme))


def write(documents: Sequence[Document], output: Path, *, overwrite: bool) -> tuple[Path, ...]:
    """Write the documents below `output`, all or none, and return their paths.

    Raises:
        OutputExists: Some are there already; none was touched.
        ExportError: The folder cannot be written.
    """
    present = [one.path for one in documents if (output / one.path).exists()]
    if present and not overwrite:
        raise OutputExists(
            f"{output} already holds {', '.join(present)}", "choose another folder, or --overwrite"
        )
    staging: Path | None = None
    try:
        output.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".gpupredict-", dir=output))
        for document in documents:
            target = staging / document.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(render(document), encoding="utf-8")
            target.chmod(0o755 if document.executable else 0o644)
        for document in documents:
            (output / document.path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / document.path, output / document.path)  # noqa: PTH105
    except OSError as error:
        raise ExportError(f"cannot write {output}: {error.strerror}", "choose another") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return tuple(output / document.path for document in documents)


def _record(
    run: Run,
    figures: Figures,
    request: ExportRequest,
    basis: str,
    files: list[Json],
    forced: list[str],
) -> Json:
    told, started = run.recommendation, run.started
    assert told is not None  # noqa: S101 - `figures` refuses a run without one
    found = told.confidence
    memory = told.memory.target_bytes if told.memory else None
    prediction: dict[str, Json] = {
        "state": told.state,
        "converged_at_s": told.converged_at_s,
        "metric": METRICS[told.metric].csv,
        "basis": told.basis,
        "target_pct": max(1, round(100 * (told.target_ratio or 0.01))),
        "mean_pct": round(100 * (told.mean_ratio or 0.0), 3),
        "mem_target_mib": None if memory is None else round(memory / (1 << 20), 1),
        "coverage_target": told.coverage_target_ratio,
        "confidence": None
        if found is None
        else {
            "n_eff": round(found.n_eff, 3),
            "g_s": round(found.g_s, 3),
            "certified_pct": None
            if found.certified_ratio is None
            else round(100 * found.certified_ratio),
            "certified": found.certified,
            "required_pct": round(100 * found.required_ratio),
            "level": found.level,
        },
        "guard": None,
    }
    export: dict[str, Json] = {
        "workload": request.workload,
        "sharing": request.sharing,
        "sm_percent": figures.sm_percent,
        "time_percent": figures.time_percent,
        "memory_mib": figures.memory_mib,
        "basis": basis,
        "share_from": figures.share_from,
        "gpus": figures.gpus,
        "processes": figures.processes,
        "timeout_s": figures.timeout_s,
        "forced": list(forced),
        "warnings": list(figures.warnings),
        "files": files,
    }
    if figures.memory_from is not None:
        export["memory_from"] = figures.memory_from
    device: Json = None
    if figures.gpu_name is not None:
        device = {"name": figures.gpu_name, "sm_count": figures.sm_count}
        if figures.gpu_total_mib is not None:
            device["total_memory_mib"] = figures.gpu_total_mib
    return {
        "schema": "jupyter-gpupredict/1",
        "function": figures.name,
        "created": started.started_at,
        "predictions": [prediction],
        "export": export,
        "observation": {
            "source": started.source,
            "watched_s": round(told.watched_s, 3),
            "runtime_s": None,
            "samples": run.samples,
            "hosts": 1,
            "ranks": 1,
            "partial": False,
        },
        "device": device,
        "tool": {"name": "jupyter_gpupredict", "version": figures.tool_version},
        "cell": {
            "sha256": figures.code_hash or "0" * 64,
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        },
    }


def _readme(figures: Figures, request: ExportRequest, manifests: Sequence[Document]) -> str:
    share = (
        f"{figures.sm_percent} % of the SMs"
        if figures.sm_percent is not None
        else f"{figures.time_percent} % of the time (no share of the SMs is known)"
        if figures.time_percent is not None
        else "unknown"
    )
    memory = "not limited" if figures.memory_mib is None else f"{figures.memory_mib} MiB"
    lines = [
        f"# {figures.name}",
        "",
        f"A training function for `{request.workload}` with `{request.sharing}`, exported by "
        f"jupyter_gpupredict {figures.tool_version}.",
        "",
        f"- Share: {share}",
        f"- GPU memory: {memory}",
        f"- Prediction: {figures.state}, from source `{figures.source}`",
        *(f"- {warning}" for warning in figures.warnings),
        "",
        "The figures hold for the GPU model that was measured. No code was captured: put the",
        "function's entry point beside this file as `handler.py`.",
        "",
        "Files: " + ", ".join(f"`{document.path}`" for document in manifests),
        "",
    ]
    return "\n".join(lines)
