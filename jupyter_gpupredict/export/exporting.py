"""A run written as a function folder, and what goes with what."""

from __future__ import annotations

import ast
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.export.code import up_to_measured
from jupyter_gpupredict.run.stored import with_verified

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from jupyter_gpupredict.core.cells import CodeRequest
    from jupyter_gpupredict.core.deployment import Document
    from jupyter_gpupredict.core.run import Run

SHARING = "device-plugin"
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
    dry_run: bool = False,
    code: CodeRequest | None = None,
    before_write: Callable[[Collection[str]], None] | None = None,
    **options: Any,
) -> ExportOutcome:
    """Write a run as a function folder.

    Args:
        run: What is exported.
        dry_run: Render and check, and write nothing.
        code: The cells, with the measured one among them; without them the folder holds the
            manifests, their record and a README.
        before_write: Called with the paths in the folder once all is rendered; what it raises stops
            the export.
        **options: Those of `ExportRequest`.

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
    request = ExportRequest.of(**options)
    usual = DEFAULT_SHARING.get(request.workload, SHARING)
    request = replace(request, sharing=request.sharing or usual)
    registry.load("workloads", request.workload)  # an unknown name is refused before anything else
    registry.load("sharing", request.sharing)
    run = with_verified(run)
    if code is not None:
        code = up_to_measured(code, run.started.code_hash)
    composed = compose(run, request, _made("workloads"), _made("sharing"), __version__, code)
    texts = {document.path: render(document) for document in composed.documents}
    if before_write is not None:
        before_write(texts)
    if dry_run:
        _try(composed.documents, texts, code)
        return ExportOutcome((), texts, composed.warnings)
    with destination(Path(request.output)) as to:
        check(to, composed.documents, overwrite=request.overwrite)
        _try(composed.documents, texts, code)
        paths = publish(to, composed.documents, overwrite=request.overwrite)
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
