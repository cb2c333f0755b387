"""Reads recorded traces: our own JSON Lines, CSV in our columns, and logs of nvidia-smi.

The first line tells which. What is repaired, and said in the recording's notes: values out of range
become missing, rows of a table whose time does not rise are dropped. Everything else is one clear
error.
"""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from datetime import datetime
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Capped, Malformed, Truncated
from jupyter_gpupredict.core.events import (
    PhaseEntered,
    ProgressMade,
    SamplesTaken,
    SessionStarted,
    ShareApplied,
)
from jupyter_gpupredict.core.files import lines_of, open_given
from jupyter_gpupredict.core.metrics import BY_CSV, breadth_ratio, largest
from jupyter_gpupredict.core.progress import OTHER, Phase, Progress
from jupyter_gpupredict.core.series import Device, Series
from jupyter_gpupredict.core.share import near
from jupyter_gpupredict.core.trace import MAX_TIME_S, event_from_json
from jupyter_gpupredict.sources.recording import Marks, Rows, Trace, Unsorted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import BinaryIO

    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.series import Readings

MOST_SERIES = 1 << 14
"""In one trace: a cluster of a thousand GPUs has ten each."""
FIRST_ROW_S = 1e-3
"""What the first row of a table is taken to describe: it has no row before it."""
OUT_OF_RANGE = "{} values out of range are taken as missing"
_LATE = "{} rows whose time does not rise were left out"
_TIMELESS = "{} rows with a time that no clock shows were left out"
_SMI = {
    "utilization.gpu": ("gpu_util_ratio", 0.01),
    "utilization.memory": ("mem_util_ratio", 0.01),
    "memory.used": ("memory_used_bytes", float(1 << 20)),
    "power.draw": ("power_watts", 1.0),
}
_DEVICE_MEMORY = ("process_memory_used_bytes", "memory_used_bytes")


def open_trace(path: str) -> Trace:
    """Return the trace in a file, or in the standard input, which is `-`.

    Raises:
        TraceError: It cannot be read, in one clear line.
    """
    if not path:
        raise Malformed("no trace was named", "give a .jsonl or .csv file")
    try:
        with open_given(path) as file:
            return read_trace(text_of(file, Path(path).name), Path(path).name)
    except OSError as error:
        raise Malformed(f"cannot read {path}: {error.strerror}", "is the name right?") from error


def text_of(file: BinaryIO, name: str) -> Iterator[str]:
    """Yield the lines of a file as text; bytes that are not UTF-8 are replaced.

    Raises:
        Malformed: A line is too long, or is not text.
    """
    for number, line in lines_of(file, name):
        if b"\0" in line:
            raise Malformed(f"{name} line {number} is not text", "is it a gpupredict trace or CSV?")
        yield line.decode("utf-8", "replace")


def read_trace(lines: Iterable[str], name: str) -> Trace:
    """Return the trace that these lines hold; the form is recognised by the first line.

    Raises:
        Malformed: They are not a trace.
        Truncated: There is a beginning and not one reading.
        SchemaMismatch: Another version wrote it.
    """
    every = iter(lines)
    first = next((line for line in every if line.strip()), None)
    if first is None:
        raise Truncated(f"{name} is empty", "was the run long enough?")
    every = chain([first], every)
    if first.lstrip().startswith("{"):
        return _read_events(every, name)
    return _read_table(every, name)


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


def _read_table(lines: Iterable[str], name: str) -> Trace:
    """Return the recording in a table; its titles tell what it is.

    Raises:
        Malformed: The table is unknown, or a cell is not a number.
        Truncated: It has no row.
    """
    headers: dict[str, str] = {}
    body = _without_comments(lines, headers)
    try:
        table = csv.reader(body, skipinitialspace=True, strict=True)
        titles = [title.strip() for title in next(table, [])]
        if "t_s" in titles:
            return read_cells(titles, table, name, headers)
        if any(_unitless(title) in _SMI for title in titles):
            return _read_smi(table, titles, name)
    except csv.Error as error:
        raise Malformed(f"{name} is not a table: {error}", "is it CSV?") from error
    raise Malformed(
        f"{name} is neither a gpupredict trace nor a CSV that we know",
        "CSV needs a column t_s, or the header of nvidia-smi --format=csv",
    )


