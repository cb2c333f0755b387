"""Recordings by a wall clock, of one device or of several: rows are told apart and put in order.

What is repaired is said in the recording's notes. A stamp that fits neither what is before it nor
what comes after it is dropped; where the clock steps back, or a second log begins, what follows is
joined to what was before. Readings of several devices that nothing tells apart are refused.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import groupby, islice, pairwise
from operator import eq
from typing import TYPE_CHECKING

import numpy as np

from jupyter_gpupredict.core.errors import Malformed, Truncated
from jupyter_gpupredict.core.metrics import breadth_ratio, largest
from jupyter_gpupredict.core.series import UNNAMED, Device, Series
from jupyter_gpupredict.core.trace import MAX_TIME_S
from jupyter_gpupredict.sources.cells import within
from jupyter_gpupredict.sources.recording import OUT_OF_RANGE, Rows, Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

_Row = tuple[float, tuple[float, ...]]
"""(time_s, one value for each metric)."""
CHUNK_ROWS = 4096
"""So many are worked on at once."""
MOST_DEVICES = 1024
PROBED_ROWS = 2000
"""So many are looked at for readings of several devices."""
_LATE = "{} rows whose time does not rise were left out"
_TIMELESS = "{} rows with a time that no clock shows were left out"
_WILD = "{} rows with a time that fits neither the one before nor the one after were left out"
_BACK = "the clock is set anew {} times; what follows is joined to what came before"
_SAME = "{} rows have the second of the one before and are spread over it"
_JUMP_PERIODS = 20.0
_LEAST_JUMP_S = 5.0
_DAY_S = 86_400.0
_YEAR_S = 366 * _DAY_S
"""No log pauses for so long: the clock was set meanwhile."""
_NEAR_S = 0.25
"""So near are the readings of several devices that one query makes."""


class Log:
    """The rows of a log, device by device.

    Args:
        name: Of the recording, for messages.
        origin: What wrote it.
        metrics: Names of `core.metrics.METRICS`, one for each value of a row.
        add: What tells several devices apart in such a log, for a message.
    """

    def __init__(self, name: str, origin: str, metrics: Sequence[str], add: str = "") -> None:
        self.notes: dict[str, None] = {}
        self._name, self._origin, self._add = name, origin, add
        self._metrics = tuple(metrics)
        self._devices: dict[str, DeviceLog] = {}

    def device(self, key: str, name: str = "", index: int | None = None) -> DeviceLog:
        """Return where the readings of a device go; the same for the same key."""
        found = self._devices.get(key)
        if found is None:
            if len(self._devices) >= MOST_DEVICES:
                raise Malformed(f"{self._name} names more than {MOST_DEVICES} devices", self._add)
            device = Device(key, name or UNNAMED, index)
            found = self._devices[key] = DeviceLog(self._name, device, self._metrics, self._add)
        return found

    def note(self, text: str) -> None:
        """Say once what was repaired or assumed."""
        self.notes[text] = None

    def trace(self) -> Trace:
        """Return the recording of the first device, with the others beside it.

        Raises:
            Truncated: There is no reading.
            Malformed: Most of the times fit nowhere, or several devices are mixed.
        """
        notes = tuple(self.notes)
        found = [one.trace(self._origin, notes) for one in self._devices.values() if one.finish()]
        if not found:
            raise Truncated(f"{self._name} holds no reading", "was the run long enough?")
        return replace(found[0], others=tuple(found[1:]))


class DeviceLog:
    """The readings of one device, in the order of the log."""

    def __init__(self, name: str, device: Device, metrics: tuple[str, ...], add: str) -> None:
        self.total_bytes = 0.0
        """The card's size; 0 where it is not known."""
        self.count = 0
        """Rows of the log so far."""
        self._name, self._device, self._add = name, device, add
        derived = {"sm_active_ratio", "gr_active_ratio"} <= set(metrics)
        self._breadth = derived and "breadth_ratio" not in metrics
        self._metrics = metrics + (("breadth_ratio",) if self._breadth else ())
        self._tops = [largest(metric) for metric in self._metrics]
        self._rows = Rows(len(self._metrics))
        self._times: list[float] = []
        self._columns: list[list[float]] = [[] for _ in metrics]
        """What was not looked at yet."""
        self._probe: list[_Row] | None = []
        self._last_s: float | None = None
        """The log's time of the newest row that was kept."""
        self._offset_s = 0.0
        self._held: _Row | None = None
        """A row whose time does not follow the last one's."""
        self._step_s = 1.0
        self._jump_s = 60.0
        self._repairs = dict.fromkeys((_LATE, _WILD, _TIMELESS, _BACK, _SAME, OUT_OF_RANGE), 0)

    def add(self, time_s: float, values: Sequence[float]) -> None:
        """Take a row; a value that is missing is NaN."""
        self.count += 1
        self._times.append(time_s)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        if len(self._times) >= CHUNK_ROWS:
            self._take()

    def extend(self, times_s: Sequence[float], columns: Sequence[Sequence[float]]) -> None:
        """Take rows, their values by column."""
        self.count += len(times_s)
        self._times += times_s
        for column, values in zip(self._columns, columns, strict=True):
            column.extend(values)
        if len(self._times) >= CHUNK_ROWS:
            self._take()

    def finish(self) -> bool:
        """Take what is left; returns whether there is any row."""
        self._take(last=True)
        if self._probe:
            self._refuse_mixture()
        if self._held is not None:
            if self._last_s is None:
                self._keep(*self._held)
            else:
                self._drop(self._held[0])
            self._held = None
        dropped = sum(self._repairs[one] for one in (_LATE, _WILD, _TIMELESS))
        if dropped > len(self._rows):
            raise Malformed(
                f"{self._name}: {dropped} of {dropped + len(self._rows)} rows have a time that "
                "does not fit the others",
                "is it newest first, or of several runs? sort it by time, or split it",
            )
        return bool(self._rows)

    def trace(self, origin: str, notes: tuple[str, ...]) -> Trace:
        """Return the recording of this device alone."""
        total = int(self.total_bytes) or None
        device = replace(self._device, memory_total_bytes=total)
        repairs = tuple(note.format(count) for note, count in self._repairs.items() if count)
        series = tuple(Series(metric, device.uuid) for metric in self._metrics)
        every = (*notes, *repairs)
        return Trace(self._name, self._rows, series, (device,), origin, every)

    def _take(self, last: bool = False) -> None:
        times, columns = self._times, self._columns
        if not times:
            return
        if self._probe is not None:
            room = PROBED_ROWS - len(self._probe)
            self._probe += islice(zip(times, zip(*columns, strict=True), strict=True), room)
            if len(self._probe) >= PROBED_ROWS:
                self._refuse_mixture()
        ready = len(times)
        if not last:  # rows of one second stay together
            while ready and times[ready - 1] == times[-1]:
                ready -= 1
            if not ready and len(times) < 4 * CHUNK_ROWS:
                return
            ready = ready or len(times)
        chunk, some = times[:ready], [column[:ready] for column in columns]
        self._times, self._columns = times[ready:], [column[ready:] for column in columns]
        if any(map(eq, chunk, islice(chunk, 1, None))):
            chunk = self._spread(chunk)
        if self._breadth:
            at = [self._metrics.index(one) for one in ("sm_active_ratio", "gr_active_ratio")]
            some.append(list(map(breadth_ratio, some[at[0]], some[at[1]])))
        for column, top in enumerate(self._tops):
            if not within(some[column], 0.0, top):
                some[column] = [self._in_range(value, top) for value in some[column]]
        self._order(chunk, some)

    def _in_range(self, value: float, top: float) -> float:
        if 0.0 <= value <= top:
            return value
        self._repairs[OUT_OF_RANGE] += not math.isnan(value)
        return math.nan

    def _spread(self, times: list[float]) -> list[float]:
        """Return whole seconds that several rows have, spread over that second."""
        if any(time_s % 1.0 for time_s in times):
            return times
        found: list[float] = []
        for time_s, same in groupby(times):
            count = sum(1 for _ in same)
            self._repairs[_SAME] += count - 1
            found += (time_s + number / count for number in range(count))
        return found

    # ---- order --------------------------------------------------------------------------------

    def _order(self, times: list[float], columns: list[list[float]]) -> None:
        """Keep the rows that follow one another."""
        stamps = np.array(times)
        steps = np.diff(stamps)
        if self._last_s is None and len(steps):
            rising = steps[steps > 0.0]
            self._step_s = float(np.median(rising)) if len(rising) else 1.0
            self._jump_s = max(_LEAST_JUMP_S, _JUMP_PERIODS * self._step_s)
        smooth = (
            self._held is None
            and self._last_s is not None
            and self._follows(self._last_s, times[0])
            and abs(times[-1]) <= MAX_TIME_S
            and bool((steps > 0.0).all())
            and float(steps.max(initial=0.0)) <= self._jump_s
        )
        if smooth:
            self._last_s = times[-1]
            self._rows.extend(np.round(stamps + self._offset_s, 6), columns)
            return
        rows = list(zip(times, zip(*columns, strict=True), strict=True))
        if self._last_s is None and self._held is None:
            rows = self._beginning(rows)
        for time_s, values in rows:
            self._one(time_s, values)

    def _beginning(self, rows: list[_Row]) -> list[_Row]:
        """Keep the first row that another one follows; return those behind it."""
        for at in range(len(rows)):
            if any(self._follows(rows[at][0], later[0]) for later in rows[at + 1 : at + 3]):
                for time_s, values in rows[:at]:
                    after_s = -math.inf if self._last_s is None else self._last_s
                    if after_s < time_s and rows[at][0] - _DAY_S < time_s < rows[at][0]:
                        self._keep(time_s, values)
                    else:
                        self._repairs[_WILD if abs(time_s) <= MAX_TIME_S else _TIMELESS] += 1
                self._keep(*rows[at])
                return rows[at + 1 :]
        return rows

    def _follows(self, before_s: float, time_s: float) -> bool:
        return before_s < time_s <= before_s + self._jump_s

    def _one(self, time_s: float, values: tuple[float, ...]) -> None:
        """Keep a row, hold it until the next one tells what it is, or drop it."""
        if not abs(time_s) <= MAX_TIME_S:
            self._repairs[_TIMELESS] += 1
        elif self._last_s is not None and self._follows(self._last_s, time_s):
            if self._held is not None:
                self._drop(self._held[0])
                self._held = None
            self._keep(time_s, values)
        elif self._held is None:
            self._held = time_s, values
        elif self._follows(self._held[0], time_s):
            self._begin(*self._held)
            self._keep(time_s, values)
            self._held = None
        else:
            if (-math.inf if self._last_s is None else self._last_s) < self._held[0] < time_s:
                self._keep(*self._held)  # rare readings, no wild ones
            else:
                self._drop(self._held[0])
            self._held = time_s, values

    def _begin(self, time_s: float, values: tuple[float, ...]) -> None:
        """Keep the first row behind a hole or a step back."""
        last_s = time_s if self._last_s is None else self._last_s
        if self._last_s is not None and not last_s < time_s < last_s + _YEAR_S:
            self._repairs[_BACK] += 1
            self._offset_s += last_s + self._step_s - time_s
        self._keep(time_s, values)

    def _keep(self, time_s: float, values: tuple[float, ...]) -> None:
        if self._last_s is None:
            self._offset_s = -time_s
        self._last_s = time_s
        self._rows.append(round(time_s + self._offset_s, 6), values)

    def _drop(self, time_s: float) -> None:
        near = self._last_s is not None and abs(time_s - self._last_s) <= self._jump_s
        self._repairs[_LATE if near else _WILD] += 1

    # ---- several devices ----------------------------------------------------------------------

    def _refuse_mixture(self) -> None:
        """Raise where near-equal stamps say that several devices are read in turn."""
        probe, self._probe = self._probe or [], None
        size = _together([time_s for time_s, _ in probe])
        if size < 2:
            return
        if all(time_s % 1.0 == 0.0 for time_s, _ in probe) and not _differ(probe, size):
            return
        raise Malformed(
            f"{self._name} holds {size} readings of every moment: of several GPUs?", self._add
        )


