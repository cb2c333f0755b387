"""Recordings in tables: which column holds what, rows of texts, and what is repaired in them.

What is repaired is said in the recording's notes: values out of range become missing, rows whose
time does not rise are dropped. Everything else is one clear error.
"""

from __future__ import annotations

import contextlib
import csv
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import methodcaller
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed, Truncated
from jupyter_gpupredict.core.metrics import BY_CSV, breadth_ratio, largest
from jupyter_gpupredict.core.progress import OTHER, Phase, Progress
from jupyter_gpupredict.core.series import UNNAMED, Device, Series
from jupyter_gpupredict.core.trace import MAX_TIME_S
from jupyter_gpupredict.sources.cells import UNITS
from jupyter_gpupredict.sources.recording import OUT_OF_RANGE, Marks, Rows, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


Rename = Callable[[str], str]
_NAMES: dict[str, tuple[str, ...]] = {
    "gpu_util_ratio": (
        "utilization_gpu", "gpu_utilization", "gpu_util", "gpu_utilisation", "util_gpu",
        "gpu_usage", "usage_gpu", "gpu_load", "gpu_core_load", "gpu_busy", "gpu_activity",
        "sm_util", "gpu_sm_util", "utilization", "util", "gpu",
    ),
    "mem_util_ratio": ("utilization_memory",),
    "memory_used_bytes": (
        "memory_used", "mem_used", "used_memory", "gpu_memory_used", "gpu_mem_used", "vram_used",
        "used_vram", "gpu_used_memory", "memory_usage", "mem_usage", "gpu_memory_usage",
        "gpu_mem_usage", "vram_usage", "gpu_memory", "gpu_mem", "gpu_vram", "vram", "mem", "memory",
        "used_gpu_memory",
    ),
    "power_watts": ("power_draw", "power_draw_instant", "gpu_power", "gpu_power_draw", "power",
                    "power_usage"),
    "total": ("memory_total", "mem_total", "total_memory", "gpu_memory_total", "gpu_mem_total",
              "vram_total", "total_vram", "gpu_total_memory"),
    "free": ("memory_free", "mem_free", "free_memory", "gpu_memory_free", "vram_free"),
    "time": ("timestamp", "datetime", "date_time", "time", "ts", "unix_time", "epoch_time",
             "elapsed", "elapsed_time", "time_elapsed", "runtime", "seconds", "date"),
    "uuid": ("uuid", "gpu_uuid"),
    "bus": ("pci_bus_id", "gpu_bus_id", "bus_id", "pci_bus"),
    "index": ("index", "gpu_index", "gpu_id", "index_gpu", "gpu_idx", "device_id", "device_index",
              "device", "gpu"),
    "serial": ("serial", "gpu_serial"),
    "name": ("name", "gpu_name", "name_gpu", "device_name", "product_name", "model", "gpu_model"),
}  # fmt: skip
"""What a column is -> its names, the first found counts; units and marks are taken off before."""
_KINDS = {"gpu_util_ratio": 0.01, "mem_util_ratio": 0.01, "power_watts": 1.0}
_BYTES = ("memory_used_bytes", "total", "free")
_FAMILY = {
    unit: family
    for family, units in {
        "share": ("%", "percent", "pct", "percentage", "ratio", "fraction"),
        "bytes": ("b", "byte", "bytes", "kb", "kib", "mb", "mib", "gb", "gib"),
        "watts": ("w", "watt", "watts", "mw", "milliwatts"),
        "time": ("s", "sec", "secs", "seconds", "ms", "msec", "milliseconds", "us", "ns"),
    }.items()
    for unit in units
}
_OF = {
    **dict.fromkeys(("gpu_util_ratio", "mem_util_ratio"), "share"),
    **dict.fromkeys(_BYTES, "bytes"), "power_watts": "watts", "time": "time",
}  # fmt: skip
"""What a column is -> the family of its units."""
KEYS = ("uuid", "bus", "serial", "index", "name")
METRICS_HELD = ("gpu_util_ratio", "mem_util_ratio", "memory_used_bytes", "power_watts")
_VAGUE = ("gpu", "mem", "memory", "power")
"""Names that say what a column is only together with a unit."""
_DROPPED = frozenset(("nvidia", "avg", "mean", "average", "current"))
_OWN = re.compile(r"(utilization|memory|power)\.[a-z.]+")
"""nvidia-smi's own titles: percent, MiB and W where they carry no unit."""


@dataclass(slots=True)
class _Title:
    """A title taken apart."""

    text: str
    name: str
    unit: str
    number: int | None
    """Of the device, where it names one: 1 for `gpu1_util`."""

    @classmethod
    def of(cls, text: str) -> _Title:
        """Take it apart."""
        bracket = re.search(r"[\[(]([^\[\]()]*)[\])]", text)
        unit = bracket[1].strip().lower() if bracket else ""
        unit = unit if unit in UNITS else ""
        plain = text[: bracket.start()] + " " + text[bracket.end() :] if bracket else text
        unit = "%" if "%" in plain else unit
        split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", plain).lower()
        words = [word for word in re.findall(r"[a-z]+|\d+", split) if word not in _DROPPED]
        number = None
        for at, word in enumerate(words):
            if word.isdecimal() and at and words[at - 1] in ("gpu", "device", "cuda"):
                number = int(word[:6])
                del words[at]
                break
        while len(words) > 1 and words[-1] in _FAMILY:
            unit = words.pop()
        return cls(text, "_".join(words), unit, number)


