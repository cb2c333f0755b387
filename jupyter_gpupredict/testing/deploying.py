"""Checks of what deploys: workloads and sharing backends, each pair rendered and read back."""

from __future__ import annotations

import dataclasses
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.export import compatibility, validating
from jupyter_gpupredict.export.deployment import (
    Capability,
    Figures,
    Plan,
    Restriction,
    Sharing,
    Workload,
)
from jupyter_gpupredict.export.documents import render
from jupyter_gpupredict.export.findings import Allowed, Node, Pod, Report
from jupyter_gpupredict.export.request import ExportRequest
from jupyter_gpupredict.export.team import joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jupyter_gpupredict.export.compatibility import Adapters
    from jupyter_gpupredict.export.deployment import Document

_SESSION, _FOLDER = "20260101T000000Z-checked-host-1-abcd", "/home/checked-user/function"
_UUID = "GPU-00000000-0000-0000-0000-000000000000"
_SELECTOR = {"example.com/pool": "training"}
_SHARES = {"sm_pct": "sm", "time_pct": "time", "memory_mib": "mem"}
"""What a sharing backend may express -> its kind among the figures of a file."""
_MEASURED = Figures(
    name="checked",
    sm_percent=37,
    time_percent=None,
    memory_mib=5879,
    timeout_s=270,
    host_memory_mib=None,
    cpu_count=None,
    state="converged",
    source="nvml",
    share_from="estimate",
    memory_from="target",
    tool_version=__version__,
    coverage_ratio=0.95,
    certified_percent=87,
    watched_s=612.0,
    gpu_name="NVIDIA H200",
    gpu_total_mib=143771,
    session_id=_SESSION,
    code_hash="e" * 64,
    predicted_runtime_s=200.0,
)


def check_workload(
    make: type, *, name: str = "checked", sharings: Mapping[str, type] | None = None
) -> tuple[str, ...]:
    """Check a workload with every sharing backend: where it says it goes, it exports and validates.

    Args:
        make: Its class.
        name: As it is, or will be, registered; others may refuse it under that name.
        sharings: Backends of your own by name, beside those that are registered.

    Returns:
        The sharing backends that it goes with.
    """
    known = _adapters({name: make}, sharings or {})
    workload = known.workloads[name]
    strange = {one for one, _ in workload.refuses} - {"*", *known.sharings}
    assert not strange, f"it refuses {sorted(strange)}, which is not a sharing backend"
    assert workload.manifests, "it names no manifests, so nothing that it writes can be checked"
    pairs = tuple(one for one in known.sharings if _fits(known, name, one))
    assert workload.sharing in pairs, (
        f"{workload.sharing!r}, its own sharing backend, does not go with it"
    )
    for sharing in pairs:
        _check_pair(known, name, sharing)
    return pairs


def check_sharing(
    make: type, *, name: str = "checked", workloads: Mapping[str, type] | None = None
) -> tuple[str, ...]:
    """Check a sharing backend with every workload, and that it leaves others' pods alone.

    Args:
        make: Its class.
        name: As it is, or will be, registered; others may refuse it under that name.
        workloads: Workloads of your own by name, beside those that are registered.

    Returns:
        The workloads that it goes with.
    """
    known = _adapters(workloads or {}, {name: make})
    sharing = known.sharings[name]
    assert set(sharing.expresses) <= set(_SHARES), f"it expresses more than {list(_SHARES)}"
    report = Report("pod.yaml", Allowed())
    other = Pod(Node({"containers": [{"name": "other", "image": "example.com/other:1"}]}))
    sharing.judge(other, report)
    assert not report.findings, f"it judges a pod that is not its own: {report.findings[0]}"
    assert not other.limiter, "it claims a pod that is not its own"
    pairs = tuple(one for one in known.workloads if _fits(known, one, name))
    assert pairs, "it goes with no workload"
    for workload in pairs:
        _check_pair(known, workload, name)
    return pairs


def _adapters(workloads: Mapping[str, type], sharings: Mapping[str, type]) -> Adapters:
    """Return the registered adapters, and these."""
    known, made = compatibility.adapters(), compatibility.made
    return compatibility.Adapters(
        {**known.workloads, **{name: made(one, Workload) for name, one in workloads.items()}},
        {**known.sharings, **{name: made(one, Sharing) for name, one in sharings.items()}},
    )


def _fits(known: Adapters, workload: str, sharing: str) -> bool:
    """Return whether a pair goes together, on a platform with all on that can be switched on."""
    reason = known.refusal(workload, sharing, known.workloads[workload].switchable.values())
    assert "\n" not in reason, f"{workload} refuses {sharing} in several lines"
    return not reason


def _check_pair(known: Adapters, workload: str, sharing: str) -> None:
    runs, divides = known.workloads[workload], known.sharings[sharing]
    features = tuple(runs.switchable.values()) if known.refusal(workload, sharing) else ()
    carries = compatibility.carried(runs, features)
    request = ExportRequest.of(
        workload=workload,
        sharing=sharing,
        name="checked",
        output=_FOLDER,
        image="registry.example.com/checked:1",
        gpu_uuid=_UUID,
        knative_features=features,
        node_selector=_SELECTOR if Capability.NODE_SELECTOR in carries else None,
    )
    request = dataclasses.replace(request, scheduled=runs.scheduled)
    for what, figures in _cases(runs.restricts | divides.restricts):
        try:
            _check_case(known, request, figures, carries)
        except AssertionError as error:
            raise AssertionError(f"{workload} with {sharing}, {what}: {error}") from error


