"""Stamps and figures of a file: every one known, well formed, applied, and in agreement."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.checks.values import table
from jupyter_gpupredict.export.provenance import PREFIX

if TYPE_CHECKING:
    from jupyter_gpupredict.export.checks.ledger import Kind, Ledger

_COUNT, _SECONDS, _PERCENT = r"[1-9][0-9]*", r"[0-9]+(\.[0-9]+)?", r"[1-9][0-9]?|100"
STAMPS = {
    "sm-percent": _PERCENT,
    "time-percent": _PERCENT,
    "memory-mib": _COUNT,
    "basis": "sm_share|time_share|none",
    "share-from": "estimate|verified|user",
    "memory-from": "target|observed|user",
    "state": "warming|watching|converged|stale|abstained",
    "source": "nvml|gpm|prometheus|cpu|replay|synthetic",
    "tool-version": r"\S+",
    "coverage": r"0\.[0-9]+",
    "certified-percent": "[0-9]{1,2}|none",
    "watched-seconds": _SECONDS,
    "predicted-runtime-seconds": _SECONDS,
    "gpu-name": ".+",
    "gpu-total-mib": _COUNT,
    "sm-count": _COUNT,
    "gpus": _COUNT,
    "processes": _COUNT,
    "hosts": _COUNT,
    "ranks": _COUNT,
    "partial": "true|false",
    "session": "[A-Za-z0-9._-]+",
    "cell-sha256": "[0-9a-f]{64}",
}
"""Stamp -> what its value must look like."""
FIGURES: dict[str, Kind] = {"sm-percent": "sm", "time-percent": "time", "memory-mib": "mem"}
UNITS = {"sm": " % of the SMs", "time": " % of the time", "mem": " MiB"}


def stamps(notes: Any, where: str, ledger: Ledger) -> None:
    """Read the stamps among annotations, tags or comments."""
    for key, value in table(notes).items():
        if not isinstance(key, str) or not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        if name not in STAMPS:
            ledger.add("provenance-value", where, f"{key} is unknown")
        elif not isinstance(value, str) or not re.fullmatch(STAMPS[name], value, re.ASCII):
            ledger.add("provenance-value", where, f"{key} is {value!r}")
        else:
            ledger.stamps.setdefault(name, value)
            if name in FIGURES:
                ledger.figures.append((FIGURES[name], Decimal(value), f"{where} {name}"))


def settle(ledger: Ledger) -> None:
    """Compare everything that the file states, once all of it was read."""
    if ledger.stamped:
        _complete(ledger)
        if ledger.stamps and not ledger.failed:
            _applied(ledger)
    _agree(ledger)
    runtime = ledger.stamps.get("predicted-runtime-seconds")
    for limit_s, where in ledger.limits_s:
        if runtime is not None and limit_s < float(runtime):
            message = f"{limit_s:g} s is below the predicted run time of {runtime} s"
            ledger.add("runtime-cap", where, message)


def _complete(ledger: Ledger) -> None:
    found = ledger.stamps
    missing = [name for name in ("basis", "state", "source", "tool-version") if name not in found]
    if "memory-mib" not in found and found.get("source") != "cpu":
        missing.append("memory-mib")
    if found.get("basis") != "none" and not {"sm-percent", "time-percent"} & set(found):
        missing.append("sm-percent or time-percent")
    if missing:
        ledger.warn("provenance", "", f"no stamp {', '.join(missing)}")
    if found.get("state", "converged") != "converged":
        ledger.warn("unconverged", "", f"the prediction was {found['state']}")
    if found.get("source") in ("cpu", "replay", "synthetic"):
        ledger.warn("simulated", "", f"the figures come from source {found['source']}")


def _applied(ledger: Ledger) -> None:
    found, carried = ledger.stamps, ledger.carried
    for name, kind in FIGURES.items():
        if kind in carried and name not in found:
            ledger.add("basis", "", f"a figure is applied that the stamp {name} does not state")
    if "mem" not in carried:
        if "memory-mib" in found:
            ledger.add("not-carried", "", "the stamped memory-mib is applied nowhere")
        else:
            ledger.warn("memory-open", "", "GPU memory is not limited")
    applied = "sm" if found.get("basis") == "sm_share" else "time"
    if found.get("basis", "none") != "none" and {"sm", "time"} & carried and applied not in carried:
        ledger.add("basis", "", f"the basis is {found['basis']}, and the other share is applied")
    if {"sm", "time"} & carried:
        return
    own, other = ("time", "sm") if ledger.by_time else ("sm", "time")
    if f"{own}-percent" in found:
        ledger.add("not-carried", "", f"the stamped {own}-percent is applied nowhere")
    elif f"{other}-percent" in found:
        message = f"the target applies {own} shares, and the run gave a {other} share only"
        ledger.warn("share-open", "", message)


def _agree(ledger: Ledger) -> None:
    allowed = ledger.allowed
    expected = {
        "sm": allowed.sm_percent,
        "time": allowed.time_percent,
        "mem": allowed.memory_mib,
    }
    for kind, unit in UNITS.items():
        stated = [(value, where) for one, value, where in ledger.figures if one == kind]
        if not stated:
            continue
        wanted = expected[kind]
        reference = stated[0][0] if wanted is None else Decimal(wanted)
        source = stated[0][1] if wanted is None else "the prediction"
        for value, where in stated:
            if value != reference:
                message = f"{_plain(value)}{unit}, and {_plain(reference)} by {source}"
                ledger.add("read-back", where, message)


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