def _without_comments(lines: Iterable[str], headers: dict[str, str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            headers[key.strip()] = value.strip()
        else:
            yield line


def read_cells(
    titles: list[str], rows: Iterator[list[str]], name: str, headers: dict[str, str]
) -> Trace:
    """Return the recording in rows of texts under these titles, which are those of our CSV.

    Raises:
        Malformed: A title is missing, or a cell is not a number.
        Truncated: There is no row.
    """
    if "t_s" not in titles:
        raise Malformed(f"{name} has no column t_s", "seconds since the run began")
    known = [(index, BY_CSV[title]) for index, title in enumerate(titles) if title in BY_CSV]
    columns = [(index, metric.name, 1.0 / metric.csv_scale) for index, metric in known]
    if not columns:
        raise Malformed(f"{name} has no column that we know", f"known: {', '.join(BY_CSV)}")
    time_at = titles.index("t_s")
    epoch_at = titles.index("epoch") if "epoch" in titles else -1
    phase_at = titles.index("phase") if "phase" in titles else -1
    total = _number(headers.get("epochs_total", ""), 1, name, 1.0)
    course = _Course(name, total)
    names = [metric for _, metric, _ in columns]
    derived = None
    if {"sm_active_ratio", "gr_active_ratio"} <= set(names) and "breadth_ratio" not in names:
        derived = names.index("sm_active_ratio"), names.index("gr_active_ratio")
        names.append("breadth_ratio")
    builder = _Rows(name, tuple(Series(one, "gpu") for one in names))
    for number, cells in _numbered(rows, titles, name):
        values = [_number(cells[index], number, name, scale) for index, _, scale in columns]
        if derived is not None:
            values.append(_breadth(values[derived[0]], values[derived[1]]))
        time_s = _number(cells[time_at], number, name, 1.0)
        before_s = (
            builder.last_s if math.isfinite(builder.last_s) else (time_s or 0.0) - FIRST_ROW_S
        )
        if builder.add(time_s, values, number):
            epoch = None if epoch_at < 0 else _number(cells[epoch_at], number, name, 1.0)
            course.add(before_s, epoch, None if phase_at < 0 else cells[phase_at].strip())
    device = "cpu" if columns[0][1].startswith(("cpu", "rss")) else "gpu"
    devices = (Device(device, headers.get("gpu", "recorded device")),)
    return replace(builder.trace(devices, "csv", headers), marks=course.marks)


def _read_smi(table: Iterator[list[str]], titles: list[str], name: str) -> Trace:
    plain = [_unitless(title) for title in titles]
    columns = [(index, *_SMI[title]) for index, title in enumerate(plain) if title in _SMI]
    time_at = plain.index("timestamp") if "timestamp" in plain else -1
    if time_at < 0:
        raise Malformed(f"{name} has no timestamp", "add timestamp to --query-gpu")
    key_at = next((plain.index(key) for key in ("uuid", "index", "pci.bus_id") if key in plain), -1)
    builder = _Rows(name, tuple(Series(metric, "gpu") for _, metric, _ in columns))
    start: datetime | None = None
    first_key: str | None = None
    for number, cells in _numbered(table, titles, name):
        key = cells[key_at].strip() if key_at >= 0 else ""
        first_key = key if first_key is None else first_key
        if key != first_key:
            builder.other_devices = True
            continue
        stamp = _stamp(cells[time_at].strip(), number, name)
        start = stamp if start is None else start
        values = [
            _number(cells[index].strip().rstrip("%MiBW"), number, name, scale)
            for index, _, scale in columns
        ]
        builder.add((stamp - start).total_seconds(), values, number)
    return builder.trace((Device("gpu", first_key or "recorded device"),), "nvidia-smi", {})


def _numbered(
    rows: Iterator[list[str]], titles: list[str], name: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of the rows that are not empty, each with a cell under every title."""
    for number, cells in enumerate(rows, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(titles):
            raise Malformed(
                f"{name} line {number}: {len(cells)} cells under {len(titles)} titles",
                "was the file cut?",
            )
        yield number, cells


def _unitless(title: str) -> str:
    """Return a title of nvidia-smi without its unit, such as `power.draw [W]`."""
    return title.partition("[")[0].strip() if title.endswith("]") else title


def _breadth(sm_active: float | None, gr_active: float | None) -> float | None:
    if sm_active is None or gr_active is None:
        return None
    found = breadth_ratio(min(1.0, sm_active), min(1.0, gr_active))
    return None if math.isnan(found) else found


def _stamp(text: str, number: int, name: str) -> datetime:
    for form in ("%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%S"):
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007 - differences only
        except ValueError:
            continue
    raise Malformed(f"{name} line {number}: {text!r:.40} is not a time", "nvidia-smi writes them")


def _number(text: str, number: int, name: str, scale: float) -> float | None:
    text = text.strip()
    if not text or text.startswith("[") or text.lower() in ("n/a", "nan", "null", "none"):
        return None
    try:
        value = float(text)
    except ValueError:
        raise Malformed(f"{name} line {number}: {text!r:.40} is not a number", "") from None
    return value * scale if math.isfinite(value) else None


class _Course:
    """The columns `epoch` and `phase` as marks. A row describes the time before its stamp."""

    def __init__(self, name: str, total: float | None) -> None:
        self.marks = Marks(name)
        self._total = total
        self._first: float | None = None
        self._epoch: float | None = None
        self._phase = OTHER

    def add(self, before_s: float, epoch: float | None, phase: str | None) -> None:
        """Take the cells of a row and the time of the row before it."""
        if phase is not None and (phase or OTHER) != self._phase:
            self._phase = phase or OTHER
            self.marks.append(Phase(before_s, self._phase, "trace"))
        if epoch is None or epoch == self._epoch:
            return
        if self._first is None or (self._epoch is not None and epoch < self._epoch):
            self._first = epoch
        self._epoch = epoch
        done = epoch - self._first
        self.marks.append(Progress(before_s, "epoch", done, self._total, "trace"))


class _Rows:
    """Collects rows and counts what had to be repaired."""

    def __init__(self, name: str, series: tuple[Series, ...]) -> None:
        self._name = name
        self._series = series
        self._rows = Rows(len(series))
        self._repairs = dict.fromkeys((_LATE, _TIMELESS, OUT_OF_RANGE), 0)
        self.other_devices = False
        self.last_s = -math.inf
        """Time of the newest row."""

    def add(self, time_s: float | None, values: list[float | None], number: int) -> bool:
        """Take a row; returns False where its time does not rise, or cannot be one."""
        if time_s is None:
            raise Malformed(f"{self._name} line {number} has no time", "")
        if not abs(time_s) <= MAX_TIME_S or time_s <= self.last_s:
            self._repairs[_LATE if abs(time_s) <= MAX_TIME_S else _TIMELESS] += 1
            return False
        kept = map(self._in_range, self._series, values)
        self._rows.append(time_s, kept)
        self.last_s = time_s
        return True

    def _in_range(self, series: Series, value: float | None) -> float | None:
        if value is None or 0.0 <= value <= largest(series.metric):
            return value
        self._repairs[OUT_OF_RANGE] += 1
        return None

    def trace(self, devices: tuple[Device, ...], origin: str, headers: dict[str, str]) -> Trace:
        if not self._rows:
            raise Truncated(f"{self._name} holds no reading", "was the run long enough?")
        notes = [note.format(count) for note, count in self._repairs.items() if count]
        if self.other_devices:
            notes.append("only the first device of the log is read")
        series = tuple(Series(one.metric, devices[0].uuid) for one in self._series)
        return Trace(self._name, self._rows, series, devices, origin, tuple(notes), headers)