def _cases(restricts: frozenset[Restriction]) -> Iterator[tuple[str, Figures]]:
    """Yield figures that such a pair may be given, and what they are."""
    change = dataclasses.replace
    nothing = change(_MEASURED, source="cpu", sm_percent=None, memory_mib=None, memory_from=None)
    yield "an SM share", _MEASURED
    yield "a time share", change(_MEASURED, sm_percent=None, time_percent=83)
    yield "a simulated run", change(_MEASURED, source="synthetic")
    if Restriction.MEMORY_REQUIRED not in restricts:
        yield "a run without a GPU", change(nothing, timeout_s=None, predicted_runtime_s=None)
    if Restriction.ONE_GPU not in restricts:
        yield "two GPUs", change(_MEASURED, gpus=2)
    if Restriction.ONE_RANK not in restricts:
        yield "three ranks", change(_MEASURED, ranks=3)


def _check_case(
    known: Adapters, request: ExportRequest, figures: Figures, carries: frozenset[Capability]
) -> None:
    runs, divides = known.workloads[request.workload], known.sharings[request.sharing]
    patch = joined(divides.patch(figures, request), figures, request, carries, runs, divides)
    documents = runs.render(Plan(figures, request, patch))
    twice = divides.patch(figures, request) == divides.patch(figures, request)
    assert twice, "two patches for the same figures differ"
    assert documents == runs.render(Plan(figures, request, patch)), "two renderings differ"
    texts = {one.path: render(one) for one in documents}
    assert len(texts) == len(documents), "two documents have the same path"
    for path in map(PurePosixPath, texts):
        assert not {"/", ".."} & set(path.parts), f"{path} is not in the folder"
    findings = validating.check(documents, figures, request, known)
    assert not findings, str(findings[0])
    given = {"sm": figures.sm_percent, "time": figures.time_percent, "mem": figures.memory_mib}
    allowed = Allowed(frozenset(request.knative_features), None, *given.values())

    def inspect(path: str, text: str) -> Report:
        return validating.inspect(path, text, allowed, known)[0]

    read = [inspect(path, text) for path, text in texts.items()]
    stamps = {name: value for one in read for name, value in one.stamps.items()}
    for name, value in (("source", figures.source), ("state", figures.state)):
        assert stamps.get(name) == value, f"no file is stamped with the {name}, {value}"
    incomplete = [one for report in read for one in report.findings if one.rule == "provenance"]
    assert not incomplete, str(incomplete[0])
    carried = {kind for one in read for kind in one.carried}
    for expressed, kind in _SHARES.items():
        if given[kind] is None:
            assert kind not in carried, f"{expressed} is carried, and none is known"
        elif expressed in divides.expresses and not patch.whole:
            assert kind in carried, f"{expressed} is expressed, and no file carries it"
    if Capability.TIME_LIMIT in carries and figures.timeout_s is not None:
        assert any(one.limits_s for one in read), "it carries a time limit, and no file has one"
    written = "\n".join(texts.values())
    for words in request.node_selector if runs.scheduled else ():
        assert all(word in written for word in words), "the node selector is in no file"
    for secret in (_SESSION, "checked-host", "checked-user", _UUID):
        asked = secret == _UUID and Capability.MPS_CONFIG in divides.needs
        assert asked or secret not in written, f"{secret} is written"
    if request.sharing == runs.sharing:
        for path in re.findall(r"deploy/\S+", runs.hosting.deploy):
            assert path in texts, f"{path} is deployed, and not written"
    if figures.source != _MEASURED.source or figures.gpus * figures.ranks > 1:
        return  # the same rules have found the same mistakes before
    for document in documents:
        for what, wrong in _mistakes(document, figures):
            found = inspect(wrong.path, render(wrong))
            assert found.failed, f"{wrong.path} passes with {what}"


def _mistakes(document: Document, figures: Figures) -> Iterator[tuple[str, Document]]:
    """Yield a document with one thing wrong: an unknown field, a figure that is another."""
    content = document.content
    if isinstance(content, dict):
        unknown = {**content, "unknownField": "1"}
        yield "an unknown field", dataclasses.replace(document, content=unknown)
    for figure in (figures.sm_percent, figures.time_percent, figures.memory_mib):
        if figure is not None:
            for place, wrong in _changed(content, figure, ""):
                what = f"{figure + 1} in the place of {figure} at {place}"
                yield what, dataclasses.replace(document, content=wrong)


def _changed(content: Any, figure: int, place: str) -> Iterator[tuple[str, Any]]:
    """Yield (place, the content with the next number there) for every place of a figure."""
    if isinstance(content, dict):
        for key, value in content.items():
            for where, changed in _changed(value, figure, f"{place}.{key}"):
                yield where, {**content, key: changed}
    elif isinstance(content, list):
        for number, value in enumerate(content):
            for where, changed in _changed(value, figure, f"{place}[{number}]"):
                yield where, [*content[:number], changed, *content[number + 1 :]]
    elif isinstance(content, str | int):
        changed, count = re.subn(rf"(?<![\w.]){figure}(?![\d.])", str(figure + 1), str(content))
        if count:
            yield place, changed if isinstance(content, str) else figure + 1
