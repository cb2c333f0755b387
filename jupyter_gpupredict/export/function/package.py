"""The function folder: code, manifests, their record and a README."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.deployment import Document, Json
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.export import pod
from jupyter_gpupredict.export.function import adapters, readme
from jupyter_gpupredict.export.function.code import build
from jupyter_gpupredict.export.function.container import dockerfile, dockerignore
from jupyter_gpupredict.export.function.module import TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.cells import CodeRequest
    from jupyter_gpupredict.core.deployment import ExportRequest, Figures, Hosting
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.export.function.adapters import Adapter
    from jupyter_gpupredict.export.function.code import Code

NO_CODE = (
    "no code was written: this run's cells are not known here. In its own kernel, from the "
    "panel beside its notebook, or with --notebook FILE, the folder holds the function, too"
)


def folder(
    manifests: Sequence[Document],
    run: Run,
    figures: Figures,
    request: ExportRequest,
    basis: str,
    forced: Sequence[str],
    code: CodeRequest | None,
    hosting: Hosting,
    *,
    as_root: bool,
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Return everything the folder holds, and what is to be said about its code.

    Raises:
        ExportError: The code cannot become a folder.
    """
    files: list[Json] = [document.path for document in manifests]
    record = _record(run, figures, request, basis, files, list(forced))
    built, written = None, []
    if code is not None:
        chosen = adapters.chosen(hosting, figures.ranks, code.adapters)
        extra = adapters.requirements(hosting, chosen)
        built = build(code, figures.name, extra)
        written = _code_documents(built, chosen)
        sources = [one.path for one in written if one.path != "requirements.txt"]
        python, base = built.requirements.python, code.base_image
        recipe = dockerfile(sources, python, hosting, as_root=as_root, base_image=base)
        written += _image_documents(built, recipe, figures)
    text = readme.text(figures, request, manifests, built, hosting, as_root=as_root)
    documents = (
        *written,
        *manifests,
        Document("gpupredict.json", record),
        Document("README.md", text),
    )
    notes = (NO_CODE,) if built is None else built.notes
    return documents, notes


def _code_documents(built: Code, chosen: Sequence[Adapter]) -> list[Document]:
    return [
        Document("train_fn.py", built.module),
        Document("handler.py", _template("handler.py.txt")),
        *(Document(one.path, _template(one.template)) for one in chosen),
        *(Document(path, source) for path, source in built.files),
        Document("requirements.txt", built.requirements.text),
    ]


def _image_documents(built: Code, recipe: str, figures: Figures) -> list[Document]:
    names = pod.given_by_user(built.environment, figures)
    variables = "".join(f"{name}=\n" for name in names)
    return [
        Document("Dockerfile", recipe),
        Document(".dockerignore", dockerignore()),
        Document(".env.example", variables, ("What the code reads; copy to .env and fill in.",)),
    ]


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


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
            "hosts": figures.hosts,
            "ranks": figures.ranks,
            "partial": figures.partial,
        },
        "device": device,
        "tool": {"name": "jupyter_gpupredict", "version": figures.tool_version},
        "cell": {
            "sha256": figures.code_hash or "0" * 64,
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        },
    }
