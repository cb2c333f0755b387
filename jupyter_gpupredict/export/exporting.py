"""A run written as a function folder: workload, sharing backend and figures composed."""

from __future__ import annotations

import ast
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.errors import (
    ExportError,
    Fix,
    GpuPredictError,
    Incompatible,
    Refused,
)
from jupyter_gpupredict.export.code import up_to_measured
from jupyter_gpupredict.export.compatibility import adapters, carried
from jupyter_gpupredict.export.deployment import Capability, Plan, Workload
from jupyter_gpupredict.export.request import ExportRequest
from jupyter_gpupredict.run import with_verified

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.export.compatibility import Adapters
    from jupyter_gpupredict.export.deployment import CodeRequest, Document


_MOST_OBSTACLES = 12


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
    from jupyter_gpupredict.export.documents import render
    from jupyter_gpupredict.export.function.writing import check, destination, publish
    from jupyter_gpupredict.export.team import with_profile

    if run.capped:
        raise Refused(
            f"{run.session_id} was capped by MPS, which says nothing of what it needs",
            "measure the cell without --mps-percentage",
        )
    request = ExportRequest.of(**with_profile(options))
    runs = registry.load("workloads", request.workload)  # an unknown name is refused first
    usual = str(getattr(runs, "sharing", Workload.sharing))
    request = dataclasses.replace(request, sharing=request.sharing or usual)
    registry.load("sharing", request.sharing)
    run = with_verified(run)
    if code is not None:
        code = up_to_measured(code, run.started.code_hash)
    written, warnings = _compose(run, request, code)
    texts = {one.path: "(copied)" if one.copied else render(one) for one in written}
    if before_write is not None:
        before_write(texts)
    if dry_run:
        _try(written, texts, code)
        return ExportOutcome((), texts, warnings)
    with destination(Path(request.output)) as to:
        check(to, written, overwrite=request.overwrite)
        _try(written, texts, code)
        paths = publish(to, written, overwrite=request.overwrite)
    return ExportOutcome(paths, texts, warnings)


def obstacles(
    first: GpuPredictError, given: Mapping[str, Any], attempt: Callable[[dict[str, Any]], object]
) -> list[GpuPredictError]:
    """Return all that is in the way of an export: `first`, and what stands behind it.

    Args:
        first: What was raised with the options as they are given.
        given: Those options, in their JSON form.
        attempt: Renders the export with other options; raises as `export_run` does.
    """
    found, options = [first], dict(given)
    while found[-1].fixes and len(found) < _MOST_OBSTACLES:
        fix = found[-1].fixes[0]
        for name, suggested in fix.options.items():
            value = fix.assumed if suggested is None and fix.asks else suggested
            added = isinstance(value, list) and isinstance(options.get(name), list)
            options[name] = [*options[name], *value] if added else value
        try:
            attempt(options)
        except GpuPredictError as error:
            if error.message in {one.message for one in found}:
                break  # this fix alone does not help
            found.append(error)
        else:
            break
    return found


def _compose(
    run: Run, request: ExportRequest, code: CodeRequest | None
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Return the checked documents of a folder, and warnings.

    Raises:
        Incompatible: The pair does not go together; the nearest one is named.
        Refused: The run's data needs the user to insist, or the pair cannot carry it.
        Unrepresentable: The target has no way to say this figure.
        InvalidOption: Something the pair needs was not given.
        ExportError: A rendered document breaks a rule (a bug of ours): nothing is written.
    """
    from jupyter_gpupredict.export.figures import bounded
    from jupyter_gpupredict.export.figures import figures as make_figures
    from jupyter_gpupredict.export.function.package import folder, function, required
    from jupyter_gpupredict.export.stamps import applied
    from jupyter_gpupredict.export.team import joined
    from jupyter_gpupredict.export.validating import check

    known = adapters()
    workload, sharing = known.workloads[request.workload], known.sharings[request.sharing]
    names = (request.workload, request.sharing)
    if reason := known.refusal(*names, request.knative_features):
        raise _incompatible(known, request, reason)
    carries = carried(workload, request.knative_features)
    request = dataclasses.replace(request, scheduled=workload.scheduled)
    figures = bounded(
        make_figures(run, request, __version__),
        request,
        workload.restricts | sharing.restricts,
        workload.max_run_s,
        request.accelerator if Capability.WHOLE_GPU in carries else None,
    )
    built = None if code is None else function(code, figures, request, workload.hosting)
    needs = "" if built is None else built.requirements.text
    patch = sharing.patch(figures, request)
    patch = joined(patch, figures, request, carries, workload, sharing, needs)
    origin = figures.time_from if patch.basis == "time_share" else figures.sm_from
    figures = dataclasses.replace(figures, share_from=origin)
    needed = () if built is None else required(built, figures)
    manifests = workload.render(Plan(figures, request, patch, needed))
    if findings := check(manifests, figures, request, known):
        first = findings[0]
        raise ExportError(f"{first.file} breaks rule {first.rule}: {first.message}", "not written")
    basis = applied(figures, patch.basis)
    forced = list(figures.warnings) if request.force else []
    written, notes = folder(
        manifests,
        run,
        figures,
        request,
        basis,
        forced,
        code,
        built,
        workload.hosting,
        as_root=sharing.as_root and basis != "none",
    )
    return written, (*figures.warnings, *patch.comments, *notes)


def _incompatible(known: Adapters, request: ExportRequest, reason: str) -> Incompatible:
    """Return the refusal of a pair, with the nearest one and the flags that would allow it."""
    names = (request.workload, request.sharing)
    near, flags = known.nearest(*names), known.flags(*names)
    pair = dict(zip(("workload", "sharing"), near, strict=True)) if near else {}
    fixes = [Fix(f"Use {' with '.join(near)}", pair)] if near else []
    hint = f"nearest: {' with '.join(near) if near else 'none'}"
    if flags:
        fixes.append(Fix(f"This Knative has {', '.join(flags)} on", {"knative_features": flags}))
        hint += f"; where it is on, say so with --knative-features {','.join(flags)}"
    return Incompatible(f"{' with '.join(names)}: {reason}", hint, fixes)


def _try(documents: Sequence[Document], texts: Mapping[str, str], code: CodeRequest | None) -> None:
    """Import the code from a folder of its own, where that is wanted.

    Raises:
        TrialFailed: It does not import.
    """
    from jupyter_gpupredict.export.function.secrets import environment_names
    from jupyter_gpupredict.export.function.trying import trial, trial_in_venv
    from jupyter_gpupredict.export.function.writing import destination, publish

    if code is None or not code.tried or code.trial == "no":
        return
    sources = [text for path, text in texts.items() if path.endswith(".py")]
    with tempfile.TemporaryDirectory(prefix="gpupredict-") as folder:
        with destination(Path(folder)) as to:
            publish(to, documents, overwrite=False)
        names = {n for one in sources for n in environment_names(ast.parse(one))}
        attempt = trial_in_venv if code.trial == "venv" else trial
        attempt(Path(folder), names, code.trial_limit_s)
