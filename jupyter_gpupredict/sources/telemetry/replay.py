"""A recorded trace, played at its own pace or faster, always labelled as a replay."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import SourceUnavailable, TraceError
from jupyter_gpupredict.core.series import Batch, Readings, Share, SourceInfo, SourceOptions
from jupyter_gpupredict.core.tracefile import open_trace

if TYPE_CHECKING:
    from jupyter_gpupredict.core.clock import Clock
    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.recording import Trace


MOST_ROWS = 100_000
"""In one read: a recording may be longer than memory."""


class ReplaySource:
    """Plays the readings of a trace file.

    Times are the trace's own, counted from the start of the replay, so that a fast replay gives the
    figures that the run gave.
    """

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._trace: Trace | None = None
        self._start_s = 0.0
        self._position = 0
        self._told = 0
        self._idle: tuple[int, int] | None = None
        """Columns of a share while busy and of the time it was busy."""

    def open(self) -> SourceInfo:
        """Read the trace.

        Raises:
            SourceUnavailable: The file cannot be read or holds no trace.
        """
        try:
            trace = open_trace(self._options.path or "")
        except TraceError as error:
            raise SourceUnavailable(error.message, error.hint, "no_data_yet") from error
        self._trace, self._position, self._told = trace, 0, 0
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
        """Return the readings that the trace's time has reached."""
        trace = self._trace
        if trace is None:
            return Batch()
        speed = 1.0 if self._options.speed is None else self._options.speed
        elapsed_s = self._clock.monotonic_s() - self._start_s
        reached_s = float("inf") if speed == 0.0 else elapsed_s * speed
        first, rows = self._position, trace.rows
        end = min(len(rows), first + MOST_ROWS)
        while self._position < end and rows[self._position][0] <= reached_s:
            self._position += 1
        if self._position - first == MOST_ROWS:
            reached_s = rows[self._position - 1][0]  # the rest has its turn
        due = rows[first : self._position]
        readings = []
        for column, series in enumerate(trace.series):
            taken = [(t, v) for t, values in due if (v := self._value(values, column)) is not None]
            if taken:
                times_s = tuple(self._start_s + max(1e-6, t) for t, _ in taken)
                readings.append(Readings(series, times_s, tuple(v for _, v in taken)))
        return Batch(
            tuple(readings), exhausted=self._position == len(rows), marks=self._due(reached_s)
        )

    def _value(self, values: tuple[float | None, ...], column: int) -> float | None:
        """Return a cell; NaN for a share while busy at a time that is known to be idle."""
        value = values[column]
        if value is None and self._idle is not None and column == self._idle[0]:
            return None if values[self._idle[1]] is None else math.nan
        return value

    def _due(self, reached_s: float) -> tuple[Mark, ...]:
        marks = self._trace.marks if self._trace else ()
        first = self._told
        while self._told < len(marks) and marks[self._told].time_s <= reached_s:
            self._told += 1
        return tuple(
            replace(mark, time_s=self._start_s + mark.time_s) for mark in marks[first : self._told]
        )

    def close(self) -> None:
        """Forget the trace."""
        self._trace = None
