"""The session store: where traces lie, what they are called, how they are listed and found."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import Malformed, TraceError, Truncated, UnknownName
from jupyter_gpupredict.core.events import SessionFinished, SessionStarted
from jupyter_gpupredict.core.run import Advising, Ends, RunHeader
from jupyter_gpupredict.core.trace import event_from_json
from jupyter_gpupredict.run.lines import numbered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from jupyter_gpupredict.core.events import Event


SESSION_ID = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9.-]{1,63}-\d{1,10}-[0-9a-f]{4}")
KEEP_DAYS = 90
KEEP_BYTES = 2 << 30
_TAIL_BYTES = 64 << 10
"""Enough for the last line, the summary; it grows with the number of errors only."""
_FINISHED, _UPDATED = b'{"event":"SessionFinished"', b'{"event":"RecommendationUpdated"'


class Store:
    """The traces of one user, one file a run, in a private directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the directory, readable by its owner alone; errors as `files.make_private`."""
        files.make_private(self.root)

    def new_id(self, now: datetime) -> str:
        """Return a new session id: start in UTC, host, process, and four random hex digits."""
        host = re.sub(r"[^A-Za-z0-9.-]", "-", platform.node())[:63] or "host"
        return f"{now:%Y%m%dT%H%M%SZ}-{host}-{os.getpid()}-{secrets.token_hex(2)}"

    def path(self, session_id: str) -> Path:
        """Return where the trace of this session lies.

        Raises:
            UnknownName: The id is not of our form; it cannot lead out of the store.
        """
        if not SESSION_ID.fullmatch(session_id):
            raise UnknownName("session", session_id, ["last"])
        return self.root / f"{session_id}.jsonl"

    def resolve(self, wanted: str) -> str:
        """Return the full id of `last`, of a full id, or of a beginning or end that is unique.

        `last` is the newest one that begins as a trace: whatever else lies there was no run.

        Raises:
            UnknownName: There is none, or more than one.
        """
        ids = self.ids()
        if wanted == "last":
            found = next((one for one in self.headers() if one.started is not None), None)
            if found is not None:
                return found.session_id
        if wanted in ids:
            return wanted
        matches = [one for one in ids if one.startswith(wanted) or one.endswith(wanted)]
        if len(matches) == 1:
            return matches[0]
        raise UnknownName("session", wanted, ["last", *ids[:5]])

    def ids(self) -> list[str]:
        """Return all session ids, newest first.

        Raises:
            NoAnswer: The disk does not answer.
        """
        try:
            names = files.names_in(self.root)
        except OSError:
            return []
        stems = (name[:-6] for name in names if name.endswith(".jsonl"))
        return sorted(filter(SESSION_ID.fullmatch, stems), reverse=True)

    def headers(self) -> Iterator[RunHeader]:
        """Yield first and last event of each trace, newest first, or what is wrong with it."""
        for session_id in self.ids():
            path = self.path(session_id)
            try:
                yield self.header(session_id)
            except FileNotFoundError:
                continue
            except TraceError as error:
                yield RunHeader(session_id, None, None, path, str(error))

    def header(self, session_id: str) -> RunHeader:
        """Return the first and last event of a trace; errors as `ends`."""
        found = self.ends(session_id)
        finished = found.newest if isinstance(found.newest, SessionFinished) else None
        return RunHeader(session_id, found.started, finished, self.path(session_id), found.problem)

    def began(self, session_id: str) -> SessionStarted:
        """Return the first event of a trace; errors as `ends`."""
        with files.open_stored(self.path(session_id)) as file:
            return _began(session_id, file.readline(files.LINE_BYTES + 1))

    def ends(self, session_id: str) -> Ends:
        """Return the ends of a trace.

        Raises:
            FileNotFoundError: There is none.
            TraceError: It has no beginning that can be read.
        """
        with files.open_stored(self.path(session_id)) as file:
            first = file.readline(files.LINE_BYTES + 1)
            started = _began(session_id, first)
            file.seek(max(len(first), file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return _ends(started, file.read(_TAIL_BYTES))

    def of_code(
        self, code_hash: str, look_at: int = 200
    ) -> Iterator[tuple[SessionStarted, SessionFinished]]:
        """Yield the ends of this code's runs that have both, newest first.

        Only the newest traces are looked at.

        Args:
            code_hash: SHA-256 of the cell's source.
            look_at: How many traces to open: a cell must not wait for a long history.
        """
        wanted = f'"code_hash":"{code_hash}"'.encode()
        for session_id in self.ids()[:look_at]:
            try:
                with files.open_stored(self.path(session_id)) as file:
                    found = wanted in file.readline(files.LINE_BYTES)
                if found:
                    ends = self.ends(session_id)
                    if isinstance(ends.newest, SessionFinished):
                        yield ends.started, ends.newest
            except (TraceError, OSError):
                continue

    def events(self, session_id: str) -> Iterator[Event]:
        """Yield the events of a trace up to its last newline: a torn last line is left out.

        Raises:
            UnknownName: There is no such session.
            TraceError: A whole line is no event.
        """
        try:
            file = files.open_stored(self.path(session_id))
        except FileNotFoundError as error:
            raise UnknownName("session", session_id, ["last", *self.ids()[:5]]) from error
        with file:
            for number, line in files.lines_of(file, session_id):
                if line.endswith(b"\n"):
                    event = event_from_json(line, f"{session_id} line {number}")
                    if isinstance(event, SessionStarted):
                        event = replace(event, session_id=session_id)
                    yield event

    def stop_mark(self, session_id: str) -> Path:
        """Return the file whose being there asks a live run to end its measuring."""
        return self.path(session_id).with_suffix(".stop")

    def request_stop(self, session_id: str) -> None:
        """Leave a mark that ends the measuring of a live run; the cell goes on."""
        path = self.stop_mark(session_id)
        files.ask(path, path.touch, mode=0o600)

    def stop_requested(self, session_id: str) -> bool:
        """Return whether the mark is there."""
        return self.stop_mark(session_id).exists()

    def clear_stop(self, session_id: str) -> None:
        """Remove the mark."""
        self.stop_mark(session_id).unlink(missing_ok=True)

    def prune(self) -> int:
        """Delete traces that are too old, and the oldest when they take too much room.

        Returns:
            How many were deleted.
        """
        oldest_kept_s = time.time() - KEEP_DAYS * 86_400
        total_bytes, deleted = 0, 0
        for session_id in self.ids():
            path = self.path(session_id)
            try:
                status = files.status_of(path)
            except (TraceError, FileNotFoundError):
                continue  # it is none of ours, or already gone
            total_bytes += status.size
            if status.changed_ns / 1e9 < oldest_kept_s or total_bytes > KEEP_BYTES:
                self._delete(session_id)
                deleted += 1
        return deleted

    def _delete(self, session_id: str) -> None:
        path, part = self.path(session_id), 1
        with contextlib.suppress(FileNotFoundError):
            while True:
                files.part_of(path, part).unlink()
                part += 1
        self.clear_stop(session_id)


def _began(session_id: str, first: bytes) -> SessionStarted:
    where = f"{session_id} line 1"
    if len(first) > files.LINE_BYTES:
        raise Malformed(f"{where} is longer than {files.LINE_BYTES >> 20} MiB", "no run writes it")
    if not first.endswith(b"\n"):
        raise Truncated(f"{session_id} is no trace", "was it cut before its first line ended?")
    started = event_from_json(first, where)
    if not isinstance(started, SessionStarted):
        raise Malformed(f"{session_id} does not begin with SessionStarted", "is it a trace?")
    return replace(started, session_id=session_id)


def _ends(started: SessionStarted, tail: bytes) -> Ends:
    """Return the ends of a trace, with the last event of its tail that can be read."""
    problem, ended = "", False
    for line in reversed(tail[: tail.rfind(b"\n") + 1].splitlines()):
        if line.startswith((_FINISHED, _UPDATED)):
            ended = ended or line.startswith(_FINISHED)
            try:
                event = event_from_json(line, f"{started.session_id} event {numbered(line)}")
            except TraceError as error:
                problem = problem or str(error)
                continue
            if isinstance(event, Advising):
                return Ends(started, event, problem, ended)
    return Ends(started, None, problem, ended)
