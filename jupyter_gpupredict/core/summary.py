"""A stored or live run in one small object: what a list of thousands of runs is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import Malformed, SchemaMismatch
from jupyter_gpupredict.core.events import SCHEMA
from jupyter_gpupredict.core.metrics import METRICS

if TYPE_CHECKING:
    from jupyter_gpupredict.core.metrics import Basis


@dataclass(frozen=True, slots=True)
class Summary:
    """One run. Numbers that are not known are None."""

    session_id: str
    kernel_id: str | None
    host: str
    pid: int
    started_at: str
    source: str
    origin: str
    simulated: bool
    scope: str
    metric: str
    devices: tuple[tuple[str, str], ...]
    """(UUID, name) of each."""
    code_hash: str | None
    last_time: str
    outcome: str = ""
    """As `Run.outcome`; empty: without an end, and nobody has looked whether it still runs."""
    state: str = "warming"
    reason: str = "no reading was taken yet"
    target_ratio: float | None = None
    mean_ratio: float | None = None
    coverage_target_ratio: float | None = None
    coverage_ratio: float | None = None
    memory_peak_bytes: float | None = None
    memory_target_bytes: float | None = None
    memory_basis: str | None = None
    duration_s: float = 0.0
    samples: int | None = None
    size_bytes: int = 0

    @property
    def label(self) -> str:
        """The words for the share metric."""
        return METRICS[self.metric].label if self.metric in METRICS else self.metric

    @property
    def basis(self) -> Basis | None:
        """What the share is a share of."""
        return METRICS[self.metric].basis if self.metric in METRICS else None

    @property
    def over(self) -> bool:
        """Whether the run has an end, or is known to have none."""
        return self.outcome not in ("", "running")

    def text(self) -> str:
        """Return the words a search looks in, in lower case."""
        devices = " ".join(part for device in self.devices for part in device)
        return (
            f"{self.session_id} {self.kernel_id} {self.host} {self.source} {self.origin} "
            f"{self.metric} {devices} {self.state} {self.outcome} {self.code_hash}"
        ).lower()


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs of a long list."""

    found: tuple[Summary, ...]
    total: int
    """Runs that are stored."""
    searched: int
    """Of these, how many were looked at; fewer than all when time ran out."""
    before: str | None
    """Where the next page begins; None: this was the last."""


def summarise(session_id: str, first: bytes, last: bytes | None, size_bytes: int = 0) -> Summary:
    """Return the summary of a trace from two of its lines, without building their events.

    Args:
        session_id: The run's id.
        first: The first line.
        last: The newest `SessionFinished` or `RecommendationUpdated`; None where there is none.
        size_bytes: The trace's length.

    Raises:
        Malformed: The first line is no `SessionStarted`.
        SchemaMismatch: Another version wrote it.
    """
    try:
        summary = replace(_started(session_id, json.loads(first)), size_bytes=size_bytes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"{session_id} is no trace", "was it cut before its first line?") from error
    return summary if last is None else updated(summary, last)


def updated(summary: Summary, last: bytes) -> Summary:
    """Return a run's summary with the figures of a later line; a damaged one changes nothing."""
    try:
        return _newest(summary, json.loads(last))
    except (ValueError, KeyError, TypeError, AttributeError):
        return summary


def _started(session_id: str, began: dict[str, Any]) -> Summary:
    if began["event"] != "SessionStarted":
        raise KeyError("event")
    if began.get("schema") != SCHEMA:
        raise SchemaMismatch(
            f"trace schema {began.get('schema')!r}, this version reads {SCHEMA}",
            "read it with the version that wrote it",
        )
    return Summary(
        session_id=session_id,
        kernel_id=began.get("kernel_id"),
        host=str(began.get("host", "")),
        pid=int(began.get("pid", 0)),
        started_at=str(began["started_at"]),
        source=str(began["source"]),
        origin=str(began.get("origin", "")),
        simulated=bool(began["simulated"]),
        scope=str(began.get("scope", "device")),
        metric=str(began["share"]["metric"]),
        devices=tuple((str(one["uuid"]), str(one["name"])) for one in began["devices"]),
        code_hash=began.get("code_hash"),
        last_time=str(began.get("last_time", "")),
    )


def _newest(summary: Summary, event: dict[str, Any]) -> Summary:
    finished = event["event"] == "SessionFinished"
    told = event["recommendation"] or {}
    memory = told.get("memory") or {}
    return replace(
        summary,
        outcome=str(event["outcome"]) if finished else "",
        state=str(told.get("state", summary.state)),
        reason=str(told.get("reason", "no reading was taken")),
        target_ratio=told.get("target_ratio"),
        mean_ratio=told.get("mean_ratio"),
        coverage_target_ratio=told.get("coverage_target_ratio"),
        coverage_ratio=told.get("coverage_ratio"),
        memory_peak_bytes=memory.get("peak_bytes"),
        memory_target_bytes=memory.get("target_bytes"),
        memory_basis=memory.get("basis"),
        duration_s=float(event["duration_s"] if finished else event["t_s"]),
        samples=int(event["samples"]) if finished else None,
    )
