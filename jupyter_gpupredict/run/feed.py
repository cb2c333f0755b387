"""The runs of a kernel as those who follow it see them. One thread's at a time."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.run import Ends
from jupyter_gpupredict.core.summary import (
    News,
    Place,
    RunNews,
    Summary,
    began_s,
    summarise,
    updated,
)
from jupyter_gpupredict.run.liveness import alive
from jupyter_gpupredict.run.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.run import Advising
    from jupyter_gpupredict.core.summary import Cursor
    from jupyter_gpupredict.run.catalog import Catalog
    from jupyter_gpupredict.run.store import Store

MAX_RUNS = 20
"""Runs in one reply."""
MAX_TAILS = 64
LATE_S = 10.0
"""A trace may appear so long after a later run's: its source took that long to open."""
LIFE_EVERY_S = 1.0
"""How often it is looked whether a silent run's process is still there."""


class _Followed:
    """One run that someone follows."""

    def __init__(self, store: Store, session_id: str) -> None:
        self._base = summarise(Ends(store.began(session_id), None, "", ended=False))
        self.tail = Tail(store.path(session_id))
        self._summary = self._base
        self._of: Advising | None = None
        self._alive = False
        self._asked_s = float("-inf")

    def look(self, is_alive: Callable[[str, int, float], bool]) -> None:
        """See what was appended, and whether the process is there."""
        tail, base, now_s = self.tail, self._base, time.monotonic()
        known = self._asked_s > float("-inf")
        moved = tail.look()
        if tail.ended:
            return
        if moved and known:
            self._alive, self._asked_s = True, now_s
        elif now_s - self._asked_s > LIFE_EVERY_S:
            self._asked_s = now_s
            self._alive = not tail.gone and is_alive(base.host, base.pid, tail.written_s)

    @property
    def over(self) -> bool:
        """Whether no more events are expected."""
        return self.tail.ended or not self._alive

    def summary(self) -> Summary:
        """Return the run as of the last look."""
        if self.tail.newest is not self._of:
            self._of = self.tail.newest
            self._summary = self._base if self._of is None else updated(self._base, self._of)
        runs = self._alive and not self.tail.ended
        outcome = self._summary.outcome or ("running" if runs else "lost")
        return replace(
            self._summary,
            outcome=outcome,
            size_bytes=self.tail.size_bytes,
            problem=self.tail.problem,
        )


class Feed:
    """News of every kernel's runs."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        is_alive: Callable[[str, int, float], bool] = alive,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._is_alive = is_alive
        self._followed: OrderedDict[str, _Followed] = OrderedDict()

    def first(self, kernel_id: str) -> News:
        """Return the newest runs of a kernel without events, and where to begin."""
        runs = [
            (followed.summary(), followed)
            for session_id in self._catalog.of_kernel(kernel_id)[:MAX_RUNS]
            if (followed := self._follow(session_id)) is not None
        ]
        begin = []
        for number, (summary, followed) in enumerate(runs):
            if number == 0 or not followed.over:
                begin.append(Place(summary.session_id, -1))
            elif began_s(summary.session_id) >= began_s(runs[0][0].session_id) - LATE_S:
                begin.append(Place(summary.session_id, followed.tail.last_seq, over=True))
        return News(tuple(RunNews(summary, ()) for summary, _ in runs), tuple(begin))

    def news(self, kernel_id: str, cursor: Cursor, limit: int) -> News:
        """Return what is new to someone who knows the cursor.

        Args:
            kernel_id: Only runs of this kernel.
            cursor: What is known.
            limit: Events in all, at most.
        """
        ids = self._catalog.of_kernel(kernel_id)
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
                found.append(RunNews(followed.summary(), tuple(text for _, text in lines)))
        places = [after[one] for one in ids if one in after]
        newest_s = max((began_s(place.run) for place in places), default=0.0)
        kept = tuple(p for p in places if not p.over or began_s(p.run) >= newest_s - LATE_S)
        return News(tuple(reversed(found)), kept or cursor, more)

    def _follow(self, session_id: str) -> _Followed | None:
        """Return a run after a look at it; None when it cannot be read (any more)."""
        followed = self._followed.get(session_id)
        try:
            if followed is None:
                followed = self._followed[session_id] = _Followed(self._store, session_id)
            followed.look(self._is_alive)
        except (TraceError, OSError):
            self._followed.pop(session_id, None)
            return None
        self._followed.move_to_end(session_id)
        while len(self._followed) > MAX_TAILS:
            self._followed.popitem(last=False)
        return followed
