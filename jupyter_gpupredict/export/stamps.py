"""The stamps on every manifest, which say where its numbers come from: written, and read back.

Never a GPU's UUID, a host's name, a path, a user or a value of the environment; the session's id
holds a host's name, so it is not stamped either.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.events import RECORDING
from jupyter_gpupredict.core.plain import one_line
from jupyter_gpupredict.export.findings import Node
from jupyter_gpupredict.export.shapes import check_shape

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import Figures, SharePatch
    from jupyter_gpupredict.export.findings import Kind, Report

PREFIX = "jupyter-gpupredict/"
NEWER = f"export.{PREFIX}"
"""Of stamps that older readers do not know: they accept the keys that they know."""
METHOD = f"{NEWER}share-method"
FIGURES: dict[str, Kind] = {"sm-percent": "sm", "time-percent": "time", "memory-mib": "mem"}
UNITS = {"sm": " % of the SMs", "time": " % of the time", "mem": " MiB"}


def stamps(figures: Figures, patch: SharePatch) -> dict[str, str]:
    """Return the stamps as annotations: the share that is applied, else those that are known."""
    basis = applied(figures, patch.basis)
    sm, time = (None, None) if patch.whole else (figures.sm_percent, figures.time_percent)
    certified, runtime_s = figures.certified_percent, figures.predicted_runtime_s
    found: dict[str, object | None] = {
        "sm-percent": sm if basis != "time_share" else None,
        "time-percent": time if basis != "sm_share" else None,
        "memory-mib": figures.memory_mib,
        "basis": basis,
        "state": figures.state,
        "source": figures.source,
        "tool-version": figures.tool_version,
        "share-from": figures.share_from if basis != "none" else None,
        "memory-from": figures.memory_from,
        "coverage": _coverage(figures.coverage_ratio),
        # a finite watch proves no more than 99 %
        "certified-percent": "none" if certified is None else min(99, max(0, certified)),
        "watched-seconds": None if figures.watched_s is None else round(figures.watched_s),
        "predicted-runtime-seconds": None if runtime_s is None else math.ceil(runtime_s),
        "gpu-name": figures.gpu_name,
        "gpu-total-mib": figures.gpu_total_mib,
        "sm-count": figures.sm_count,
    }
    counts = ("gpus", "processes", "ranks", "hosts")
    found |= {key: count for key in counts if (count := getattr(figures, key)) > 1}
    found |= {"partial": "true" if figures.partial else None, "cell-sha256": figures.code_hash}
    texts = {key: one_line(str(value)) for key, value in found.items() if value is not None}
    stamped = {PREFIX + key: " ".join(one.split()) for key, one in texts.items() if one.strip()}
    if basis == "sm_share" and figures.sm_method is not None:
        stamped[METHOD] = figures.sm_method
    return stamped


def applied(figures: Figures, basis: str) -> str:
    """Return the basis of the share that a target really applies: none where it is not known."""
    known = {"sm_share": figures.sm_percent, "time_share": figures.time_percent}.get(basis)
    return "none" if known is None else basis


def _coverage(ratio: float | None) -> str | None:
    text = "" if ratio is None else f"{ratio:.6f}".rstrip("0")
    return text if text.startswith("0.") and len(text) > 2 else None


def known_source(name: Any) -> bool:
    """Return whether a telemetry source of this name is registered, or it is a recording."""
    ours = (*registry.SOURCES, RECORDING)
    return isinstance(name, str) and (name in ours or name in registry.names("sources"))


def read_stamps(notes: Node, report: Report) -> None:
    """Read the stamps among annotations, tags or comments; the schema `stamps` lists them."""
    keys = [key for key in notes.table if isinstance(key, str) and key.startswith((PREFIX, NEWER))]
    found = {key.removeprefix(NEWER).removeprefix(PREFIX): notes.table[key] for key in keys}
    wrong = check_shape("stamps", Node(found, notes.path), report)
    if (source := found.get("source")) and "source" not in wrong and not known_source(source):
        said = f"{source!r} is not the name of a telemetry source"
        report.add("provenance-value", f"{notes}.source", said)
        wrong.add("source")
    for name, value in found.items():
        if name not in wrong:
            report.stamps.setdefault(name, value)
            if name in FIGURES:
                report.figures.append((FIGURES[name], Decimal(value), f"{notes} {name}"))


def settle(report: Report) -> None:
    """Compare everything that a file states, once all of it was read."""
    if report.stamps.get("basis") == "none":
        report.carried |= report.informed
    if report.stamped:
        _complete(report)
        if report.stamps and not report.failed:
            _carried(report)
    _agree(report)
    runtime = report.stamps.get("predicted-runtime-seconds")
    for limit_s, where in report.limits_s:
        if runtime is not None and limit_s < float(runtime):
            message = f"{limit_s:g} s is below the predicted run time of {runtime} s"
            report.add("runtime-cap", where, message)


def _complete(report: Report) -> None:
    found = report.stamps
    missing = [name for name in ("basis", "state", "source", "tool-version") if name not in found]
    if "memory-mib" not in found and found.get("source") != "cpu":
        missing.append("memory-mib")
    if found.get("basis") != "none" and not {"sm-percent", "time-percent"} & set(found):
        missing.append("sm-percent or time-percent")
    if missing:
        report.warn("provenance", "", f"the stamp {', '.join(missing)} is missing")
    if found.get("state", "converged") != "converged":
        report.warn("unconverged", "", f"the prediction was {found['state']}")
    if found.get("source") in ("cpu", "replay", RECORDING, "synthetic"):
        report.warn("simulated", "", f"the figures come from source {found['source']}")


def _carried(report: Report) -> None:
    found, carried = report.stamps, report.carried
    for name, kind in FIGURES.items():
        if kind in carried and name not in found:
            report.add("basis", "", f"a figure is applied that the stamp {name} does not state")
    if "mem" not in carried:
        if "memory-mib" in found:
            report.add("not-carried", "", "the stamped memory-mib is applied nowhere")
        else:
            report.warn("memory-open", "", "GPU memory is not limited")
    own = "sm" if found.get("basis") == "sm_share" else "time"
    if found.get("basis", "none") != "none" and {"sm", "time"} & carried and own not in carried:
        report.add("basis", "", f"the basis is {found['basis']}, and the other share is applied")
    if {"sm", "time"} & carried:
        return
    own, other = ("time", "sm") if report.by_time else ("sm", "time")
    if f"{own}-percent" in found:
        report.add("not-carried", "", f"the stamped {own}-percent is applied nowhere")
    elif f"{other}-percent" in found:
        message = f"the target applies {own} shares, and the run gave a {other} share only"
        report.warn("share-open", "", message)


def _agree(report: Report) -> None:
    allowed = report.allowed
    expected = {"sm": allowed.sm_percent, "time": allowed.time_percent, "mem": allowed.memory_mib}
    for kind, unit in UNITS.items():
        stated = [(value, where) for one, value, where in report.figures if one == kind]
        if not stated:
            continue
        reference, source = stated[0]
        if (wanted := expected[kind]) is not None:
            reference, source = Decimal(wanted), "the prediction"
        for value, where in stated:
            if value != reference:
                message = f"{_plain(value)}{unit}, and {_plain(reference)} by {source}"
                report.add("read-back", where, message)


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
