"""The stored and live runs of a user as the server shows them.

What is known of them is kept in memory by name, size and time of change. No index lies on disk: the
traces are the only record.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import NoAnswer, TraceError, Truncated, UnknownName
from jupyter_gpupredict.core.events import SamplesTaken
from jupyter_gpupredict.core.summary import (
    News,
    Page,
    Place,
    RunNews,
    Summary,
    answered,
    began_s,
    cut,
    damaged,
    run_of,
    summarise,
)
from jupyter_gpupredict.core.trace import event_from_json
from jupyter_gpupredict.run.sidecars import PLAIN, Label
from jupyter_gpupredict.run.store import build_store, with_verified
from jupyter_gpupredict.run.tail import Followed, Tail, advises, is_alive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.run import Ends, Run
    from jupyter_gpupredict.core.summary import Cursor
    from jupyter_gpupredict.run.picture import Drawing, TracePicture
    from jupyter_gpupredict.run.store import Store

_Value = TypeVar("_Value")

LOOK_AT = 500
"""Newest traces in which a kernel's runs are looked for the first time."""
FRESH_S = 0.1
"""A directory changed so lately may change again without a new stamp."""
STARTING_S = 10.0
"""A trace changed so lately may be without its first line: its writer is in the middle of it."""
MAX_RUNS = 20
"""Runs in one reply."""
MAX_TAILS = 64
MAX_PICTURES = 12
LATE_S = 10.0
"""A trace may appear so long after a later run's: its source took that long to open."""
SEARCH_S = 1.0
NEWEST_EVENTS = 40
DRAW_S = 0.2
"""Seconds a first reading of a long trace may take before a part of it is shown."""


@dataclass(slots=True)
class _Entry:
    """What one trace said when it had this size."""

    size: int
    changed_ns: int
    summary: Summary
    text: str
    ends: Ends | None = None
    """Kept of a run without an end: what it is called depends on whether it still runs."""

    @property
    def damaged(self) -> bool:
        """Whether it has no beginning that can be read."""
        return not self.summary.metric