def _together(times: Sequence[float]) -> int:
    """Return how many readings were taken in every moment, 1 where they are evenly apart.

    >>> _together([0.0, 0.03, 1.0, 1.03, 2.0, 2.03]), _together([0.0, 1.0, 2.1, 3.0, 4.0])
    (2, 1)
    """
    gaps = [abs(later - earlier) for earlier, later in pairwise(times)]
    if len(gaps) < 3:
        return 1
    ordered = [max(gap, 1e-3) for gap in sorted(gaps)]
    ratios = [later / earlier for earlier, later in pairwise(ordered)]
    inner = range(len(ordered) // 4, len(ordered) - len(ordered) // 25 - 1)
    at = max(inner, key=ratios.__getitem__, default=-1)
    if at < 0 or ratios[at] < 4.0:
        return 1
    if ordered[at // 2] > _NEAR_S:
        return 1
    limit = ordered[at] * math.sqrt(ratios[at])
    sizes, count = [], 1
    for gap in gaps:
        if gap > limit:
            sizes.append(count)
            count = 1
        else:
            count += 1
    whole = sizes[1:] or sizes
    usual = max(set(whole), key=whole.count)
    return usual if len(sizes) >= 2 and whole.count(usual) >= 0.9 * len(whole) else 1


def _differ(probe: Sequence[_Row], size: int) -> bool:
    """Return whether what is read together differs more than what is read one after the other."""
    for column in zip(*(values for _, values in probe), strict=True):
        within = list(filter(math.isfinite, (abs(b - a) for a, b in pairwise(column))))
        later = zip(column, column[size:], strict=False)
        apart = list(filter(math.isfinite, (abs(b - a) for a, b in later)))
        if within and apart:
            mean = sum(within) / len(within)
            if mean > 0.02 * max(filter(math.isfinite, column)) and mean > 3.0 * sum(apart) / len(
                apart
            ):
                return True
    return False
