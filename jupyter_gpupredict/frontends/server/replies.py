"""Core data -> the JSON text of a reply. Made on a worker's thread, not on the event loop."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.summary import Summary, cursor_text
from jupyter_gpupredict.core.trace import event_to_json, without_nan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jupyter_gpupredict.core.card import Answer
    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.run import Ends, Run
    from jupyter_gpupredict.core.share import Verified
    from jupyter_gpupredict.core.summary import News, Page
    from jupyter_gpupredict.frontends.server.state import Reading
    from jupyter_gpupredict.run import Drawing

_DIGITS = 9
_FIELDS = tuple(field.name for field in fields(Summary))


def dumps(value: Any) -> str:
    """Return a value as compact JSON."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)


def summary(run: Summary, host: str) -> dict[str, Any]:
    """Return a run as the schema `Summary`."""
    plain = {name: getattr(run, name) for name in _FIELDS}  # `asdict` takes three times as long
    return {
        **plain,
        "devices": [{"uuid": uuid, "name": name} for uuid, name in run.devices],
        "label": run.label,
        "basis": run.basis,
        "remote": run.host != host,
    }


def page(found: Page, host: str) -> str:
    """Return the schema `Sessions`."""
    return dumps(
        {
            "sessions": [summary(run, host) for run in found.found],
            "total": found.total,
            "searched": found.searched,
            "before": found.before,
        }
    )


def news(kernel_id: str, found: News, host: str, reason: str = "") -> str:
    """Return the schema `Runs`; the events' lines go in as they lie in the trace."""
    runs = ",".join(
        f'{{"run":{dumps(summary(run.summary, host))},"events":[{",".join(run.lines)}],'
        f'"answer":{dumps(None if run.answer is None else plain_answer(run.answer))}}}'
        for run in found.runs
    )
    return (
        f'{{"kernel_id":{dumps(kernel_id)},"host":{dumps(host)},'
        f'"cursor":{dumps(cursor_text(found.cursor))},"more":{dumps(found.more)},'
        f'"reason":{dumps(reason)},"runs":[{runs}]}}'
    )


def plain_answer(found: Answer) -> Any:
    """Return the schema `Answer`."""
    return without_nan(found.as_dict())


def verified(tried: Verified) -> dict[str, Any]:
    """Return the schema `Verified`."""
    return {
        "percent": tried.percent,
        "speed_ratio": tried.speed_ratio,
        "low_ratio": tried.low_ratio,
        "high_ratio": tried.high_ratio,
        "method": tried.method,
        "at": tried.at,
        "text": words.verified(tried),
    }


def session(run: Summary, ends: Ends, stopping: bool, host: str, whole: Run) -> str:
    """Return the schema `Session`."""
    tried = whole.verified
    last = _plain(ends.newest)
    return dumps(
        {
            "session": summary(run, host),
            "started": _plain(ends.started),
            "finished": last if "outcome" in last else None,
            "recommendation": last.get("recommendation"),
            "others": last.get("others", []),
            "verified": None if tried is None else verified(tried),
            "answer": plain_answer(answer(whole)),
            "stop_requested": stopping,
        }
    )


def series(run: Summary, drawing: Drawing) -> str:
    """Return the schema `Drawing`, each part dumped by itself: none holds the thread for long."""
    parts = []
    for one in drawing.pictures:
        known = METRICS.get(one.series.metric)
        head = {
            "metric": one.series.metric,
            "device": one.series.device,
            "rank": one.series.rank,
            "label": known.label if known else one.series.metric,
            "basis": known.basis if known else None,
            "samples": one.samples,
            "reason": _lack(one.low),
        }
        columns = (("times_s", one.times_s), ("low", one.low), ("high", one.high))
        drawn = ",".join(f'"{name}":[{",".join(_texts(values))}]' for name, values in columns)
        parts.append(f"{dumps(head)[:-1]},{drawn}}}")
    return (
        f'{{"session_id":{dumps(run.session_id)},"outcome":{dumps(run.outcome)},'
        f'"seq":{drawing.seq},"complete":{dumps(drawing.complete)},'
        f'"duration_s":{_text(drawing.duration_s)},"series":[{",".join(parts)}],'
        f'"marks":[{",".join(drawing.marks)}]}}'
    )


def recommendation(run: Run, ends: Ends) -> str:
    """Return the schema `Recommended`."""
    last = _plain(ends.newest)
    return dumps(
        {
            "session_id": run.session_id,
            "outcome": run.outcome,
            "recommendation": last.get("recommendation"),
            "others": last.get("others", []),
            "answer": plain_answer(answer(run)),
        }
    )


def devices(reading: Reading, host: str) -> dict[str, Any]:
    """Return the schema `Devices`."""
    table = reading.table
    return {
        "host": host,
        "read_at": reading.read_at.isoformat(timespec="milliseconds") if reading.read_at else None,
        "age_s": None if reading.age_s is None else round(reading.age_s, 3),
        "reason": reading.reason,
        "message": reading.message,
        "hint": reading.hint,
        "driver_version": table.driver_version if table else "",
        "devices": [asdict(device) for device in table.devices] if table else [],
    }


def _plain(event: Event | None) -> dict[str, Any]:
    """Return an event as JSON has it; empty: there is none."""
    found: dict[str, Any] = {} if event is None else json.loads(event_to_json(event))
    return found


def _lack(values: Sequence[float]) -> str:
    return "" if any(math.isfinite(value) for value in values) else "no_data_yet"


def _texts(values: Iterable[float]) -> Iterable[str]:
    return map(_text, values)


def _text(value: float) -> str:
    return f"{value:.{_DIGITS}g}" if math.isfinite(value) else "null"