@dataclass(slots=True)
class Layout:
    """Which column holds what."""

    titles: list[str]
    times: list[int] = field(default_factory=list)
    """One column, or that of the date and that of the time."""
    time_scale: float | None = None
    keys: dict[str, int] = field(default_factory=dict)
    devices: dict[int | None, dict[str, tuple[int, float | None]]] = field(default_factory=dict)
    """Device number, None for a row's own -> what -> (column, its scale if that is known)."""

    @classmethod
    def of(cls, titles: Sequence[str], rename: Rename = str) -> Layout:
        """Find the columns that we know.

        Args:
            titles: As the log has them.
            rename: Gives a title of another tool as one that is known here.
        """
        found = cls(list(titles))
        parts = [_Title.of(rename(title)) for title in titles]
        taken: set[int] = set()
        words = {word for one in parts for word in one.name.split("_")}
        for what, names in _NAMES.items():
            family = _OF.get(what, "")
            for name, at in ((name, at) for name in names for at in range(len(parts))):
                one = parts[at]
                fits = not one.unit or _FAMILY[one.unit] == family
                if one.name != name or at in taken or not fits:
                    continue
                if name in _VAGUE and family and not one.unit:
                    continue
                if what in ("gpu_util_ratio", *_BYTES) and _of_the_host(one, words):
                    continue
                if what == "time":
                    found.times.append(at)
                elif not family:
                    found.keys.setdefault(what, at)
                else:
                    scale = _scale_of(what, one)
                    found.devices.setdefault(one.number, {}).setdefault(what, (at, scale))
                taken.add(at)
        named = {parts[at].name: at for at in reversed(found.times)}
        both = "date" in named and "time" in named
        found.times = [named["date"], named["time"]] if both else found.times[:1]
        if found.times:
            found.time_scale = UNITS.get(parts[found.times[0]].unit)
        return found

    @property
    def shared(self) -> list[int | None]:
        """The devices that have a share."""
        return [number for number, one in self.devices.items() if "gpu_util_ratio" in one]


def _of_the_host(title: _Title, words: set[str]) -> bool:
    """Return whether a column may be of the machine, not of its GPU, by the words of all titles."""
    marked = {"gpu", "vram"} & set(title.name.split("_")) or title.number is not None
    if marked or _OWN.fullmatch(title.text.partition(" [")[0]):
        return False
    return bool({"cpu", "ram", "host", "system"} & words) or not {"gpu", "vram", "sm"} & words


def _scale_of(what: str, title: _Title) -> float | None:
    """Return what a column's numbers are to be multiplied by; None where nothing says so."""
    if title.unit:
        return UNITS[title.unit]
    if _OWN.fullmatch(title.text):
        return 2.0**20 if what in _BYTES else _KINDS[what]
    return None if what in (*_BYTES, "gpu_util_ratio") else _KINDS[what]


def layout_in(lines: Sequence[list[str]], rename: Rename = str) -> tuple[int, Layout] | None:
    """Return (number, layout) of the first line of cells that are titles we know."""
    for at, cells in enumerate(lines):
        layout = Layout.of(cells, rename)
        known = {what for one in layout.devices.values() for what in one}
        own = any(_OWN.fullmatch(cell.partition(" [")[0]) for cell in cells)
        ours = "t_s" in cells
        if known & {"gpu_util_ratio", "memory_used_bytes"} and not ours and (own or len(cells) > 1):
            return at, layout
    return None


# ---- rows --------------------------------------------------------------------------------------


FIRST_ROW_S = 1e-3
"""What the first row of a table is taken to describe: it has no row before it."""
_LATE = "{} rows whose time does not rise were left out"
_TIMELESS = "{} rows with a time that no clock shows were left out"


def delimiter_of(line: str) -> str:
    """Return what separates the cells of a table, by its line of titles."""
    return max(",;\t", key=line.count)


_NOT_PLAIN = ('"', "\r", "  ", "\n ")


def columns_of(lines: list[str], delimiter: str) -> list[list[str]]:
    """Return the cells of plain lines by column; [] where they are not as plain as tools write.

    >>> columns_of(["1, a", "2, b"], ",")
    [['1', '2'], ['a', 'b']]
    >>> columns_of(["1, a", '2, "b"'], ","), columns_of(["1, a", "2"], ",")
    ([], [])
    """
    text = "\n".join(lines)
    width = lines[0].count(delimiter) + 1
    if width == 1 or text.startswith(" ") or any(one in text for one in _NOT_PLAIN):
        return []
    if set(map(methodcaller("count", delimiter), lines)) != {width - 1}:
        return []
    between = f"{delimiter} "
    spaced = text.count(between)
    if spaced not in (0, len(lines) * (width - 1)):
        return []
    between = between if spaced else delimiter
    cells = text.replace("\n", between).split(between)
    return [cells[at::width] for at in range(width)]


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
