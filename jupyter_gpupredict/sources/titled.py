"""Logs with titles: rows of a table, given to the devices that they are of."""

from __future__ import annotations

import csv
import math
import re
from itertools import chain, islice
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.core.metrics import largest
from jupyter_gpupredict.sources.cells import (
    TIMES_READ,
    Clock,
    is_missing,
    number_in,
    numbers_in,
    within,
)
from jupyter_gpupredict.sources.logs import CHUNK_ROWS, DeviceLog, Log
from jupyter_gpupredict.sources.tables import (
    KEYS,
    METRICS_HELD,
    Layout,
    cells_of,
    columns_of,
    delimiter_of,
    layout_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace
    from jupyter_gpupredict.sources.tables import Rename

SEARCHED_LINES = 50
"""So many may stand before the titles."""
_ADD = "add index to --query-gpu, or name the device's column index"
_STRAY = "{} lines that are not rows of the table were left out"
_TORN = "the last line is torn and was left out"


class Table:
    """A log with titles, read once.

    Args:
        content: The log.
        options: What it does not say.
        origin: What wrote it.
        rename: Gives its titles as those that are known.
    """

    def __init__(
        self, content: Content, options: ReadOptions, origin: str, rename: Rename = str
    ) -> None:
        self._name, self._interval_s = content.name, options.interval_s
        self._content, self._doubled, self._joint = content, False, " "
        lines = chain.from_iterable(content.blocks())
        head = content.first_lines[:SEARCHED_LINES]
        if options.columns is None:
            found = layout_in([cells_of(line) for line in head], rename)
            if found is None:
                hint = "say what its columns are: --columns timestamp,utilization.gpu,memory.used"
                raise Malformed(f"{self._name} has no line of titles", hint)
            at, layout = found
            next(islice((line for line in lines if line.strip()), at, None))
        else:
            at, layout = 0, Layout.of(cells_of(options.columns), rename)
        self._layout, sample = layout, head[at] if head else ""
        if len(head) > at + 1:
            self._widen(cells_of(head[at + 1]))
        if not layout.shared:
            hint = "add utilization.gpu to --query-gpu"
            raise Malformed(f"{self._name} holds no utilization of a GPU", hint)
        if not layout.times and options.interval_s is None:
            hint = "add timestamp to --query-gpu, or say how far its rows are apart: --interval S"
            raise Malformed(f"{self._name} has no timestamp", hint)
        self._lines, self._delimiter = lines, delimiter_of(sample)
        self._clock = Clock(layout.time_scale)
        held = [layout.devices[number] for number in layout.shared]
        self._metrics = [one for one in METRICS_HELD if any(one in some for some in held)]
        self._log = Log(self._name, origin, self._metrics, _ADD)
        self._key: str | None = None
        self._scales: dict[tuple[int | None, str], float | None] = {}
        self._strays, self._repeated, self._why = 0, 0, ("", "")
        self._highest, self._whole = 0.0, True
        """Of shares that nothing says the unit of."""

    def _widen(self, row: list[str]) -> None:
        """Add a title where rows have one cell more: a second time, or a fraction of `12:01,5`."""
        layout = self._layout
        if len(row) != len(layout.titles) + 1 or layout.times != [0]:
            return
        first, second = (cell.strip() for cell in row[:2])
        fraction = re.fullmatch(r"\d{1,6}", second) is not None and ":" in first
        try:
            for cell in (first,) if fraction else (first, second):
                Clock().one(cell)
        except ValueError:
            return
        if not fraction and ":" not in second:
            return
        layout.titles.insert(0, "")
        layout.times = [0, 1] if fraction else [1]
        self._doubled, self._joint = not fraction, "." if fraction else " "
        layout.keys = {what: at + 1 for what, at in layout.keys.items()}
        layout.devices = {
            number: {what: (at + 1, scale) for what, (at, scale) in held.items()}
            for number, held in layout.devices.items()
        }

    def trace(self) -> Trace:
        """Return the recording."""
        number, kept = 2, 0
        before: list[str] = []
        try:
            while lines := list(islice(self._lines, CHUNK_ROWS)):
                columns = columns_of(lines, self._delimiter) if self._content.ended else []
                if self._together(columns):
                    kept, number = kept + len(lines), number + len(lines)
                    before = [column[-1] for column in columns]
                    continue
                rows = list(filter(None, self._rows(lines)))
                if (
                    rows
                    and not self._content.ended
                    and _torn(rows[-1], rows[-2] if len(rows) > 1 else before)
                ):
                    rows.pop()
                    self._log.note(_TORN)
                if rows:
                    kept += self._take(rows, number)
                    before = rows[-1]
                number += len(rows)
        except csv.Error as error:
            raise Malformed(f"{self._name} is not a table: {error}", "is it CSV?") from error
        if self._strays > kept:
            raise Malformed(f"{self._name} {self._why[0]}", self._why[1])
        if self._strays or self._repeated:
            self._log.note(_STRAY.format(self._strays + self._repeated))
        if 0.0 < self._highest <= 1.0 and not self._whole:
            raise Malformed(
                f"{self._name}: its utilization lies between 0 and 1: percent, or a share?",
                "name the column gpu_util_percent or gpu_util_ratio",
            )
        if self._doubled:
            self._log.note("its rows begin with two times, of which the second is read")
        if self._clock.note:
            self._log.note(self._clock.note)
        return self._log.trace()

    def _rows(self, lines: list[str]) -> Iterator[list[str]]:
        """Yield the cells of each line; of a row over several lines, once all of them are read."""
        reader = csv.reader(
            chain(lines, self._lines), delimiter=self._delimiter, skipinitialspace=True
        )
        for row in reader:
            yield row
            if reader.line_num >= len(lines):
                return

    def _together(self, columns: Sequence[Sequence[str]]) -> bool:
        """Take rows by column; returns False, with nothing taken, where one of them is none."""
        place = self._clock.place()
        try:
            if len(columns) == len(self._layout.titles):
                self._put(columns, self._times(columns))
                return True
        except ValueError:
            self._clock.go_back(place)
        return False

    def _take(self, rows: list[list[str]], number: int) -> int:
        """Take rows, without those that are none; returns how many were taken."""
        if len(set(map(len, rows))) == 1 and self._together(list(zip(*rows, strict=True))):
            return len(rows)
        good, times = [], []
        for at, row in enumerate(rows):
            try:
                times.append(self._checked(row))
                good.append(row[: len(self._layout.titles)])
            except ValueError as error:
                if [cell.strip() for cell in row] == self._layout.titles:
                    self._repeated += 1
                    continue
                self._strays += 1
                hint = TIMES_READ if str(error).endswith("time") else "was the file cut?"
                self._why = self._why if self._why[0] else (f"line {number + at}: {error}", hint)
        if good:
            self._put(list(zip(*good, strict=True)), times)
        return len(good)

    def _checked(self, row: list[str]) -> float:
        """Return a row's time; raise ValueError where it is not a row."""
        width = len(self._layout.titles)
        if len(row) != width and (len(row) != width + 1 or row[-1].strip()):
            raise ValueError(f"{len(row)} cells under {width} titles")
        for held in self._layout.devices.values():
            for at, scale in held.values():
                number_in(row[at], scale or 1.0)
        return self._times([(cell,) for cell in row])[0]

    def _times(self, columns: Sequence[Sequence[str]]) -> list[float]:
        places = self._layout.times
        if not places:
            return [math.nan] * len(columns[0])
        texts = columns[places[0]]
        if len(places) > 1:
            texts = [
                self._joint.join(parts) for parts in zip(texts, columns[places[1]], strict=True)
            ]
        return self._clock.many(texts)

    # ---- rows to devices ----------------------------------------------------------------------

    def _put(self, columns: Sequence[Sequence[str]], times: list[float]) -> None:
        """Give the readings to their devices; raises ValueError before anything is kept."""
        ready = []
        for number in self._layout.shared:
            held = self._layout.devices[number]
            values = [
                self._numbers(number, metric, columns)
                if metric in held
                else [math.nan] * len(times)
                for metric in self._metrics
            ]
            ready.append((number, values, self._sizes(number, columns)))
        for number, values, sizes in ready:
            if number is not None:
                self._give(self._log.device(f"gpu{number}", index=number), times, values, sizes)
                continue
            keys = self._keys(columns)
            for key in dict.fromkeys(keys):
                at = [k for k, one in enumerate(keys) if one == key] if len(set(keys)) > 1 else None
                device = self._device(key, columns, at[0] if at else 0)
                self._give(device, _at(times, at), [_at(one, at) for one in values], _at(sizes, at))

    def _give(
        self, device: DeviceLog, times: list[float], values: list[list[float]], sizes: list[float]
    ) -> None:
        if not self._layout.times:
            step_s = self._interval_s or 1.0
            times = [step_s * (device.count + number) for number in range(len(times))]
            self._log.note(f"it holds no times: its rows are taken to be {step_s:g} s apart")
        device.total_bytes = max(device.total_bytes, *sizes) if sizes else device.total_bytes
        device.extend(times, values)

    def _numbers(
        self, number: int | None, what: str, columns: Sequence[Sequence[str]]
    ) -> list[float]:
        """Return the numbers of a column in our units."""
        at, scale = self._layout.devices[number][what]
        cells = columns[at]
        if scale is None and what == "gpu_util_ratio":
            values = numbers_in(cells, 0.01)
            if not any("%" in cell for cell in (cells[0], cells[-1])):
                known = [100.0 * value for value in values if not math.isnan(value)]
                self._highest = max(self._highest, max(known, default=0.0))
                self._whole = self._whole and all(abs(one - round(one)) < 1e-6 for one in known)
            else:
                self._whole = True
            return values
        if scale is None:
            if (number, what) not in self._scales:
                self._scales[number, what] = _memory_scale(what, numbers_in(cells, 1.0))
            scale = self._scales[number, what]
        if scale is None:
            self._log.note(f"{self._layout.titles[at]!r:.60} carries no unit and is left out")
            return [math.nan] * len(cells)
        return numbers_in(cells, scale)

    def _sizes(self, number: int | None, columns: Sequence[Sequence[str]]) -> list[float]:
        """Return the card's size in each row; [] where nothing tells it."""
        held = self._layout.devices[number]
        if "total" in held:
            sizes = self._numbers(number, "total", columns)
        elif {"free", "memory_used_bytes"} <= held.keys():
            both = (self._numbers(number, one, columns) for one in ("free", "memory_used_bytes"))
            sizes = [free + used for free, used in zip(*both, strict=True)]
        else:
            return []
        top = largest("memory_used_bytes")
        if within(sizes, 0.0, top):
            return sizes
        return [size if 0.0 < size <= top else 0.0 for size in sizes]

    def _keys(self, columns: Sequence[Sequence[str]]) -> Sequence[str]:
        """Return what tells the devices apart, for each row."""
        places = self._layout.keys
        if self._key is None:
            some = (one for one in KEYS if one in places and _present(columns[places[one]]))
            self._key = next(some, "")
        return columns[places[self._key]] if self._key else ("",) * len(columns[0])

    def _device(self, key: str, columns: Sequence[Sequence[str]], row: int) -> DeviceLog:
        cell = {one: columns[at][row].strip() for one, at in self._layout.keys.items()}
        number = cell.get("index", "")
        index = int(number) if number.isdecimal() and len(number) < 7 else None
        name = cell.get("name") or (number if index is None and not _missing(number) else "")
        uuid = key.strip()
        if self._key not in ("uuid", "bus", "serial"):
            uuid = (
                "gpu"
                if index is None and not uuid
                else f"gpu{index}"
                if index is not None
                else uuid
            )
        return self._log.device(uuid, "" if _missing(name) else name, index)


def _at(values: list[float], places: list[int] | None) -> list[float]:
    return values if places is None or not values else [values[k] for k in places]


def _present(cells: Sequence[str]) -> bool:
    """Return whether a column tells devices apart."""
    return not any(map(_missing, set(cells)))


def _missing(text: str) -> bool:
    return is_missing(text.strip())


def _memory_scale(what: str, values: Sequence[float]) -> float | None:
    """Return the unit of memory figures without one, by their size; None where it stays open."""
    known = [value for value in values if value == value]  # noqa: PLR0124 - NaN
    highest = max(known, default=0.0)
    if highest > 1e8:
        return 1.0
    if highest >= 200.0 or all(value == round(value) for value in known):
        return 2.0**20
    return 2.0**30 if what == "total" else None


def _torn(row: Sequence[str], before: Sequence[str]) -> bool:
    """Return whether the last row of a file without a last newline was cut."""
    if not before:
        return False
    if len(row) < len(before):
        return True
    ends = [re.sub(r"[-+\d.]+", "", one[len(before) - 1]) for one in (row, before)]
    return (
        len(ends[0]) < len(ends[1]) and ends[1].startswith(ends[0]) and not is_missing(before[-1])
    )
