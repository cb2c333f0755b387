"""The series of one trace, read as far as time allows and kept decimated.

A trace of a million readings is a hundred megabytes of JSON, so readings are found by their form
in large blocks and only their numbers are parsed. A block that is not of the writer's exact form is
read line by line.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.events import SamplesTaken, SessionFinished, SessionStarted
from jupyter_gpupredict.core.metrics import largest
from jupyter_gpupredict.core.series import Series
from jupyter_gpupredict.core.trace import event_from_json, read_as

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from jupyter_gpupredict.core.events import Event

BLOCK_BYTES = 64 << 10
"""Parsed at once: about half a millisecond, in which no other thread of the server runs."""
CAPACITY = 8192
"""Rows kept; a full set is merged in pairs, so at least half as many are there."""
MARKS = 100
MAX_SERIES = 64
_SAMPLES = b'{"event":"SamplesTaken",'
_READINGS = re.compile(rb'"series":(\{[^}]*\}),"times_s":\[([^]]*)\],"values":\[([^]]*)\]')
"""Sets of one excluded byte are what `re` runs through fastest; what they hold is checked after."""
_OF_NUMBERS = b"0123456789eE.,+-"
_KEPT = {"WindowClosed": 60, "RecommendationUpdated": 1, "ProgressMade": 1}
"""How many marks of a kind are kept, where not `MARKS`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One series as it is drawn; the three have the same length, at most the width."""

    series: Series
    samples: int
    """Readings it was made from."""
    times_s: tuple[float, ...]
    """End of each row's span."""
    low: tuple[float, ...]
    """Lowest reading of the span; NaN where nothing could be read."""
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """All series of a run, as far as its trace was read."""

    pictures: tuple[Picture, ...]
    marks: tuple[str, ...]
    """Events beside the readings, in their order, one JSON object each."""
    seq: int
    """The last event that is in it; -1: none."""
    duration_s: float
    """Time of that event."""
    complete: bool
    """False: there is more in the trace, and time ran out."""


