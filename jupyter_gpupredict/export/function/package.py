"""The function folder: code, manifests, their record and a README."""

from __future__ import annotations

import ast
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.plain import code_span, markdown
from jupyter_gpupredict.export import pod
from jupyter_gpupredict.export.deployment import Document, Json, image
from jupyter_gpupredict.export.documents import yaml_text
from jupyter_gpupredict.export.function.code import build
from jupyter_gpupredict.export.function.container import (
    OUTPUTS,
    chosen_adapters,
    dockerfile,
    template,
)
from jupyter_gpupredict.export.function.requirements import PYTHON
from jupyter_gpupredict.export.function.secrets import is_environ
from jupyter_gpupredict.export.stamps import NEWER, PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.export.deployment import CodeRequest, Figures, Hosting
    from jupyter_gpupredict.export.function.code import Code
    from jupyter_gpupredict.export.function.container import Adapter
    from jupyter_gpupredict.export.request import ExportRequest


def readme(
    figures: Figures,
    request: ExportRequest,
    manifests: Sequence[Document],
    code: Code | None,
    hosting: Hosting,
    *,
    as_root: bool,
) -> str:
    """Return the README of a folder, with or without code."""
    # the workload's own file comes first; companions are for the cluster's administrator
    cluster = hosting.deploy or f"kubectl apply -f {manifests[0].path}"
    memory = figures.memory_mib
    said = [one for one in manifests[0].comments if not one.startswith((PREFIX, NEWER))]
    return template("README.md.txt").format(
        name=markdown(figures.name),
        workload=request.workload,
        sharing=request.sharing,
        version=figures.tool_version,
        commands="\n".join(_commands(figures, request, cluster, code)),
        share=_share(figures),
        memory="not limited" if memory is None else f"{memory} MiB",
        answer="\n".join(f"> {markdown(line)}  " for line in figures.answer),
        source=code_span(figures.source),
        warnings="".join(f"\n- {markdown(one)}" for one in dict.fromkeys(said)),
        code="\n".join(_about(code, figures, as_root=as_root)),
        results=_results(request, manifests),
        secrets=_secrets(code, figures, hosting, request.namespace or hosting.namespace),
        manifests=", ".join(code_span(document.path) for document in manifests),
    )


def _commands(
    figures: Figures, request: ExportRequest, cluster: str, code: Code | None
) -> list[str]:
    if code is None:
        return [cluster]
    example = json.dumps(dict.fromkeys(code.required, "..."))
    named = image(figures, request)
    options = ["--rm", "--gpus all"]
    options += ["--env-file .env"] if pod.given_by_user(code.environment, figures) else []
    pairs = [f"{name}={value}" for name, value in pod.ALONE.items() if figures.ranks > 1]
    options += [f"-e {pair}" for pair in pairs]
    python = " ".join([*pairs, f"python handler.py '{example}'"])
    return [
        f"pip install -r requirements.txt && {python}",
        f"docker build -t {named} . && docker run {' '.join(options)} {named} "
        f"python handler.py '{example}'",
        cluster,
    ]


def _about(code: Code | None, figures: Figures, *, as_root: bool) -> list[str]:
    if code is None:
        return [
            "No code was captured: put the function's entry point beside this file as",
            "`handler.py`.",
        ]
    lines = ["Parameters: " + (", ".join(_parameters(code)) or "none") + "."]
    if code.parameters:
        lines.append("By hand: `python handler.py --param NAME=VALUE`, once for each.")
    if figures.ranks > 1:
        lines.append("By hand, as above, one rank runs alone.")
    if names := pod.given_by_user(code.environment, figures):
        lines.append(
            "Environment: " + ", ".join(map(code_span, names)) + "; names are "
            "in `.env.example`, values are yours to give."
        )
    if as_root:
        lines.append("The image runs as root: a client of MPS has to be the daemon's user.")
    if code.notes:
        notes = [f"- {markdown(note)}" for note in code.notes]
        lines += ["", "Other than in the notebook:", "", *notes]
    return lines


def _parameters(code: Code) -> list[str]:
    """Return each parameter with its type and default, or that it has none."""
    values = {name: ast.literal_eval(text) for name, text in code.defaults if _is_plain(text)}
    words = []
    for name in code.parameters:
        said = "required" if name in code.required else ""
        if name in values:
            said = type(values[name]).__name__
            if isinstance(values[name], int | float):  # a text may be anything
                said += f", {code_span(repr(values[name]))}"
        words.append(code_span(name) + (f" ({said})" if said else ""))
    return words


def _is_plain(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except ValueError:
        return False
    return True


def _results(request: ExportRequest, manifests: Sequence[Document]) -> str:
    kind, _, rest = request.outputs.partition(":")
    path = request.outputs or OUTPUTS
    kept = {
        "claim": f"The volume claim {code_span(rest)}, mounted there, keeps them.",
        "bucket": f"After the run they are copied to {code_span(rest)}.",
    }
    if kind in kept:
        path = OUTPUTS
    lost = any("Nothing keeps" in one for document in manifests for one in document.comments)
    said = "Nothing keeps them: they are lost with the container." if lost else kept.get(kind, "")
    return (
        f"Files that the run writes to {code_span(path)} are its results, and so is the answer, "
        f"one JSON object on standard output. By hand they lie in `outputs/`. {said}"
    ).strip()


def _secrets(code: Code | None, figures: Figures, hosting: Hosting, namespace: str) -> str:
    names = pod.given_by_user(code.environment, figures) if code is not None else []
    if not names or not hosting.secrets:
        return ""
    where = f" --namespace {namespace}" if namespace else ""
    command = hosting.secrets.format(name=figures.name, namespace=where)
    said = "Fill in `.env` as `.env.example` has it, and give it to the workload:"
    return f"\n{said}\n\n    {command}\n"


def _share(figures: Figures) -> str:
    if figures.sm_percent is not None:
        return f"{figures.sm_percent} % of the SMs"
    if figures.time_percent is not None:
        return f"{figures.time_percent} % of the time (no share of the SMs is known)"
    return "unknown"


STORES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
}
"""Scheme of an object store -> the package by which fsspec reaches it."""
NO_CODE = (
    "no code was written: this run's cells are not known here. In its own kernel, from the "
    "panel beside its notebook, or with --notebook FILE, the folder holds the function, too"
)


