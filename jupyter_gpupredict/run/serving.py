"""What the server shows: the stored and live runs, the machine's devices, its MPS daemon."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from jupyter_gpupredict import registry
from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import TraceError, UnknownName
from jupyter_gpupredict.core.events import SamplesTaken
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.run import RunFold
from jupyter_gpupredict.core.trace import event_from_json
from jupyter_gpupredict.run.stored import build_store, verified_of, with_verified

if TYPE_CHECKING:
    from jupyter_gpupredict.core.events import SessionStarted
    from jupyter_gpupredict.core.protocols import DeviceWatch
    from jupyter_gpupredict.core.run import Ends, Run
    from jupyter_gpupredict.core.share import Verified
    from jupyter_gpupredict.core.summary import Cursor, News, Page, Summary
    from jupyter_gpupredict.run.picture import Drawing, Pictures

SEARCH_S = 1.0
NEWEST_EVENTS = 40
DRAW_S = 0.2
"""Seconds a first reading of a long trace may take before a part of it is shown."""


class Runs:
    """The runs of this user. Each group of methods is one thread's at a time."""

    def __init__(self) -> None:
        self._store = build_store()
        self.renew()

    def renew(self) -> None:
        """Begin anew with what is kept in memory: an abandoned thread may be amid the old."""
        from jupyter_gpupredict.run.catalog import Catalog
        from jupyter_gpupredict.run.feed import Feed

        self._catalog = Catalog(self._store)
        self._feed = Feed(self._store, self._catalog)
        self._pictures: Pictures | None = None

    @staticmethod
    def stuck() -> list[str]:
        """Return the names of the files that do not answer."""
        return files.stuck()

    # ---- lists and news -----------------------------------------------------------------------

    def page(self, limit: int, before: str | None, words: tuple[str, ...]) -> Page:
        """Return the newest runs that hold all the words; a long search stops after a second."""
        return self._catalog.page(limit, before, words, SEARCH_S)

    def current(self, limit: int, ended_s: float) -> list[tuple[Summary, float]]:
        """Return live runs and those that ended so lately, with the newest reading of the share.

        Args:
            limit: Newest runs to look at.
            ended_s: Seconds since the end.

        Returns:
            (run, ratio) pairs, newest first; NaN where there is no reading, or no live one.
        """
        now_s = SystemClock().wall().timestamp()
        found = []
        for run in self.page(limit, None, ()).found:
            if run.outcome == "running":
                found.append((run, self._newest(run)))
            elif now_s - _ended_s(run) <= ended_s:
                found.append((run, math.nan))
        return found

    def _newest(self, run: Summary) -> float:
        """Return the last reading of the share in the newest events of a trace."""
        from jupyter_gpupredict.run.tail import Tail

        tail = Tail(self._store.path(run.session_id))
        tail.look()
        lines, _ = tail.after(max(-1, tail.last_seq - NEWEST_EVENTS), NEWEST_EVENTS)
        devices = {uuid for uuid, _ in run.devices}
        for _, line in reversed(lines):
            event = event_from_json(line)
            if isinstance(event, SamplesTaken):
                for readings in event.readings:
                    if readings.series.metric == run.metric and readings.series.device in devices:
                        return readings.values[-1]
        return math.nan

    def summary(self, session_id: str) -> Summary:
        """Return one run.

        Raises:
            UnknownName: There is no such run.
            TraceError: It cannot be read.
        """
        return self._catalog.summary(session_id)

    def of_kernel(self, kernel_id: str) -> list[str]:
        """Return the ids of a kernel's runs, newest first."""
        return self._catalog.of_kernel(kernel_id)

    def first(self, kernel_id: str) -> News:
        """Return the newest runs of a kernel without events, and where to begin."""
        return self._feed.first(kernel_id)

    def news(self, kernel_id: str, cursor: Cursor, limit: int) -> News:
        """Return what is new to someone who knows the cursor; at most so many events."""
        return self._feed.news(kernel_id, cursor, limit)

    def stop(self, session_id: str) -> None:
        """End the measuring of a live run; its cell goes on."""
        self._store.request_stop(session_id)

    def stop_requested(self, session_id: str) -> bool:
        """Return whether that was asked for."""
        return self._store.stop_requested(session_id)

    # ---- one run, at length -------------------------------------------------------------------

    def draw(self, session_id: str, width: int) -> Drawing:
        """Return a run's series in at most `width` rows each, as far as time allows.

        Raises:
            UnknownName: There is no such run.
        """
        from jupyter_gpupredict.run.picture import Pictures  # numpy: not before it is needed

        if self._pictures is None:
            self._pictures = Pictures(self._store)
        return self._pictures.draw(session_id, width, DRAW_S)

    def ends(self, session_id: str) -> Ends:
        """Return the first event of a trace, and the last that holds a recommendation.

        Raises:
            UnknownName: There is no such run.
            TraceError: It has no beginning that can be read.
        """
        try:
            return self._store.ends(session_id)
        except FileNotFoundError as error:
            raise UnknownName("session", session_id, ["last"]) from error

    def verified(self, started: SessionStarted) -> Verified | None:
        """Return the share that was verified of a run; None: none."""
        return verified_of(started)

    def run(self, session_id: str, outcome: str) -> Run:
        """Return a run with its figures and without its readings: what an export needs.

        Args:
            session_id: The run's id.
            outcome: As its summary says.

        Raises:
            UnknownName: There is no such run.
            TraceError: Its end is damaged, or it has no beginning that can be read.
        """
        ends = self.ends(session_id)
        if ends.problem:
            raise TraceError(ends.problem, "the others are not harmed")
        folded = RunFold()
        for event in (ends.started, ends.newest):
            if event is not None:
                folded.add(event)
        return with_verified(folded.record(live=outcome == "running"))


def _ended_s(run: Summary) -> float:
    """Return when a run ended, seconds since 1970; minus infinity where that is not known."""
    try:
        return datetime.fromisoformat(run.started_at).timestamp() + run.duration_s
    except (ValueError, OverflowError):
        return -math.inf


def device_watch() -> DeviceWatch:
    """Return what sees all devices of this machine; nothing is opened yet."""
    made: DeviceWatch = registry.load("watches", "nvml")()
    return made
