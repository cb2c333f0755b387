"""Composes a workload, a sharing backend and a run's figures into checked documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import ExportError, Incompatible
from jupyter_gpupredict.exporters import compatibility
from jupyter_gpupredict.exporters.checks import check
from jupyter_gpupredict.exporters.figures import figures as make_figures
from jupyter_gpupredict.exporters.package import folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_gpupredict.core.cells import CodeRequest
    from jupyter_gpupredict.core.deployment import Document, ExportRequest
    from jupyter_gpupredict.core.protocols import Sharing, Workload
    from jupyter_gpupredict.core.run import Run


@dataclass(frozen=True, slots=True)
class Composed:
    """A function folder that is ready to be written."""

    documents: tuple[Document, ...]
    warnings: tuple[str, ...]


def compose(
    run: Run,
    request: ExportRequest,
    workloads: Mapping[str, Workload],
    sharings: Mapping[str, Sharing],
    tool_version: str,
    code: CodeRequest | None = None,
) -> Composed:
    """Return the checked documents of a run for one workload and one sharing backend.

    Raises:
        Incompatible: The pair does not go together; the nearest one is named.
        Refused: The run's data needs the user to insist.
        InvalidOption: Something the pair needs was not given.
        ExportError: A rendered document breaks a rule (a bug of ours): nothing is written.
    """
    workload, sharing = workloads[request.workload], sharings[request.sharing]
    reason = compatibility.refusal(
        request.workload, workload.carries, request.sharing, sharing.needs
    )
    if reason:
        near = compatibility.nearest(request.workload, request.sharing, workloads, sharings)
        raise Incompatible(
            f"{request.workload} with {request.sharing}: {reason}", f"nearest: {near}"
        )
    figures = make_figures(run, request, tool_version)
    patch = sharing.patch(figures, request)
    manifests = workload.render(figures, request, patch)
    findings = check(manifests, figures)
    if findings:
        first = findings[0]
        raise ExportError(f"{first.path} breaks rule {first.rule}: {first.message}", "not written")
    applies = patch.basis == "none" or (
        figures.sm_percent if patch.basis == "sm_share" else figures.time_percent
    )
    basis = patch.basis if applies else "none"
    forced = list(figures.warnings) if request.force else []
    documents, notes = folder(manifests, run, figures, request, basis, forced, code)
    return Composed(documents, (*figures.warnings, *patch.comments, *notes))
