"""A recording: what replay, prediction and backtests read, whatever wrote it.

Its rows and marks are held in memory while they are few, else in files.
"""

from __future__ import annotations

import heapq
import math
import mmap
import struct
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import IO, TYPE_CHECKING, TypeVar, overload

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.core.metrics import BY_CSV, METRICS
from jupyter_gpupredict.core.progress import Mark, Phase, Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import ArrayLike

    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.series import Device, Series
    from jupyter_gpupredict.predict.geometry import Geometry

_One = TypeVar("_One")
Row = tuple[float, tuple[float | None, ...]]
"""(time_s, one value for each series); None where nothing was recorded."""
HELD_BYTES = 8 << 20
"""So much is kept in memory: some 200,000 rows of four series."""
PIECE_ROWS = 50_000
"""So many are sorted at once."""
OUT_OF_RANGE = "{} values out of range are taken as missing"
_SHARE_ORDER = (
    "gpu_util_ratio", "gr_active_ratio", "sm_active_ratio", "breadth_ratio", "cpu_util_ratio",
)  # fmt: skip
_MEMORY_ORDER = ("process_memory_used_bytes", "memory_used_bytes", "rss_bytes")
WORDS_CHARACTERS = 1 << 20
"""Of all the different names of phases and hints in one recording."""
_UNITS: tuple[Unit, ...] = ("epoch", "step")
_PHASE = len(_UNITS)


