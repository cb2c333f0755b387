"""The text of a reply: JSON of core data, made on a worker's thread, and `metrics` for Prometheus.

Jupyter Server has a `/metrics` of its own, about itself. Labels are bounded: a run's id stands on
every series, everything else about it in one `info` series, and of the newest runs only those are
reported that still run or ended in the last quarter of an hour. What is not known has no series.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.errors import MissingExtra
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.plain import one_line
from jupyter_gpupredict.core.summary import Summary, cursor_text
from jupyter_gpupredict.core.trace import event_to_json, without_nan
from jupyter_gpupredict.frontends.server.base import ApiHandler

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client.core import GaugeMetricFamily

    from jupyter_gpupredict.core.card import Answer
    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.recommendation import Verified
    from jupyter_gpupredict.core.run import Ends, Run
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


# ---- for Prometheus ----------------------------------------------------------------------------


NEWEST = 50
ENDED_S = 900.0
"""A scraper that comes every few minutes still sees how a run ended."""
LABEL_CHARACTERS = 128

_VALUES = (
    ("mean_utilization_ratio", "Mean of the run so far, of what `metric` says.", "mean_ratio"),
    ("coverage_ratio", "Share of the time at or below the share named.", "coverage_ratio"),
    ("coverage_target_ratio", "Share of the time that is to be covered.", "coverage_target_ratio"),
    ("memory_peak_bytes", "Memory peak so far.", "memory_peak_bytes"),
    ("duration_seconds", "How long the run has been measured.", "duration_s"),
)
"""(name, help, field of `Summary`)."""


class MetricsHandler(ApiHandler):
    """`GET metrics`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write the runs in Prometheus's text format."""
        text = await self.on(self.state.files, self._text)
        self.reply(text, media="text/plain; version=0.0.4; charset=utf-8")

    def _text(self) -> str:
        return exposition(self.state.runs.current(NEWEST, ENDED_S))


def exposition(runs: Sequence[tuple[Summary, float]]) -> str:
    """Return runs, each with its newest reading, in Prometheus's text format.

    Raises:
        MissingExtra: prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError as error:
        raise MissingExtra("the metrics route", "prometheus-client", "prometheus") from error

    class _Collector:
        def collect(self) -> Iterator[GaugeMetricFamily]:
            return _families(runs)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
    return generate_latest(registry).decode()


def _families(runs: Sequence[tuple[Summary, float]]) -> Iterator[GaugeMetricFamily]:
    from prometheus_client.core import GaugeMetricFamily

    names = ["session", "kernel", "host", "source", "metric", "basis", "device", "simulated"]
    info = GaugeMetricFamily("gpupredict_session_info", "Whose run it is; always 1.", labels=names)
    state = GaugeMetricFamily(
        "gpupredict_session_state",
        "1 for the state a run is in; the others have no series.",
        labels=["session", "state", "outcome"],
    )
    problem = GaugeMetricFamily(
        "gpupredict_session_problem",
        "1 for a run whose trace is damaged; the route `sessions` says how.",
        labels=["session"],
    )
    for run, _ in runs:
        if run.problem:
            problem.add_metric([run.session_id], 1.0)
        about = (
            run.kernel_id or "",
            run.host,
            run.source,
            run.metric,
            run.basis or "",
            run.devices[0][0] if run.devices else "",
            str(run.simulated).lower(),
        )
        info.add_metric(
            [run.session_id, *(one_line(text[:LABEL_CHARACTERS]) for text in about)], 1.0
        )
        state.add_metric([run.session_id, run.state, run.outcome], 1.0)
    yield info
    yield state
    yield problem
    yield _gauge(
        "utilization_ratio",
        "Newest reading of the share that is predicted; none once the run is over.",
        [(run.session_id, newest) for run, newest in runs],
    )
    for field, what in (("target_ratio", "share"), ("memory_target_bytes", "memory")):
        unit = field.rpartition("_")[2]
        yield _gauge(
            f"predicted_{what}_{unit}",
            f"The predicted {what}; only while the prediction is converged.",
            [
                (run.session_id, getattr(run, field) if run.state == "converged" else None)
                for run, _ in runs
            ],
        )
    for name, help_text, field in _VALUES:
        yield _gauge(name, help_text, [(run.session_id, getattr(run, field)) for run, _ in runs])


def _label(text: str) -> str:
    return one_line(text[:LABEL_CHARACTERS])


def _gauge(
    name: str, help_text: str, values: Sequence[tuple[str, float | None]]
) -> GaugeMetricFamily:
    """Return one metric of those runs that have it."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"gpupredict_{name}", help_text, labels=["session"])
    for session_id, value in values:
        if value is not None and math.isfinite(value):
            family.add_metric([session_id], value)
    return family
