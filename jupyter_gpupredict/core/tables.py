"""Tables as recordings: CSV in our columns, and logs of nvidia-smi.

What is repaired, and said in the recording's notes: values out of range become missing, rows whose
time does not rise are dropped. Everything else is one clear error.
"""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed, Truncated
from jupyter_gpupredict.core.marks import Marks
from jupyter_gpupredict.core.metrics import BY_CSV, breadth_ratio, largest
from jupyter_gpupredict.core.progress import OTHER, Phase, Progress
from jupyter_gpupredict.core.recording import Trace
from jupyter_gpupredict.core.rows import Rows
from jupyter_gpupredict.core.series import Device, Series
from jupyter_gpupredict.core.trace import MAX_TIME_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FIRST_ROW_S = 1e-3
"""What the first row of a table is taken to describe: it has no row before it."""
_SMI = {
    "utilization.gpu": ("gpu_util_ratio", 0.01),
    "utilization.memory": ("mem_util_ratio", 0.01),
    "memory.used": ("memory_used_bytes", float(1 << 20)),
    "power.draw": ("power_watts", 1.0),
}


def read_table(lines: Iterable[str], name: str) -> Trace:
    """Return the recording in a table; its titles tell what it is.

    Raises:
        Malformed: It is no table that we know, or a cell is no number.
        Truncated: It has no row.
    """
    headers: dict[str, str] = {}
    body = _without_comments(lines, headers)
    try:
        table = csv.reader(body, skipinitialspace=True, strict=True)
        titles = [title.strip() for title in next(table, [])]
        if "t_s" in titles:
            return _read_csv(table, titles, name, headers)
        if any(_unitless(title) in _SMI for title in titles):
            return _read_smi(table, titles, name)
    except csv.Error as error:
        raise Malformed(f"{name} is not a table: {error}", "is it CSV?") from error
    raise Malformed(
        f"{name} is neither a gpupredict trace nor a CSV that we know",
        "CSV needs a column t_s, or the header of nvidia-smi --format=csv",
    )


def out_of_range(count: int) -> str:
    """Return the note on so many values that no reading can have."""
    return f"{count} values out of range are taken as missing"


def read_cells(
    titles: list[str], rows: Iterator[list[str]], name: str, headers: dict[str, str]
) -> Trace:
    """Return the recording in rows of texts under these titles, which are those of our CSV.

    Raises:
        Malformed: A title is missing, or a cell is no number.
        Truncated: There is no row.
    """
    if "t_s" not in titles:
        raise Malformed(f"{name} has no column t_s", "seconds since the run began")
    return _read_csv(rows, titles, name, headers)


def _without_comments(lines: Iterable[str], headers: dict[str, str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            headers[key.strip()] = value.strip()
        else:
            yield line


def _read_csv(
    table: Iterator[list[str]], titles: list[str], name: str, headers: dict[str, str]
) -> Trace:
    columns = [(index, BY_CSV[title]) for index, title in enumerate(titles) if title in BY_CSV]
    if not columns:
        known = ", ".join(BY_CSV)
        raise Malformed(f"{name} has no column that we know", f"known: {known}")
    time_at = titles.index("t_s")
    epoch_at = titles.index("epoch") if "epoch" in titles else -1
    phase_at = titles.index("phase") if "phase" in titles else -1
    total = _number(headers.get("epochs_total", ""), 1, name, 1.0)
    course = _Course(name, total)
    names = [metric.name for _, metric in columns]
    derived = None
    if {"sm_active_ratio", "gr_active_ratio"} <= set(names) and "breadth_ratio" not in names:
        derived = names.index("sm_active_ratio"), names.index("gr_active_ratio")
        names.append("breadth_ratio")
    builder = _Rows(name, tuple(Series(one, "gpu") for one in names))
    for number, cells in enumerate(table, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(titles):
            raise Malformed(
                f"{name} line {number}: {len(cells)} cells under {len(titles)} titles",
                "was the file cut?",
            )
        values = [
            _number(cells[index], number, name, 1.0 / metric.csv_scale) for index, metric in columns
        ]
        if derived is not None:
            values.append(_breadth(values[derived[0]], values[derived[1]]))
        time_s = _number(cells[time_at], number, name, 1.0)
        before_s = (
            builder.last_s if math.isfinite(builder.last_s) else (time_s or 0.0) - FIRST_ROW_S
        )
        if builder.add(time_s, values, number):
            epoch = None if epoch_at < 0 else _number(cells[epoch_at], number, name, 1.0)
            course.add(before_s, epoch, None if phase_at < 0 else cells[phase_at].strip())
    device = "cpu" if columns[0][1].name.startswith(("cpu", "rss")) else "gpu"
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
    for number, cells in enumerate(table, start=2):
        if len(cells) != len(titles):
            if not any(cell.strip() for cell in cells):
                continue
            raise Malformed(
                f"{name} line {number}: {len(cells)} cells under {len(titles)} titles",
                "was the file cut?",
            )
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
    raise Malformed(f"{name} line {number}: {text!r:.40} is no time", "nvidia-smi writes them")


def _number(text: str, number: int, name: str, scale: float) -> float | None:
    text = text.strip()
    if not text or text.startswith("[") or text.lower() in ("n/a", "nan", "null", "none"):
        return None
    try:
        value = float(text)
    except ValueError:
        raise Malformed(f"{name} line {number}: {text!r:.40} is no number", "") from None
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
        self._dropped = 0
        self._timeless = 0
        self._out_of_range = 0
        self.other_devices = False
        self.last_s = -math.inf
        """Time of the newest row."""

    def add(self, time_s: float | None, values: list[float | None], number: int) -> bool:
        """Take a row; returns False for one whose time does not rise, or is no time."""
        if time_s is None:
            raise Malformed(f"{self._name} line {number} has no time", "")
        if not abs(time_s) <= MAX_TIME_S:
            self._timeless += 1
            return False
        if time_s <= self.last_s:
            self._dropped += 1
            return False
        kept = tuple(
            self._in_range(one, value) for one, value in zip(self._series, values, strict=True)
        )
        self._rows.append(time_s, kept)
        self.last_s = time_s
        return True

    def _in_range(self, series: Series, value: float | None) -> float | None:
        if value is None or 0.0 <= value <= largest(series.metric):
            return value
        self._out_of_range += 1
        return None

    def trace(self, devices: tuple[Device, ...], origin: str, headers: dict[str, str]) -> Trace:
        if not self._rows:
            raise Truncated(f"{self._name} holds no reading", "was the run long enough?")
        notes = []
        if self._dropped:
            notes.append(f"{self._dropped} rows whose time does not rise were left out")
        if self._timeless:
            notes.append(f"{self._timeless} rows with a time that no clock shows were left out")
        if self._out_of_range:
            notes.append(out_of_range(self._out_of_range))
        if self.other_devices:
            notes.append("only the first device of the log is read")
        series = tuple(Series(one.metric, devices[0].uuid) for one in self._series)
        return Trace(self._name, self._rows, series, devices, origin, tuple(notes), headers)
