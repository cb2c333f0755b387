"""Predictions from many traces, one row each: what `jupyter gpupredict predict` says of a fleet."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.backtest.spread import spread
from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.run import predict_recording

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.backtest.cases import Recorded
    from jupyter_gpupredict.backtest.spread import Where

Row = dict[str, Any]

KINDS = {
    "trace": "text",
    "file": "text",
    "problem": "text",
    "state": "text",
    "converged_at_s": "number",
    "metric": "text",
    "basis": "text",
    "target_pct": "whole",
    "mean_pct": "number",
    "mem_target_mib": "number",
    "mem_basis": "text",
    "mem_reason": "text",
    "preallocated": "flag",
    "coverage_target": "number",
    "confidence_n_eff": "number",
    "confidence_g_s": "number",
    "confidence_certified_pct": "whole",
    "confidence_certified": "flag",
    "confidence_required_pct": "whole",
    "confidence_level": "number",
    "confidence_lower_pct": "whole",
    "confidence_upper_pct": "whole",
    "guard_alarms": "[number]",
    "guard_relearned": "[[number]]",
    "guard_uncapped_fraction": "number",
    "reason": "text",
    "source": "text",
    "notes": "[text]",
}
"""Column -> what is in it. `problem`: why there is nothing else; the rest is the JSON object of one
trace, its inner objects with their names before those of their fields."""
AT_ONCE = 20
"""Traces of one task without Dask; a few hundred bytes of answer each."""
FEW = 20
"""So many are predicted sooner in this process than others start."""


def predict(
    cases: Sequence[Recorded], options: dict[str, Any], where: Where
) -> Iterator[tuple[int, list[Row]]]:
    """Yield rows in the order of their traces, as they come: (how many so far, some rows).

    Args:
        cases: The traces.
        options: Further arguments of `predict_recording`.
        where: Where to do it.

    Raises:
        GpuPredictError: As `spread`.
    """
    work = functools.partial(rows, options=options)
    waiting: dict[int, list[Row]] = {}
    done = 0
    for place, some in spread(work, cases, where, _lost, at_once=AT_ONCE):
        waiting[place] = some
        while done in waiting:
            ready = waiting.pop(done)
            done += len(ready)
            yield done, ready


def rows(cases: Sequence[Recorded], options: dict[str, Any]) -> list[Row]:
    """Return one row for each trace."""
    return [_row(case, options) for case in cases]


def _row(case: Recorded, options: dict[str, Any]) -> Row:
    try:
        trace, marks = case.load()
        found = predict_recording(trace, marks=marks, **options)
    except GpuPredictError as error:
        return _lost(case, str(error))
    flat: Row = {"trace": case.id, "file": case.path, "problem": ""}
    for name, value in found.items():
        if name in ("confidence", "guard"):
            flat |= {f"{name}_{inner}": one for inner, one in (value or {}).items()}
        else:
            flat[name] = value
    return {name: flat.get(name) for name in KINDS}


def _lost(case: Recorded, why: str) -> Row:
    return {**dict.fromkeys(KINDS), "trace": case.id, "file": case.path, "problem": why}
