"""Sources that measure nothing now and say so: a recorded trace, and made-up training runs."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import SourceUnavailable, TraceError, UnknownName
from jupyter_gpupredict.core.series import (
    Batch,
    Device,
    Readings,
    ReadOptions,
    Series,
    Share,
    SourceInfo,
    SourceOptions,
)
from jupyter_gpupredict.sources.reading import open_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.protocols import Clock
    from jupyter_gpupredict.sources.recording import Trace

PERIOD_S = 0.1
UUID = "GPU-00000000-0000-0000-0000-5e7e00000000"
TOTAL_BYTES = 24 << 30
SHARE, MEMORY = Series("gpu_util_ratio", UUID), Series("memory_used_bytes", UUID)
LEAD_IN_S = 1.0
"""Leading idle, as real runs have it."""
MOST_ROWS = 100_000
"""In one read: a recording may be longer than memory."""
SCENARIOS: dict[str, tuple[Callable[[float], float], float]] = {
    "steady": (lambda t_s: 0.80, 0.02),
    "step": (lambda t_s: 0.40 if t_s < 30.0 else 0.90, 0.02),
    "bursts": (lambda t_s: 0.95 if t_s % 4.0 < 2.5 else 0.10, 0.05),
    "epochs": (
        lambda t_s: 0.85 if t_s % 10.0 < 8.0 else 0.35,
        0.03,
    ),  # 8 s training, 2 s validation
}
"""Name -> (utilization at a time, half-width of the noise)."""


class SyntheticSource:
    """Readings from a scenario and a seed, 10 a second by default; the same for the same clock."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._scenario = options.scenario
        self._period_s = options.interval_s or PERIOD_S
        self._clock = clock
        self._noise = random.Random(options.seed)
        self._start_s = self._next_s = 0.0

    def open(self) -> SourceInfo:
        """Start the scenario now; raises `UnknownName` where there is none of that name."""
        if self._scenario not in SCENARIOS:
            raise UnknownName("scenario", self._scenario, SCENARIOS)
        self._start_s = self._clock.monotonic_s()
        self._next_s = self._start_s + self._period_s
        return SourceInfo(
            source="synthetic",
            devices=(Device(UUID, "synthetic GPU", 0, TOTAL_BYTES),),
            series=(SHARE, MEMORY),
            share=SHARE,
            memory=MEMORY,
            period_s=self._period_s,
            simulated=True,
            origin=f"scenario {self._scenario}",
        )

    def read(self, *, slow: bool) -> Batch:
        """Return the readings that fell due since the last call."""
        now_s = self._clock.monotonic_s()
        due: list[tuple[float, float, float]] = []
        while self._next_s <= now_s:
            t_s = self._next_s - self._start_s
            due.append((self._next_s, self._value(t_s), float(min(6, 2 + t_s) * (1 << 30))))
            self._next_s += self._period_s
        if not due:
            return Batch()
        times_s, values, memory = zip(*due, strict=True)
        return Batch((Readings(SHARE, times_s, values), Readings(MEMORY, times_s, memory)))

    def close(self) -> None:
        """Nothing is held."""

    def _value(self, t_s: float) -> float:
        if t_s < LEAD_IN_S:
            return 0.0
        level, noise = SCENARIOS[self._scenario]
        value = level(t_s - LEAD_IN_S) + self._noise.uniform(-noise, noise)
        return round(min(1.0, max(0.0, value)), 2)


class ReplaySource:
    """Plays the readings of a trace file, at their own pace or faster.

    Times are the trace's own, from the start of the replay: a fast one gives the run's figures.
    """

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._path, self._device = options.path or "", options.device
        self._speed = 1.0 if options.speed is None else options.speed
        self._clock = clock
        self._trace: Trace | None = None
        self._start_s = 0.0
        self._row = self._mark = 0
        """The next row and mark to play."""
        self._idle: tuple[int, int] | None = None
        """Columns of a share while busy and of the time it was busy."""

    def open(self) -> SourceInfo:
        """Read the trace; raises `SourceUnavailable` where the file holds none."""
        try:
            trace = open_trace(self._path, ReadOptions(device=self._device))
        except TraceError as error:
            raise SourceUnavailable(error.message, error.hint, "no_data_yet") from error
        self._trace, self._row, self._mark = trace, 0, 0
        self._start_s = self._clock.monotonic_s()
        share, memory = trace.share_series(), trace.memory_series()
        duty = trace.duty_series(share)
        self._idle = None if duty is None else (trace.series.index(share), trace.series.index(duty))
        return SourceInfo(
            source="replay",
            devices=trace.devices,
            series=trace.series,
            share=share,
            memory=memory,
            period_s=trace.period_s(share),
            duty=duty,
            also=() if duty is None else (Share(duty, memory=memory),),
            simulated=True,
            origin=trace.origin,
            brings_progress=True,
            notes=(f"replaying {trace.name}", *trace.notes),
        )

    def read(self, *, slow: bool) -> Batch:
        """Return the readings and marks that the trace's time has reached."""
        trace = self._trace
        if trace is None:
            return Batch()
        elapsed_s = self._clock.monotonic_s() - self._start_s
        reached_s = math.inf if self._speed == 0.0 else elapsed_s * self._speed
        first, rows = self._row, trace.rows
        end = min(len(rows), first + MOST_ROWS)
        self._row = bisect_right(rows, reached_s, first, end, key=lambda row: row[0])
        if self._row - first == MOST_ROWS:
            reached_s = rows[self._row - 1][0]  # the rest has its turn
        due = rows[first : self._row]
        readings = []
        for column, series in enumerate(trace.series):
            taken = [(t, v) for t, values in due if (v := self._value(values, column)) is not None]
            if taken:
                times_s = tuple(self._start_s + max(1e-6, t) for t, _ in taken)
                readings.append(Readings(series, times_s, tuple(v for _, v in taken)))
        marks, mark = trace.marks, self._mark
        self._mark = bisect_right(marks, reached_s, mark, key=lambda one: one.time_s)
        marks = tuple(
            replace(one, time_s=self._start_s + one.time_s) for one in marks[mark : self._mark]
        )
        return Batch(tuple(readings), exhausted=self._row == len(rows), marks=marks)

    def close(self) -> None:
        """Forget the trace."""
        self._trace = None

    def _value(self, values: tuple[float | None, ...], column: int) -> float | None:
        """Return a cell; NaN for a share while busy at a time that is known to be idle."""
        value = values[column]
        if value is None and self._idle is not None and column == self._idle[0]:
            return None if values[self._idle[1]] is None else math.nan
        return value
