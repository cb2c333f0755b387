"""The headers and summaries of all stored runs, kept in memory by name, size and time of change.

One thread's at a time. No index lies on disk: the traces are the only record.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import NoAnswer, TraceError, Truncated, UnknownName
from jupyter_gpupredict.core.summary import Page, Summary, damaged, summarise
from jupyter_gpupredict.run.liveness import alive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.run.store import Store

LOOK_AT = 500
"""Newest traces in which a kernel's runs are looked for the first time."""
FRESH_S = 0.1
"""A directory changed so lately may change again without a new stamp."""
STARTING_S = 10.0
"""A trace changed so lately may be without its first line: its writer is in the middle of it."""


@dataclass(slots=True)
class _Entry:
    size: int
    changed_ns: int
    summary: Summary
    text: str


class Catalog:
    """What is known of the runs in a store."""

    def __init__(self, store: Store, is_alive: Callable[[str, int, float], bool] = alive) -> None:
        self._store = store
        self._is_alive = is_alive
        self._ids: list[str] = []
        self._changed_ns = -1
        self._entries: dict[str, _Entry] = {}
        self._kernels: dict[str, str | None] = {}
        """Session id -> kernel id, of every trace whose first line was read."""
        self._found: dict[str, tuple[list[str], list[str]]] = {}
        """Kernel id -> (all ids as they were, those of the kernel)."""

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
            self._entries = {k: v for k, v in self._entries.items() if k in there}
            self._kernels = {k: v for k, v in self._kernels.items() if k in there}
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
        if not entry.summary.metric:
            raise TraceError(entry.summary.problem, "the others are not harmed")
        return self._judged(entry.summary, entry.changed_ns)

    def page(self, limit: int, before: str | None, words: Sequence[str], limit_s: float) -> Page:
        """Return the newest runs that hold all the words.

        Args:
            limit: How many.
            before: Only runs older than this one.
            words: What to look for, in lower case; none: every run.
            limit_s: A search that takes longer stops where it is.
        """
        ids = self.ids()
        until_s = time.monotonic() + limit_s
        found: list[Summary] = []
        searched = 0
        for session_id in ids:
            if before is not None and session_id >= before:
                searched += 1
                continue
            if len(found) == limit:
                return Page(tuple(found), len(ids), len(ids), found[-1].session_id)
            if words and time.monotonic() > until_s:
                return Page(tuple(found), len(ids), searched, None)
            searched += 1
            entry = self._known(session_id) if words else self._look(session_id)
            if entry is None:
                continue
            summary = self._judged(entry.summary, entry.changed_ns)
            text = entry.text if entry.summary.over or not words else summary.text()
            if all(word in text for word in words):
                found.append(summary)
        return Page(tuple(found), len(ids), searched, None)

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
            if session_id not in self._kernels:
                if number >= LOOK_AT:
                    break
                self._look(session_id)
                settled = session_id in self._kernels and settled
            if self._kernels.get(session_id) == kernel_id:
                found.append(session_id)
        if len(self._found) >= LOOK_AT:
            self._found.clear()
        if settled:
            self._found[kernel_id] = (ids, found)
        return found

    def _known(self, session_id: str) -> _Entry | None:
        """Return a trace without a look at the file when it has its end: nothing follows it."""
        entry = self._entries.get(session_id)
        if entry is not None and entry.summary.over:
            return entry
        return self._look(session_id)

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
            if not isinstance(error, NoAnswer):
                self._kernels[session_id] = None
            summary = damaged(session_id, str(error), max(0, size))
            return _Entry(size, changed_ns, summary, summary.text())
        summary = summarise(ends, size)
        entry = self._entries[session_id] = _Entry(size, changed_ns, summary, summary.text())
        self._kernels[session_id] = summary.kernel_id
        return entry

    def _judged(self, summary: Summary, changed_ns: int) -> Summary:
        if summary.over:
            return summary
        runs = self._is_alive(summary.host, summary.pid, changed_ns / 1e9)
        return replace(summary, outcome="running" if runs else "lost")