class Envelope:
    """A bounded number of rows (end, lowest, highest), no extreme lost: for many readings at once.

    `core.run.History` does the same one reading at a time, without numpy, inside the kernel.

    >>> envelope = Envelope(capacity=4)
    >>> envelope.add(np.arange(8.0), np.arange(8.0) / 10)
    >>> envelope.rows(2)[2]
    array([0.3, 0.7])
    """

    __slots__ = ("_capacity", "_last_s", "_merge", "_rest", "_rows", "samples")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._merge = 1
        self._rows = np.empty((3, 0))
        self._rest = np.empty(0)
        """Readings too few for a row yet."""
        self._last_s = np.nan
        self.samples = 0

    def add(
        self, times_s: Sequence[float | bytes], values: Sequence[float] | NDArray[np.float64]
    ) -> None:
        """Take readings, oldest first, both of the same length; NaN marks a hole.

        Args:
            times_s: Their stamps. Only those at the ends of rows are converted to numbers, so text
                that came from a file may stay text.
            values: The readings.

        Raises:
            ValueError: A stamp that is needed is not a number; nothing was taken then.
        """
        if not len(values):
            return
        first = self._merge - 1 - len(self._rest)
        ends = np.array([float(one) for one in times_s[first :: self._merge]], np.float64)
        last_s = float(times_s[-1])
        if not np.isfinite([*ends, last_s]).all():
            raise ValueError("a stamp is not finite")
        self._last_s = last_s
        self.samples += len(values)
        raw = np.concatenate([self._rest, np.asarray(values, np.float64)])
        blocks = raw[: len(ends) * self._merge].reshape(-1, self._merge)
        self._rest = raw[len(ends) * self._merge :]
        fresh = [ends, np.fmin.reduce(blocks, axis=1), np.fmax.reduce(blocks, axis=1)]
        self._rows = np.concatenate([self._rows, np.stack(fresh)], axis=1)
        while self._rows.shape[1] > self._capacity:
            self._rows = _merged(self._rows, np.arange(0, self._rows.shape[1], 2))
            self._merge *= 2

    def rows(self, width: int) -> NDArray[np.float64]:
        """Return end, lowest and highest of at most `width` spans, shape (3, n)."""
        rows = self._rows
        if len(self._rest):
            rest = [self._last_s, np.fmin.reduce(self._rest), np.fmax.reduce(self._rest)]
            rows = np.concatenate([rows, np.array(rest)[:, np.newaxis]], axis=1)
        count = rows.shape[1]
        return rows if count <= width else _merged(rows, np.arange(width) * count // width)


def _merged(rows: NDArray[np.float64], starts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the rows with those from each start to the next made one."""
    ends = np.append(starts[1:], rows.shape[1]) - 1
    return np.stack(
        [
            rows[0, ends],
            np.fmin.reduceat(rows[1], starts),
            np.fmax.reduceat(rows[2], starts),
        ]
    )


class TracePicture:
    """One trace, read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin(0)

    def draw(self, width: int, limit_s: float) -> Drawing:
        """Return all series in at most `width` rows each.

        Args:
            width: Rows of a series.
            limit_s: Seconds to read for; what is read is kept for the next time.

        Raises:
            OSError, TraceError: The trace cannot be read.
        """
        complete = self._read(time.monotonic() + limit_s)
        marks = sorted((m for kept in self._marks.values() for m in kept), key=lambda m: m[0])
        pictures = [
            Picture(series, rows.samples, *map(tuple, rows.rows(width).tolist()))
            for series, rows in self._drawn.values()
        ]
        return Drawing(
            tuple(pictures),
            tuple(text for _, text in marks),
            self._seq,
            self._time_s,
            complete,
        )

    def _begin(self, inode: int) -> None:
        self._inode = inode
        self._offset = 0
        self._seq = -1
        self._time_s = 0.0
        self._drawn: dict[bytes, tuple[Series, Envelope]] = {}
        """By the text that names the series."""
        self._marks: dict[str, deque[tuple[int, str]]] = {}

    def _read(self, until_s: float) -> bool:
        """Read on; return whether the end was reached."""
        status = files.status_of(self._path)
        if status.inode != self._inode or status.size < self._offset:
            self._begin(status.inode)
        if status.size == self._offset:
            return True
        with files.open_stored(self._path) as file:
            file.seek(self._offset)
            rest = b""
            while time.monotonic() < until_s:
                block = file.read(BLOCK_BYTES)
                if not block:
                    return True
                whole = block.rfind(b"\n") + 1
                if whole:
                    self._take(rest + block[:whole])
                    self._offset += len(rest) + whole
                    rest = block[whole:]
                else:
                    rest += block
                if len(rest) > files.LINE_BYTES:  # no line of ours is so long
                    self._offset += len(rest)
                    rest = b""
        return False

    def _take(self, block: bytes) -> None:
        """Take whole lines."""
        found = _READINGS.findall(block)
        if len(found) == block.count(b'"times_s"') and self._take_numbers(found):
            with contextlib.suppress(TraceError):
                self._note(event_from_json(block[block.rfind(b"\n", 0, -1) + 1 :]))
        else:
            self._take_slowly(block.splitlines())
        if block.count(_SAMPLES) == block.count(b"\n"):  # no text of an event can hold the former
            return
        for line in block.splitlines():
            if not line.startswith(_SAMPLES):
                self._mark(line)

    def _take_numbers(self, found: list[tuple[bytes, bytes, bytes]]) -> bool:
        """Take readings by their text; return False, with nothing taken, when they do not fit."""
        try:
            parsed = [
                (series, _stamps(times), _numbers(values))
                for series, times, values in _by_series(found)
            ]
        except ValueError:
            return False
        if any(len(times) != len(values) for _, times, values in parsed):
            return False
        for series, stamps, numbers in parsed:
            self._add(series, stamps, numbers)
        return True

    def _take_slowly(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            with contextlib.suppress(TraceError):  # a line that is not an event costs itself alone
                event = event_from_json(line)
                if isinstance(event, SamplesTaken):
                    for readings in event.readings:
                        series = json.dumps(asdict(readings.series), separators=(",", ":"))
                        self._add(series.encode(), readings.times_s, readings.values)
                    self._note(event)

    def _add(self, series: bytes, times: Sequence[float | bytes], values: Sequence[float]) -> None:
        drawn = self._drawn.get(series)
        if drawn is None:
            try:
                named = read_as(Series, series)
            except TraceError:
                return
            if len(self._drawn) >= MAX_SERIES:
                return
            drawn = self._drawn[series] = (named, Envelope())
        numbers = np.array(values, np.float64)
        numbers[~((numbers >= 0.0) & (numbers <= largest(drawn[0].metric)))] = np.nan
        with contextlib.suppress(ValueError):  # "1-2" has the form of a number and is none
            drawn[1].add(times, numbers)

    def _note(self, event: Event) -> None:
        self._seq = max(self._seq, event.seq)
        self._time_s = max(self._time_s, event.t_s)

    def _mark(self, line: bytes) -> None:
        try:
            event = event_from_json(line)
        except TraceError:
            return
        self._note(event)
        if isinstance(event, SamplesTaken | SessionStarted | SessionFinished):
            return
        what = type(event).__name__
        kept = self._marks.setdefault(what, deque(maxlen=_KEPT.get(what, MARKS)))
        kept.append((event.seq, line.decode()))


def _by_series(
    found: Sequence[tuple[bytes, bytes, bytes]],
) -> list[tuple[bytes, Sequence[bytes], Sequence[bytes]]]:
    """Return (series, texts of its times, texts of its values).

    A source reads the same series in the same order each time, as a rule: then they are every so
    manieth, and no loop of Python's goes over them.
    """
    if not found:
        return []
    series, times, values = zip(*found, strict=True)
    kinds = list(dict.fromkeys(series))
    step = len(kinds)
    each, rest = divmod(len(series), step)
    if not rest and all(series[n::step].count(one) == each for n, one in enumerate(kinds)):
        return [(one, times[n::step], values[n::step]) for n, one in enumerate(kinds)]
    texts: dict[bytes, tuple[list[bytes], list[bytes]]] = {one: ([], []) for one in kinds}
    for one, some_times, some_values in found:
        texts[one][0].append(some_times)
        texts[one][1].append(some_values)
    return [(one, *pair) for one, pair in texts.items()]


def _stamps(texts: Iterable[bytes]) -> list[float | bytes]:
    """Return the numbers of lists without their brackets, each as text.

    Raises:
        ValueError: They hold what is in no number.
    """
    joined = b",".join(filter(None, texts))
    if joined.translate(None, _OF_NUMBERS):
        raise ValueError
    return list(joined.split(b",")) if joined else []


def _numbers(texts: Iterable[bytes]) -> list[float]:
    """Return the numbers of lists without their brackets; null is NaN.

    Raises:
        ValueError: One of them is not a number.
    """
    joined = b",".join(filter(None, texts))
    if joined.translate(None, _OF_NUMBERS + b"nul"):
        raise ValueError
    joined = joined.replace(b"null", b"NaN")
    found: list[float] = json.loads(b"[" + joined + b"]", parse_int=float)
    return found
