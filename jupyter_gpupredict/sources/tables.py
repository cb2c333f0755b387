"""Recordings in tables: titles, rows of texts, and what is repaired in them.

What is repaired is said in the recording's notes: values out of range become missing, rows whose
time does not rise are dropped. Everything else is one clear error.
"""

from __future__ import annotations

import contextlib
import csv
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed, Truncated
from jupyter_gpupredict.core.metrics import BY_CSV, breadth_ratio, largest
from jupyter_gpupredict.core.progress import OTHER, Phase, Progress
from jupyter_gpupredict.core.series import UNNAMED, Device, Series
from jupyter_gpupredict.core.trace import MAX_TIME_S
from jupyter_gpupredict.sources.recording import OUT_OF_RANGE, Marks, Rows, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FIRST_ROW_S = 1e-3
"""What the first row of a table is taken to describe: it has no row before it."""
_LATE = "{} rows whose time does not rise were left out"
_TIMELESS = "{} rows with a time that no clock shows were left out"


def delimiter_of(line: str) -> str:
    """Return what separates the cells of a table, by its line of titles."""
    return max(",;\t", key=line.count)


def cells_of(line: str) -> list[str]:
    """Return the cells of one line, stripped; none where it is not a table's."""
    try:
        rows = csv.reader([line], delimiter=delimiter_of(line), skipinitialspace=True)
        return [title.strip() for title in next(rows, [])]
    except csv.Error:
        return []


def titles_of(lines: Iterable[str]) -> list[str]:
    """Return the titles of a table: the cells of its first line that is no comment, stripped."""
    return cells_of(next((line for line in lines if line.strip() and line[0] != "#"), ""))


@contextlib.contextmanager
def table_of(
    lines: Iterator[str], name: str, headers: dict[str, str], strict: bool = True
) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """Yield the titles of a table and an iterator over the cells of its rows.

    Args:
        lines: The table's; `# key=value` ones go to `headers`.
        name: Of the recording, for messages.
        headers: Filled while the rows are read.
        strict: Whether quotes must be in their places.

    Raises:
        Malformed: It is not a table, now or in the body of the `with`.
    """
    try:
        plain = _without_comments(lines, headers)
        first = next((line for line in plain if line.strip()), "")
        rows = csv.reader(
            plain, delimiter=delimiter_of(first), skipinitialspace=True, strict=strict
        )
        yield cells_of(first), rows
    except csv.Error as error:
        raise Malformed(f"{name} is not a table: {error}", "is it CSV?") from error


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
    total = number_of(headers.get("epochs_total", ""), 1, name, 1.0)
    course = _Course(name, total)
    names = [metric for _, metric, _ in columns]
    derived = None
    if {"sm_active_ratio", "gr_active_ratio"} <= set(names) and "breadth_ratio" not in names:
        derived = names.index("sm_active_ratio"), names.index("gr_active_ratio")
        names.append("breadth_ratio")
    builder = RowsBuilder(name, tuple(Series(one, "gpu") for one in names))
    for number, cells in numbered(rows, titles, name):
        values = [number_of(cells[index], number, name, scale) for index, _, scale in columns]
        if derived is not None:
            values.append(_breadth(values[derived[0]], values[derived[1]]))
        time_s = number_of(cells[time_at], number, name, 1.0)
        before_s = (
            builder.last_s if math.isfinite(builder.last_s) else (time_s or 0.0) - FIRST_ROW_S
        )
        if builder.add(time_s, values, number):
            epoch = None if epoch_at < 0 else number_of(cells[epoch_at], number, name, 1.0)
            course.add(before_s, epoch, None if phase_at < 0 else cells[phase_at].strip())
    device = "cpu" if columns[0][1].startswith(("cpu", "rss")) else "gpu"
    devices = (Device(device, headers.get("gpu", UNNAMED)),)
    return replace(builder.trace(devices, "csv", headers), marks=course.marks)


def numbered(
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


def _breadth(sm_active: float | None, gr_active: float | None) -> float | None:
    if sm_active is None or gr_active is None:
        return None
    found = breadth_ratio(min(1.0, sm_active), min(1.0, gr_active))
    return None if math.isnan(found) else found


def number_of(text: str, number: int, name: str, scale: float) -> float | None:
    """Return a cell's number times `scale`; None where it says that there is none.

    Raises:
        Malformed: It says something else; `number` is that of its line.
    """
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


class RowsBuilder:
    """Collects rows and counts what had to be repaired."""

    def __init__(self, name: str, series: tuple[Series, ...]) -> None:
        self._name = name
        self._series = series
        self._rows = Rows(len(series))
        self._repairs = dict.fromkeys((_LATE, _TIMELESS, OUT_OF_RANGE), 0)
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
        """Return the recording; raises `Truncated` where it has no row."""
        if not self._rows:
            raise Truncated(f"{self._name} holds no reading", "was the run long enough?")
        notes = [note.format(count) for note, count in self._repairs.items() if count]
        series = tuple(Series(one.metric, devices[0].uuid) for one in self._series)
        return Trace(self._name, self._rows, series, devices, origin, tuple(notes), headers)
