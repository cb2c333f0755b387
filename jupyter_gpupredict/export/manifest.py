"""Composes a workload, a sharing backend and a run's figures into checked documents."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import ExportError, Incompatible, InvalidOption
from jupyter_gpupredict.export import compatibility, provenance, refusals
from jupyter_gpupredict.export.checks import check
from jupyter_gpupredict.export.deployment import Capability
from jupyter_gpupredict.export.figures import figures as make_figures
from jupyter_gpupredict.export.function.package import folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.export.deployment import (
        CodeRequest,
        Document,
        ExportRequest,
        Sharing,
        Workload,
    )


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
        Refused: The run's data needs the user to insist, or the pair cannot carry it.
        Unrepresentable: The target has no way to say this figure.
        InvalidOption: Something the pair needs was not given.
        ExportError: A rendered document breaks a rule (a bug of ours): nothing is written.
    """
    workload, sharing = workloads[request.workload], sharings[request.sharing]
    names = (request.workload, request.sharing)
    reason = compatibility.refusal(names, workload, sharing, request.knative_features)
    if reason:
        near = compatibility.nearest(*names, workloads, sharings)
        raise Incompatible(f"{' with '.join(names)}: {reason}", f"nearest: {near}")
    carries = compatibility.carried(workload, request.knative_features)
    if request.node_selector and Capability.NODE_SELECTOR not in carries:
        raise InvalidOption(f"{request.workload} holds no node selector", "leave it out")
    figures = refusals.bounded(
        make_figures(run, request, tool_version),
        request,
        workload.restricts | sharing.restricts,
        workload.max_run_s,
        request.accelerator if Capability.WHOLE_GPU in carries else None,
    )
    patch = sharing.patch(figures, request)
    origin = figures.time_from if patch.basis == "time_share" else figures.sm_from
    figures = dataclasses.replace(figures, share_from=origin)
    manifests = workload.render(figures, request, patch)
    findings = check(manifests, figures, request)
    if findings:
        first = findings[0]
        raise ExportError(f"{first.file} breaks rule {first.rule}: {first.message}", "not written")
    basis = provenance.applied(figures, patch.basis)
    forced = list(figures.warnings) if request.force else []
    documents, notes = folder(manifests, run, figures, request, basis, forced, code)
    return Composed(documents, (*figures.warnings, *patch.comments, *notes))