@dataclass(frozen=True, slots=True)
class Trace:
    """A recording: one row for each time."""

    name: str
    rows: Sequence[Row]
    series: tuple[Series, ...]
    devices: tuple[Device, ...]
    origin: str
    """What made the recording: a source's name, `csv` or `nvidia-smi`."""
    notes: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    """`# key=value` lines of a CSV."""
    main: Series | None = None
    """The share that the run itself predicted, where it is one of our own traces."""
    marks: Sequence[Mark] = ()
    """What was recorded of epochs, steps and phases, oldest first."""
    geometry: Mapping[str, Geometry] = field(default_factory=dict)
    """Device -> how its kernels fill its SMs, where the recording holds them."""

    others: tuple[Trace, ...] = ()
    """Of a log with a row for each device: the other devices', by their own times."""

    @property
    def choices(self) -> tuple[Device, ...]:
        """The devices that a share was recorded of; what is predicted by itself first."""
        shared = {one.device for one in self.series if METRICS[one.metric].basis is not None}
        here = self.main.device if self.main is not None else ""
        held = sorted(self.devices, key=lambda one: one.uuid != here)
        first = tuple(one for one in held if one.uuid in shared)
        return first + tuple(one for other in self.others for one in other.devices)

    def alone(self, device: Device) -> Trace:
        """Return the recording of one of the choices."""
        for other in self.others:
            if device in other.devices:
                return other
        kept = [at for at, one in enumerate(self.series) if one.device == device.uuid]
        if len(kept) == len(self.series):
            return replace(self, others=())
        series = tuple(self.series[at] for at in kept)
        cells = ((time_s, [values[at] for at in kept]) for time_s, values in self.rows)
        rows = ((time_s, row) for time_s, row in cells if any(one is not None for one in row))
        return replace(
            self,
            devices=(device,),
            series=series,
            rows=Rows(len(series), rows),
            main=self.main if self.main in series else None,
            geometry={uuid: one for uuid, one in self.geometry.items() if uuid == device.uuid},
        )

    def share_series(self, metric: str | None = None) -> Series:
        """Return the series to predict the share from.

        Args:
            metric: A metric, by our name or the CSV's; None for the trace's best.

        Raises:
            Malformed: The trace does not hold it.
        """
        if metric is None and self.main in self.series and self.main is not None:
            return self.main
        for wanted in [metric] if metric else _SHARE_ORDER:
            name = BY_CSV[wanted].name if wanted in BY_CSV else wanted
            for one in self.series:
                if one.metric == name and METRICS[name].basis is not None:
                    return one
        held = ", ".join(METRICS[one.metric].csv for one in self.series) or "nothing"
        raise Malformed(f"{self.name} holds no {metric or 'share of a device'}", f"it holds {held}")

    def duty_series(self, share: Series) -> Series | None:
        """Return the series that weighs a share while busy; None for a share of all time."""
        if share.metric != "breadth_ratio":
            return None
        duty = replace(share, metric="gr_active_ratio")
        return duty if duty in self.series else None

    def memory_series(self) -> Series | None:
        """Return the series to predict memory from, if there is one."""
        here = self.main.device if self.main is not None else None
        by_name = {one.metric: one for one in self.series if here in (None, one.device)}
        return next((by_name[name] for name in _MEMORY_ORDER if name in by_name), None)

    def noted(self, *notes: str) -> Trace:
        """Return it with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def points(self, series: Series) -> Iterator[tuple[float, float]]:
        """Yield (time_s, value) of one series where there is a value."""
        column = self.series.index(series)
        for time_s, values in self.rows:
            value = values[column]
            if value is not None:
                yield time_s, value

    def period_s(self, series: Series) -> float:
        """Return the median gap of the first minute, or ten first gaps; at least 0.01 s."""
        times_s: list[float] = []
        for time_s, _ in self.points(series):
            if times_s and time_s - times_s[0] > 60.0 and len(times_s) > 10:
                break
            times_s.append(time_s)
        gaps = sorted(b - a for a, b in pairwise(times_s))
        return max(0.01, gaps[len(gaps) // 2]) if gaps else 1.0


class _Held(Sequence[_One]):
    """A sequence whose parts are made when they are asked for."""

    __hash__ = None  # type: ignore[assignment]  # it grows

    @overload
    def __getitem__(self, at: int) -> _One: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[_One, ...]: ...
    def __getitem__(self, at: int | slice) -> _One | tuple[_One, ...]:
        """Return one, or some."""
        if isinstance(at, slice):
            return tuple(self._one(k) for k in range(*at.indices(len(self))))
        number = at + len(self) if at < 0 else at
        if not 0 <= number < len(self):
            raise IndexError(at)
        return self._one(number)

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same in it."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def _one(self, number: int) -> _One:
        raise NotImplementedError


class Rows(_Held[Row]):
    """Rows in the order in which they were appended, 8 bytes a cell.

    A file without a name holds what is beyond `HELD_BYTES`; it is gone with the last use of it.

    >>> rows = Rows(1, [(0.5, (1.0,)), (1.0, (None,))])
    >>> rows[-1], len(rows)
    ((1.0, (None,)), 2)
    """

    def __init__(
        self, width: int, rows: Iterable[tuple[float, Iterable[float | None]]] = ()
    ) -> None:
        self._row = struct.Struct(f"={1 + width}d")
        self._count = 0
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self._mapped: mmap.mmap | None = None
        for time_s, values in rows:
            self.append(time_s, values)

    def append(self, time_s: float, values: Iterable[float | None]) -> None:
        """Add a row; None is kept as such, and no value is NaN."""
        self._held += self._row.pack(time_s, *(math.nan if v is None else v for v in values))
        self._count += 1
        if len(self._held) > HELD_BYTES:
            self._spill()

    def extend(self, times_s: ArrayLike, columns: Sequence[ArrayLike]) -> None:
        """Add rows, their values by column; NaN where there is none."""
        import numpy as np  # a recording in our own columns does without

        self._held += np.array((times_s, *columns)).T.tobytes()
        self._count += np.size(times_s)
        if len(self._held) > HELD_BYTES:
            self._spill()

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def __iter__(self) -> Iterator[Row]:
        """Yield them all."""
        return map(_as_row, self._row.iter_unpack(self._bytes()))

    def __reduce__(self) -> tuple[type[Rows], tuple[int, tuple[Row, ...]]]:
        """Go to another process whole."""
        return Rows, (self._row.size // 8 - 1, tuple(self))

    def _one(self, number: int) -> Row:
        return _as_row(self._row.unpack_from(self._bytes(), number * self._row.size))

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="gpupredict-")  # noqa: SIM115 - see below
            weakref.finalize(self, self._file.close)
        self._file.seek(0, 2)
        self._file.write(self._held)
        self._held.clear()
        self._mapped = None

    def _bytes(self) -> bytearray | mmap.mmap:
        if self._file is None:
            return self._held
        if self._held:
            self._spill()
        if self._mapped is None:
            self._file.flush()
            self._mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._mapped


class Unsorted:
    """Rows that come in any order, in the order of their times; equal ones as they came.

    What is appended is sorted in pieces, which are merged when it is read.
    """

    def __init__(self, width: int) -> None:
        self._rows = Rows(width)
        self._ends = [0]
        self._piece: list[Row] = []

    def append(self, time_s: float, values: tuple[float | None, ...]) -> None:
        """Add a row, as `Rows` does."""
        self._piece.append((time_s, values))
        if len(self._piece) >= PIECE_ROWS:
            self._sort()

    def __iter__(self) -> Iterator[Row]:
        """Yield them all."""
        self._sort()
        return heapq.merge(*map(self._between, self._ends, self._ends[1:]), key=_time_s)

    def _sort(self) -> None:
        for row in sorted(self._piece, key=_time_s):
            self._rows.append(*row)
        self._piece.clear()
        self._ends.append(len(self._rows))

    def _between(self, first: int, end: int) -> Iterator[Row]:
        return (self._rows[number] for number in range(first, end))


def _time_s(row: Row) -> float:
    return row[0]


def _as_row(cells: tuple[float, ...]) -> Row:
    time_s, *values = cells
    return time_s, tuple(None if value != value else value for value in values)  # noqa: PLR0124


class Marks(_Held[Mark]):
    """Marks in the order in which they were appended."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows = Rows(5)
        """(time_s, (unit or phase, its name, done, total, hint)), words as their numbers."""
        self._words: dict[str, int] = {}
        self._texts: list[str] = []
        self._characters = 0
        self._rising = True

    def append(self, mark: Mark) -> None:
        """Add one.

        Raises:
            Malformed: It brings more different names than any run has.
        """
        if self._rows and mark.time_s < self._rows[-1][0]:
            self._rising = False
        cells: tuple[float | None, ...]
        if isinstance(mark, Phase):
            cells = (_PHASE, self._word(mark.name), None, None, self._word(mark.hint))
        else:
            unit, hint = _UNITS.index(mark.unit), self._word(mark.hint)
            cells = (unit, None, mark.done, mark.total, hint)
        self._rows.append(mark.time_s, cells)

    def in_order(self) -> Marks:
        """Return them in the order of their times, equal ones as they came."""
        if not self._rising:
            every = Unsorted(5)
            for time_s, cells in self._rows:
                every.append(time_s, cells)
            self._rows, self._rising = Rows(5, every), True
        return self

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._rows)

    def _word(self, text: str) -> int:
        number = self._words.get(text)
        if number is None:
            self._characters += len(text)
            if self._characters > WORDS_CHARACTERS:
                raise Malformed(f"{self._name} names too many phases", "no run has as many")
            number = self._words[text] = len(self._texts)
            self._texts.append(text)
        return number

    def _one(self, number: int) -> Mark:
        time_s, (kind, word, done, total, hint) = self._rows[number]
        by = self._texts[int(hint or 0)]
        if kind == _PHASE:
            return Phase(time_s, self._texts[int(word or 0)], by)
        return Progress(time_s, _UNITS[int(kind or 0)], done or 0.0, total, by)
