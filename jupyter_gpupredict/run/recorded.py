"""A recording kept as a run: its readings and what a rule says of them, in the session store."""

from __future__ import annotations

import io
import os
import platform
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, cast

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.errors import InvalidOption, Malformed
from jupyter_gpupredict.core.options import check
from jupyter_gpupredict.core.progress import Phase
from jupyter_gpupredict.core.series import Readings
from jupyter_gpupredict.run.adapters import make_mix, make_rule
from jupyter_gpupredict.run.options import SessionConfig
from jupyter_gpupredict.run.recordings import recommended, source_info, steps
from jupyter_gpupredict.run.store import Recorder, build_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.recording import Row, Trace

MOST_READINGS = 10_000
"""In one event: lines of the store are bounded."""


def keep_recordings(
    file: BinaryIO, name: str, options: ReadOptions, limit_s: float
) -> tuple[str, ...]:
    """Keep each device's recording in a file as a run of its own, and return their ids.

    Args:
        file: The recording, at its beginning.
        name: What the runs are called.
        options: What it does not say, and which devices are asked for.
        limit_s: Reading and predicting that take longer are given up.

    Raises:
        TraceError: It cannot be read, in one clear line, or not in time.
        InvalidOption: It holds no such device, an option is wrong, or the store takes no run.
    """
    from jupyter_gpupredict.sources.reading import read_traces

    check(options)
    until = _Until(limit_s)
    raw = io.BufferedReader(_Timed(file, until))
    kept: list[str] = []
    store = build_store()
    try:
        for trace in read_traces(cast("BinaryIO", raw), name, options):
            store.prepare()
            session_id = store.new_id(datetime.now(UTC))
            recorder = Recorder(store.path(session_id))
            kept.append(session_id)
            try:
                for some in _in_pieces(_events(trace, session_id, options.speed)):
                    recorder.deliver(some)
                    until.check()
            finally:
                recorder.close()
            store.labels.put(session_id, {"name": name})
    except BaseException as error:
        for session_id in kept:
            store.delete(session_id)
        if isinstance(error, OSError):
            hint = "is its disk full?"
            raise InvalidOption(f"it cannot be kept as a run: {error.strerror}", hint) from error
        raise
    return tuple(kept)


class _Until:
    """A time by which something is to be done."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._end_s = time.monotonic() + limit_s

    def check(self) -> None:
        """Raise `Malformed` once it is over."""
        if time.monotonic() > self._end_s:
            raise Malformed(
                f"it is so long that reading it takes more than {self._limit_s:g} s",
                "`jupyter gpupredict predict FILE` in a terminal takes its time",
            )


class _Timed(io.RawIOBase):
    """A file that is read until a time."""

    def __init__(self, file: BinaryIO, until: _Until) -> None:
        self._file, self._until = file, until

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        self._until.check()
        found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def _in_pieces(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Yield numbered events, some at a time."""
    numbered = (replace(event, seq=number) for number, event in enumerate(events))
    while some := list(islice(numbered, 8)):
        yield some


def _events(trace: Trace, session_id: str, speed: float) -> Iterator[Event]:
    """Yield the events of a run that had a recording's readings; their numbers come later."""
    from jupyter_gpupredict.run.analysis import Analysis

    info, config = source_info(trace), SessionConfig()
    period_s = info.period_s
    analysis = Analysis(
        info,
        partial(make_rule, config, period_s),
        partial(make_mix, config, period_s),
        config.coverage,
    )
    yield ev.SessionStarted(
        seq=-1,
        t_s=0.0,
        session_id=session_id,
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        source=info.source,
        simulated=info.simulated,
        share=info.share,
        memory=info.memory,
        period_s=period_s,
        devices=info.devices,
        series=info.series,
        config={"rule": config.rule},
        versions={"jupyter_gpupredict": __version__},
        notes=trace.notes,
        origin=info.origin,
        host=platform.node(),
        pid=os.getpid(),
    )
    held: list[Row] = []
    found: list[Event] = []
    samples = 0
    most = max(1, MOST_READINGS // max(1, len(trace.series)))
    share = trace.series.index(info.share)
    walked = steps(analysis, trace, info, trace.marks)
    for row, (_, marks, changes) in zip(trace.rows, walked, strict=True):
        held.append(row)
        samples += row[1][share] is not None
        found += (*map(_marked, marks), *changes)
        if len(held) >= most:
            yield _samples(trace, held)
            yield from found
            held, found = [], []
    if held:
        yield _samples(trace, held)
    last_s = trace.rows[-1][0]
    yield from (*found, *analysis.finish())
    final = recommended(analysis, trace, speed)
    yield ev.RecommendationUpdated(-1, last_s, final)
    yield ev.SessionFinished(-1, last_s, "completed", final, samples, last_s, 0.0)


def _samples(trace: Trace, rows: Sequence[Row]) -> ev.SamplesTaken:
    """Return rows as an event, without what was not recorded."""
    readings = []
    for column, series in enumerate(trace.series):
        taken = [(time_s, row[column]) for time_s, row in rows]
        known = [(time_s, value) for time_s, value in taken if value is not None]
        if known:
            times_s, values = zip(*known, strict=True)
            readings.append(Readings(series, times_s, values))
    return ev.SamplesTaken(-1, rows[-1][0], tuple(readings))


def _marked(mark: Mark) -> Event:
    if isinstance(mark, Phase):
        return ev.PhaseEntered(-1, mark.time_s, mark.name, mark.hint)
    return ev.ProgressMade(-1, mark.time_s, mark.unit, mark.done, mark.total, mark.hint)
