"""A run written as a function folder, and what goes with what."""

from __future__ import annotations

import ast
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.export.code import up_to_measured
from jupyter_gpupredict.run import with_verified

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_gpupredict.core.cells import CodeRequest
    from jupyter_gpupredict.core.deployment import Document
    from jupyter_gpupredict.core.run import Run

WORKLOAD, SHARING = "job", "device-plugin"
DEFAULT_SHARING = {
    "local": "mps",
    "ecs": "ecs-mps",
    "fastpod": "fast-gshare",
    "cloudrun": "none",
}
"""Workload -> the sharing backend that is meant when none is named, where it is not `SHARING`."""

EXPRESSES = ("sm_pct", "time_pct", "memory_mib", "timeout_s")
"""What a pair can carry."""


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What an export wrote, or would write."""

    paths: tuple[Path, ...]
    """Written files; empty for a dry run."""
    texts: dict[str, str]
    """Path in the folder -> text."""
    warnings: tuple[str, ...]


def export_run(
    run: Run,
    *,
    workload: str = WORKLOAD,
    sharing: str | None = None,
    name: str,
    output: str | Path,
    image: str = "",
    node_selector: Mapping[str, str] | None = None,
    force: bool = False,
    overwrite: bool = False,
    sm_percent: int | None = None,
    memory_mib: int | None = None,
    headroom_percent: float = 0.0,
    per_process: bool = False,
    max_timeout_s: int | None = None,
    knative_features: Sequence[str] = (),
    gpu_uuid: str = "",
    accelerator: str = "nvidia-l4",
    dry_run: bool = False,
    code: CodeRequest | None = None,
) -> ExportOutcome:
    """Write a run as a function folder; arguments as `Result.export`, and `code`: the cells.

    The measured cell is among them. Without `code` the folder holds the manifests, their record
    and a README.

    Raises:
        UnknownName, InvalidOption, ExportError: One clear line; nothing is written.
    """
    from jupyter_gpupredict.core.deployment import ExportRequest
    from jupyter_gpupredict.core.errors import Refused
    from jupyter_gpupredict.export.documents import render
    from jupyter_gpupredict.export.function.writing import check, destination, publish
    from jupyter_gpupredict.export.manifest import compose

    if run.capped:
        raise Refused(
            f"{run.session_id} was capped by MPS, which says nothing of what it needs",
            "measure the cell without --mps-percentage",
        )
    sharing = sharing or DEFAULT_SHARING.get(workload, SHARING)
    for kind, given in (("workloads", workload), ("sharing", sharing)):
        registry.load(kind, given)  # an unknown name is refused before anything else
    request = ExportRequest(
        workload=workload,
        sharing=sharing,
        name=name,
        image=image,
        node_selector=tuple(sorted((node_selector or {}).items())),
        force=force,
        sm_percent=sm_percent,
        memory_mib=memory_mib,
        headroom_percent=headroom_percent,
        per_process=per_process,
        max_timeout_s=max_timeout_s,
        knative_features=tuple(knative_features),
        gpu_uuid=gpu_uuid,
        accelerator=accelerator,
    )
    run = with_verified(run)
    if code is not None:
        code = up_to_measured(code, run.started.code_hash)
    composed = compose(run, request, _made("workloads"), _made("sharing"), __version__, code)
    texts = {document.path: render(document) for document in composed.documents}
    if dry_run:
        _try(composed.documents, texts, code)
        return ExportOutcome((), texts, composed.warnings)
    with destination(Path(output)) as to:
        check(to, composed.documents, overwrite=overwrite)
        _try(composed.documents, texts, code)
        paths = publish(to, composed.documents, overwrite=overwrite)
    return ExportOutcome(paths, texts, composed.warnings)


def _try(documents: Sequence[Document], texts: Mapping[str, str], code: CodeRequest | None) -> None:
    """Import the code from a folder of its own, where that is wanted.

    Raises:
        TrialFailed: It does not import.
    """
    from jupyter_gpupredict.export.function.secrets import environment_names
    from jupyter_gpupredict.export.function.trial import trial
    from jupyter_gpupredict.export.function.writing import destination, publish

    if code is None or not code.tried:
        return
    sources = [text for path, text in texts.items() if path.endswith(".py")]
    with tempfile.TemporaryDirectory(prefix="gpupredict-") as folder:
        with destination(Path(folder)) as to:
            publish(to, documents, overwrite=False)
        trial(Path(folder), {n for one in sources for n in environment_names(ast.parse(one))})


def targets() -> list[dict[str, Any]]:
    """Return every pair of workload and sharing backend, with the reason where it is refused.

    `default` marks the backend that is meant where none is named.
    """
    from jupyter_gpupredict.core.deployment import Capability
    from jupyter_gpupredict.export import compatibility

    workloads, sharings = _made("workloads"), _made("sharing")
    pairs = []
    for workload, runs in workloads.items():
        usual = DEFAULT_SHARING.get(workload, SHARING)
        for sharing, divides in sharings.items():
            reason = compatibility.refusal((workload, sharing), runs, divides)
            timed = Capability.TIME_LIMIT in runs.carries
            can = divides.expresses | ({"timeout_s"} if timed else set())
            expresses = [one for one in EXPRESSES if one in can]
            pairs.append(
                {
                    "workload": workload,
                    "sharing": sharing,
                    "supported": not reason,
                    "reason": reason,
                    "expresses": [] if reason else expresses,
                    "default": sharing == usual,
                }
            )
    return pairs


def _made(kind: str) -> dict[str, Any]:
    return {name: registry.load(kind, name)() for name in registry.names(kind)}
