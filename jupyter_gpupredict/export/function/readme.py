"""The folder's README: three commands, the figures, and what is different from the notebook."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.deployment import image
from jupyter_gpupredict.core.plain import code_span, markdown
from jupyter_gpupredict.export import pod

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.deployment import Document, ExportRequest, Figures, Hosting
    from jupyter_gpupredict.export.function.code import Code


def text(
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
    lines = [
        f"# {markdown(figures.name)}",
        "",
        f"A training function for `{request.workload}` with `{request.sharing}`, exported by "
        f"jupyter_gpupredict {figures.tool_version}.",
        "",
        *_commands(figures, request, cluster, code),
        "## Figures",
        "",
        f"- Share: {_share(figures)}",
        f"- GPU memory: {_memory(figures)}",
        f"- Prediction: {figures.state}, from source {code_span(figures.source)}",
        *(f"- {markdown(warning)}" for warning in figures.warnings),
        "",
        "They hold for the GPU model that was measured. `gpupredict.json` has them in full.",
        "",
        *_about(code, figures, as_root=as_root),
        "Manifests: " + ", ".join(code_span(document.path) for document in manifests),
        "",
    ]
    return "\n".join(lines)


def _commands(
    figures: Figures, request: ExportRequest, cluster: str, code: Code | None
) -> list[str]:
    if code is None:
        return ["```bash", cluster, "```", ""]
    example = json.dumps({name: "..." for name in code.required}) if code.required else "{}"
    named = image(figures, request)
    options = ["--rm", "--gpus all"]
    options += ["--env-file .env"] if pod.given_by_user(code.environment, figures) else []
    alone = ""
    if figures.ranks > 1:
        pairs = [f"{name}={value}" for name, value in pod.ALONE.items()]
        options += [f"-e {pair}" for pair in pairs]
        alone = f"{' '.join(pairs)} "
    return [
        "```bash",
        f"pip install -r requirements.txt && {alone}python handler.py '{example}'",
        f"docker build -t {named} . && docker run {' '.join(options)} {named} "
        f"python handler.py '{example}'",
        cluster,
        "```",
        "",
    ]


def _about(code: Code | None, figures: Figures, *, as_root: bool) -> list[str]:
    if code is None:
        return [
            "## Code",
            "",
            "No code was captured: put the function's entry point beside this file as",
            "`handler.py`.",
            "",
        ]
    given = [
        f"{code_span(name)}{' (required)' * (name in code.required)}" for name in code.parameters
    ]
    lines = ["## Code", "", "Parameters: " + (", ".join(given) or "none") + "."]
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
        lines += [
            "",
            "Other than in the notebook:",
            "",
            *(f"- {markdown(note)}" for note in code.notes),
        ]
    return [*lines, ""]


def _share(figures: Figures) -> str:
    if figures.sm_percent is not None:
        return f"{figures.sm_percent} % of the SMs"
    if figures.time_percent is not None:
        return f"{figures.time_percent} % of the time (no share of the SMs is known)"
    return "unknown"


def _memory(figures: Figures) -> str:
    return "not limited" if figures.memory_mib is None else f"{figures.memory_mib} MiB"