class Runs:
    """The stored and live runs of a user. Each group of methods is one thread's at a time."""

    def __init__(
        self, store: Store | None = None, is_alive: Callable[[str, int, float], bool] = is_alive
    ) -> None:
        self._store = store or build_store()
        self._is_alive = is_alive
        self.renew()

    def renew(self) -> None:
        """Forget what is kept in memory: an abandoned thread may be amid it."""
        self._ids: list[str] = []
        self._changed_ns = -1
        self._entries: dict[str, _Entry] = {}
        self._found: dict[str, tuple[list[str], list[str]]] = {}
        """Kernel id -> (all ids as they were, those of the kernel)."""
        self._followed: OrderedDict[str, Followed] = OrderedDict()
        self._pictures: OrderedDict[str, TracePicture] = OrderedDict()

    @staticmethod
    def stuck() -> list[str]:
        """Return the names of the files that do not answer."""
        return files.stuck()

    # ---- lists and news -----------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Return all session ids, newest first; the directory is read only when it changed.

        Raises:
            NoAnswer: The disk does not answer.
        """
        try:
            changed_ns = files.changed_ns(self._store.root)
        except OSError:
            changed_ns = -1
        if changed_ns == self._changed_ns != -1:
            return self._ids
        self._ids = self._store.ids()
        settled = time.time() - changed_ns / 1e9 > FRESH_S
        self._changed_ns = changed_ns if settled else -1
        if len(self._entries) > len(self._ids):
            there = set(self._ids)
            self._entries = {k: v for k, v in tuple(self._entries.items()) if k in there}
        return self._ids

    def summary(self, session_id: str) -> Summary:
        """Return one run's summary as it is now.

        Raises:
            UnknownName: There is no such run.
            TraceError: It has no beginning that can be read.
        """
        entry = self._look(session_id)
        if entry is None:
            raise UnknownName("session", session_id, self.ids()[:5])
        if entry.damaged:
            raise TraceError(entry.summary.problem, "the others are not harmed")
        label = self._store.labels.all().get(session_id, PLAIN)
        return labelled(self._with_outcome(entry), label)

    def page(
        self,
        limit: int,
        before: str | None,
        words: Sequence[str] = (),
        limit_s: float = SEARCH_S,
        order: str = "when",
        word: str = "",
    ) -> Page:
        """Return some of the runs that hold all the words, in one of `ORDERS`.

        Args:
            limit: How many.
            before: Only those that come after this one in that order.
            words: What to look for, in lower case; none: every run.
            limit_s: A search that takes longer stops where it is.
            order: In any but `when` all runs are looked at first.
            word: The word of their answer; empty: any.
        """
        ids = self.ids()
        labels = self._store.labels.all()
        until_s = time.monotonic() + limit_s
        found: list[Summary] = []
        ordered, searched = order != "when", 0
        whole = bool(words or word or ordered)
        for session_id in ids:
            if before is not None and session_id >= before and not ordered:
                searched += 1
                continue
            if len(found) == limit and not ordered:
                return Page(tuple(found), len(ids), len(ids), found[-1].session_id)
            if whole and time.monotonic() > until_s:
                break
            searched += 1
            entry = self._entries.get(session_id) if whole else None
            if entry is None or entry.damaged or not entry.summary.over:  # nothing follows an end
                entry = self._look(session_id)
            if entry is None:
                continue
            summary = labelled(self._with_outcome(entry), labels.get(session_id, PLAIN))
            known = entry.summary.over and session_id not in labels
            text = entry.text if known or not words else summary.text()
            if all(one in text for one in words) and word in ("", summary.word):
                found.append(summary)
        some, after = cut(found, order, before, limit) if ordered else (tuple(found), None)
        return Page(some, len(ids), searched, after)

    def of_kernel(self, kernel_id: str) -> list[str]:
        """Return the ids of a kernel's runs, newest first.

        Only the newest traces are opened: nobody waits for a long history.
        """
        ids = self.ids()
        of, found = self._found.get(kernel_id, (None, []))
        if of is ids:  # nothing came or went since
            return found
        found, settled = [], True
        for number, session_id in enumerate(ids):
            entry = self._entries.get(session_id)
            if entry is None:
                if number >= LOOK_AT:
                    break
                entry = self._look(session_id)
                settled = session_id in self._entries and settled
            if entry is not None and entry.summary.kernel_id == kernel_id:
                found.append(session_id)
        if len(self._found) >= LOOK_AT:
            self._found.clear()
        if settled:
            self._found[kernel_id] = (ids, found)
        return found

    def first(self, kernel_id: str) -> News:
        """Return the newest runs of a kernel without events, and where to begin."""
        runs = [
            (followed.summary(), followed)
            for session_id in self.of_kernel(kernel_id)[:MAX_RUNS]
            if (followed := self._follow(session_id)) is not None
        ]
        begin = []
        for number, (summary, followed) in enumerate(runs):
            if number == 0 or not followed.over:
                begin.append(Place(summary.session_id, -1))
            elif began_s(summary.session_id) >= began_s(runs[0][0].session_id) - LATE_S:
                begin.append(Place(summary.session_id, followed.tail.last_seq, over=True))
        begun = tuple(RunNews(summary, (), followed.answer()) for summary, followed in runs)
        return News(begun, tuple(begin))

    def news(self, kernel_id: str, cursor: Cursor, limit: int) -> News:
        """Return at most `limit` events that are new to someone who knows the cursor."""
        ids = self.of_kernel(kernel_id)
        known = {place.run: place for place in cursor}
        newest_s = max(map(began_s, (one for one in ids if one in known)), default=0.0)
        oldest_s = newest_s - LATE_S
        wanted = [one for one in ids if one not in known and began_s(one) >= oldest_s][-MAX_RUNS:]
        wanted += [one for one in ids if one in known]
        found: list[RunNews] = []
        after: dict[str, Place] = {}
        more = False
        for session_id in reversed(wanted):  # the oldest first, should the limit be reached
            place = known.get(session_id, Place(session_id, -1))
            followed = self._follow(session_id)
            if followed is None:
                continue
            lines, rest = followed.tail.after(place.seq, limit) if limit > 0 else ([], True)
            limit -= len(lines)
            seq = lines[-1][0] if lines else place.seq
            more = more or rest
            over = followed.over and not rest
            after[session_id] = Place(session_id, seq, over)
            if lines or over != place.over or session_id not in known:
                texts = tuple(text for _, text in lines)
                answers = over != place.over or session_id not in known or any(map(advises, texts))
                found.append(
                    RunNews(followed.summary(), texts, followed.answer() if answers else None)
                )
        places = [after[one] for one in ids if one in after]
        newest_s = max((began_s(place.run) for place in places), default=0.0)
        kept = tuple(p for p in places if not p.over or began_s(p.run) >= newest_s - LATE_S)
        return News(tuple(reversed(found)), kept or cursor, more)

    def _follow(self, session_id: str) -> Followed | None:
        """Return a run after a look at it; None when it cannot be read (any more)."""
        followed = self._followed.get(session_id)
        try:
            if followed is None:
                entry = self._look(session_id)
                if entry is None or entry.damaged:
                    return None
                path = self._store.path(session_id)
                followed = Followed(entry.summary, self._store.ends(session_id), Tail(path))
            followed.look(self._is_alive)
        except (TraceError, OSError):
            self._followed.pop(session_id, None)
            return None
        _keep(self._followed, session_id, followed, MAX_TAILS)
        return followed

    def _look(self, session_id: str) -> _Entry | None:
        """Return what a trace says, read again only when it changed; None: it is not there."""
        entry, size, changed_ns = self._entries.get(session_id), -1, -1
        try:
            status = files.status_of(self._store.path(session_id))
            size, changed_ns = status.size, status.changed_ns
            if entry is not None and (entry.size, entry.changed_ns) == (size, changed_ns):
                return entry
            ends = self._store.ends(session_id)
        except FileNotFoundError:
            self._entries.pop(session_id, None)
            return None
        except TraceError as error:
            if isinstance(error, Truncated) and time.time() - changed_ns / 1e9 < STARTING_S:
                return None
            summary = damaged(session_id, str(error), max(0, size))
            entry = _Entry(size, changed_ns, summary, summary.text())
            if not isinstance(error, NoAnswer):
                self._entries[session_id] = entry
            return entry
        summary = summarise(ends, size)
        kept = None if summary.over else ends
        entry = _Entry(size, changed_ns, summary, summary.text(), kept)
        self._entries[session_id] = entry
        return entry

    def _with_outcome(self, entry: _Entry) -> Summary:
        run = entry.summary
        if run.over:
            return run
        alive = self._is_alive(run.host, run.pid, entry.changed_ns / 1e9)
        found = replace(run, outcome="running" if alive else "lost")
        return found if entry.ends is None else answered(found, entry.ends)

    def current(self, limit: int, ended_s: float) -> list[tuple[Summary, float]]:
        """Return live runs, and those that ended at most `ended_s` ago, of the newest `limit`.

        Returns:
            (run, newest reading of its share as a ratio), newest first; NaN where there is none.
        """
        found = []
        for run in self.page(limit, None).found:
            if run.outcome == "running":
                found.append((run, self._newest(run)))
            elif time.time() - _ended_s(run) <= ended_s:
                found.append((run, math.nan))
        return found

    def _newest(self, run: Summary) -> float:
        """Return the last reading of the share in the newest events of a trace."""
        followed = self._follow(run.session_id)
        if followed is None:
            return math.nan
        tail = followed.tail
        lines, _ = tail.after(max(-1, tail.last_seq - NEWEST_EVENTS), NEWEST_EVENTS)
        devices = {uuid for uuid, _ in run.devices}
        for _, line in reversed(lines):
            event = event_from_json(line)
            if isinstance(event, SamplesTaken):
                for readings in event.readings:
                    if readings.series.metric == run.metric and readings.series.device in devices:
                        return readings.values[-1]
        return math.nan

    def stop(self, session_id: str) -> None:
        """End the measuring of a live run; its cell goes on."""
        self._store.request_stop(session_id)

    def label(self, session_id: str, changed: dict[str, Any]) -> Summary:
        """Change what the user calls a run, as `Labels.put`, and return its summary.

        Raises:
            UnknownName: There is no such run.
            OSError: It cannot be written.
        """
        self.summary(session_id)
        self._store.labels.put(session_id, changed)
        return self.summary(session_id)

    def discard(self, session_id: str) -> None:
        """Move a run to the trash; errors as `Store.discard`."""
        self._store.discard(session_id)
        self._entries.pop(session_id, None)

    def restore(self, session_id: str) -> Summary:
        """Bring a run back from the trash; errors as `Store.restore`."""
        self._store.restore(session_id)
        return self.summary(session_id)

    def events(self, session_id: str) -> Iterator[Event]:
        """Yield the events of a run; errors as `Store.events`."""
        return self._store.events(session_id)

    def stop_requested(self, session_id: str) -> bool:
        """Return whether that was asked for."""
        return self._store.stop_requested(session_id)

    # ---- one run, at length -------------------------------------------------------------------

    def draw(self, session_id: str, width: int, limit_s: float = DRAW_S) -> Drawing:
        """Return a run's series, as `TracePicture.draw`.

        Raises:
            UnknownName: There is no such run (any more).
        """
        from jupyter_gpupredict.run.picture import TracePicture  # numpy: not before it is needed

        picture = self._pictures.get(session_id) or TracePicture(self._store.path(session_id))
        _keep(self._pictures, session_id, picture, MAX_PICTURES)
        try:
            return picture.draw(width, limit_s)
        except OSError as error:
            self._pictures.pop(session_id, None)
            raise UnknownName("session", session_id, ["last"]) from error

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

    def run(self, session_id: str, outcome: str) -> Run:
        """Return a run with its figures and without its readings: what an export needs.

        Raises:
            UnknownName, TraceError: As `ends`; also where its end is damaged.
        """
        ends = self.ends(session_id)
        if ends.problem:
            raise TraceError(ends.problem, "the others are not harmed")
        return with_verified(run_of(ends, outcome))


def _keep(kept: OrderedDict[str, _Value], key: str, value: _Value, most: int) -> None:
    """Make a value the newest of those that are kept."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)


def labelled(run: Summary, label: Label) -> Summary:
    """Return a run's summary with what the user says of it."""
    if label is PLAIN:
        return run
    return replace(run, name=label.name, note=label.note, pinned=label.pinned)


def _ended_s(run: Summary) -> float:
    """Return when a run ended, seconds since 1970; minus infinity where that is not known."""
    try:
        return datetime.fromisoformat(run.started_at).timestamp() + run.duration_s
    except (ValueError, OverflowError):
        return -math.inf
