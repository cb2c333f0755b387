"""`metrics`: live and lately ended runs for a Prometheus server, behind the token as all routes.

Jupyter Server has a `/metrics` of its own, about itself. Labels are bounded: a run's id stands on
every series, everything else about it in one `info` series, and of the newest runs only those are
reported that still run or ended in the last quarter of an hour. What is not known has no series.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_gpupredict.core.errors import MissingExtra
from jupyter_gpupredict.core.plain import one_line
from jupyter_gpupredict.frontends.server.base import ApiHandler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.core import GaugeMetricFamily

    from jupyter_gpupredict.core.summary import Summary

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
    for field, words in (("target_ratio", "share"), ("memory_target_bytes", "memory")):
        unit = field.rpartition("_")[2]
        yield _gauge(
            f"predicted_{words}_{unit}",
            f"The predicted {words}; only while the prediction is converged.",
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
