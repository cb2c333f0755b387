"""Our own traces: one event a line."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Capped, Malformed, Truncated
from jupyter_gpupredict.core.events import (
    PhaseEntered,
    ProgressMade,
    SamplesTaken,
    SessionStarted,
    ShareApplied,
)
from jupyter_gpupredict.core.metrics import largest
from jupyter_gpupredict.core.progress import Phase, Progress
from jupyter_gpupredict.core.recommendation import near
from jupyter_gpupredict.core.trace import event_from_json
from jupyter_gpupredict.sources.recording import OUT_OF_RANGE, Marks, Rows, Trace, Unsorted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.series import Readings, ReadOptions, Series
    from jupyter_gpupredict.sources.reading import Content

MOST_SERIES = 1 << 14
"""In one trace: a cluster of a thousand GPUs has ten each."""
_DEVICE_MEMORY = ("process_memory_used_bytes", "memory_used_bytes")


class EventsReader:
    """Reads what a session stored, or a replay of one."""

    label = "our own .jsonl"

    def detect(self, content: Content) -> bool:
        """Return whether the first line is an event."""
        first = content.first_lines[:1]
        return bool(first) and first[0].startswith("{") and '"event"' in first[0]

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the trace; readings may be in any order."""
        return _read_events(content.lines(), content.name)


def _read_events(lines: Iterable[str], name: str) -> Trace:
    started: SessionStarted | None = None
    cells, marks = _Cells(name), Marks(name)
    limit_bytes: int | None = None
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break  # a torn last line: the writer was killed in the middle of it
        if not line.strip():
            continue
        event = event_from_json(line, f"{name} line {number}")
        if isinstance(event, SessionStarted):
            started = event
        elif isinstance(event, ShareApplied) and event.share.capped:
            raise Capped(
                f"{name} is of a run that MPS capped at {event.share.cap}",
                "what the code needs shows in a run without a cap",
            )
        elif isinstance(event, ShareApplied):
            limit_bytes = event.share.memory_limit_bytes
        elif isinstance(event, ProgressMade) and event.unit in ("epoch", "step"):
            unit: Unit = "epoch" if event.unit == "epoch" else "step"
            marks.append(Progress(event.t_s, unit, event.done, event.total, event.hint))
        elif isinstance(event, PhaseEntered):
            marks.append(Phase(event.t_s, event.name, event.hint))
        elif isinstance(event, SamplesTaken):
            for readings in event.readings:
                cells.add(readings)
    if started is None:
        raise Truncated(f"{name} has no beginning", "it was cut before its first line ended")
    if not cells.largest:
        raise Truncated(f"{name} holds no reading", "was the run long enough?")
    notes = [OUT_OF_RANGE.format(cells.wrong)] if cells.wrong else []
    seen = set(cells.largest)
    memories = {one for one in seen if one.metric in _DEVICE_MEMORY}
    if any(near(cells.largest[one], limit_bytes) for one in memories):
        seen -= memories
        notes.append("its memory came near to a limit, and is left out: it says nothing of need")
    late = sorted(seen - set(started.series), key=lambda one: (one.device, one.metric))
    series = (*(one for one in started.series if one in seen), *late)
    return Trace(
        name,
        cells.rows(series),
        series,
        started.devices,
        started.source,
        main=started.share,
        marks=marks.in_order(),
        notes=tuple(notes),
    )


class _Cells:
    """The readings of a trace, in whatever order they come, as rows of several series."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._column: dict[Series, int] = {}
        self._cells = Unsorted(2)
        """(time_s, (column, value)) of each."""
        self.largest: dict[Series, float] = {}
        """The largest reading of each series that has one."""
        self.wrong = 0
        """How many were out of range."""

    def add(self, readings: Readings) -> None:
        """Take the readings of a series.

        Raises:
            Malformed: There are more series than any run has.
        """
        series, top = readings.series, largest(readings.series.metric)
        kept = [
            (time_s, value)
            for time_s, value in zip(readings.times_s, readings.values, strict=True)
            if 0.0 <= value <= top
        ]
        self.wrong += len(readings.values) - len(kept) - sum(map(math.isnan, readings.values))
        if not kept:
            return
        if len(self._column) >= MOST_SERIES and series not in self._column:
            raise Malformed(f"{self._name} holds more than {MOST_SERIES} series", "no run has them")
        column = float(self._column.setdefault(series, len(self._column)))
        for time_s, value in kept:
            self._cells.append(time_s, (column, value))
        highest = max(value for _, value in kept)
        self.largest[series] = max(highest, self.largest.get(series, highest))

    def rows(self, series: Sequence[Series]) -> Rows:
        """Return a row for each time; of two readings of one series then, the later one counts."""
        place = {float(self._column[one]): at for at, one in enumerate(series)}
        rows = Rows(len(series))
        for time_s, readings in groupby(self._cells, key=lambda row: row[0]):
            row: list[float | None] = [None] * len(series)
            for _, (column, value) in readings:
                at = place.get(column or 0.0)
                if at is not None:
                    row[at] = value
            rows.append(time_s, row)
        return rows