def function(code: CodeRequest, figures: Figures, request: ExportRequest, hosting: Hosting) -> Code:
    """Return the code of a folder with all that its workload requires.

    Raises:
        ExportError: The code cannot become a folder.
    """
    adapters = chosen_adapters(hosting, figures.ranks, code.adapters)
    lines = [hosting.requirement, *(one.requirement for one in adapters)]
    lines += _bucket_requirements(request.outputs)
    gpu = figures.gpu_name is not None
    return build(code, figures.name, filter(None, lines), gpu=gpu)


def _bucket_requirements(outputs: str) -> list[str]:
    """Return what copies results to an object store: fsspec and the store's own package."""
    kind, _, url = outputs.partition(":")
    if kind != "bucket":
        return []
    return ["fsspec>=2024.6", *filter(None, [STORES.get(url.partition("://")[0], "")])]


def required(code: Code, figures: Figures) -> tuple[str, ...]:
    """Return the variables that the code does not run without: it takes them from `os.environ`."""
    sources = (code.module, *(source for _, source in code.files))
    found = {
        node.slice.value
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)
        if is_environ(node.value) and isinstance(node.slice, ast.Constant)
    }
    names = pod.given_by_user(code.environment, figures)
    return tuple(one for one in names if one in found and not one.startswith("GPUPREDICT_"))


def folder(
    manifests: Sequence[Document],
    run: Run,
    figures: Figures,
    request: ExportRequest,
    basis: str,
    forced: Sequence[str],
    code: CodeRequest | None,
    built: Code | None,
    hosting: Hosting,
    *,
    as_root: bool,
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Return everything the folder holds, and notes on its code, which `function` has built."""
    files: list[Json] = [document.path for document in manifests]
    record = _record(run, figures, request, basis, files, forced)
    written = []
    if code is not None and built is not None:
        adapters = chosen_adapters(hosting, figures.ranks, code.adapters)
        written = _code_documents(built, adapters)
        sources = [one.path for one in written if one.path != "requirements.txt"]
        python, base = built.requirements.python, code.base_image
        git = any("git+" in line for line in built.requirements.lines)
        build_file = dockerfile(sources, python, hosting, as_root=as_root, base_image=base, git=git)
        written += _image_documents(built, build_file, figures)
    text = readme(figures, request, manifests, built, hosting, as_root=as_root)
    documents = (
        *written,
        *manifests,
        *_base(manifests, hosting),
        Document("gpupredict.json", record),
        Document("README.md", text),
    )
    notes = (NO_CODE,) if built is None else built.notes
    return documents, notes


def _base(manifests: Sequence[Document], hosting: Hosting) -> tuple[Document, ...]:
    """Return what makes the workload's file a base of kustomize's, where kubectl deploys it."""
    if hosting.deploy:
        return ()
    first = PurePosixPath(manifests[0].path)
    content: Json = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [first.name],
    }
    said = "A base: an overlay names this folder among its resources."
    return (Document(f"{first.parent}/Kustomization", yaml_text(content), (said,)),)


def _code_documents(built: Code, adapters: Sequence[Adapter]) -> list[Document]:
    return [
        Document("train_fn.py", built.module),
        Document("handler.py", template("handler.py.txt")),
        *(Document(one.path, template(one.template)) for one in adapters),
        *(Document(path, source) for path, source in built.files),
        *(Document(path, text, copied=True) for path, text in built.copies),
        Document("requirements.txt", built.requirements.text),
    ]


def _image_documents(built: Code, build_file: str, figures: Figures) -> list[Document]:
    names = pod.given_by_user(built.environment, figures)
    variables = "".join(f"{name}=\n" for name in names)
    return [
        Document("Dockerfile", build_file),
        Document(".dockerignore", template("dockerignore.txt")),
        Document(".env.example", variables, ("What the code reads; copy to .env and fill in.",)),
    ]


def _record(
    run: Run,
    figures: Figures,
    request: ExportRequest,
    basis: str,
    files: list[Json],
    forced: Sequence[str],
) -> Json:
    predicted, started = run.recommendation, run.started
    assert predicted is not None  # noqa: S101 - `figures` refuses a run without one
    found = predicted.confidence
    memory = predicted.memory.target_bytes if predicted.memory else None
    prediction: dict[str, Json] = {
        "state": predicted.state,
        "converged_at_s": predicted.converged_at_s,
        "metric": METRICS[predicted.metric].csv,
        "basis": predicted.basis,
        "target_pct": max(1, round(100 * (predicted.target_ratio or 0.01))),
        "mean_pct": round(100 * (predicted.mean_ratio or 0.0), 3),
        "mem_target_mib": None if memory is None else round(memory / (1 << 20), 1),
        "coverage_target": predicted.coverage_target_ratio,
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
            "watched_s": round(predicted.watched_s, 3),
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
            "python": PYTHON,
        },
    }
