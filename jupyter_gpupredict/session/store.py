"""The session store: where traces lie, what they are called, how they are listed and found."""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed, TraceError, UnknownName
from jupyter_gpupredict.core.events import SessionFinished, SessionStarted
from jupyter_gpupredict.core.run import RunHeader
from jupyter_gpupredict.core.trace import event_from_json

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


class Store:
    """The traces of one user, one file a run, in a private directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the directory, readable by its owner alone.

        Raises:
            OSError: It cannot be made or written.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise PermissionError(f"{self.root} is not writable")

    def new_id(self, now: datetime) -> str:
        """Return a new session id: start in UTC, host, process, and four random hex digits."""
        host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:63] or "host"
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

        Raises:
            UnknownName: There is none, or more than one.
        """
        ids = self.ids()
        if wanted == "last" and ids:
            return ids[0]
        if wanted in ids:
            return wanted
        matches = [one for one in ids if one.startswith(wanted) or one.endswith(wanted)]
        if len(matches) == 1:
            return matches[0]
        raise UnknownName("session", wanted, ["last", *ids[:5]])

    def ids(self) -> list[str]:
        """Return all session ids, newest first."""
        if not self.root.is_dir():
            return []
        stems = (path.stem for path in self.root.glob("*.jsonl"))
        return sorted((stem for stem in stems if SESSION_ID.fullmatch(stem)), reverse=True)

    def headers(self) -> Iterator[RunHeader]:
        """Yield first and last event of each trace, newest first; broken files are skipped."""
        for session_id in self.ids():
            try:
                yield self.header(session_id)
            except (TraceError, OSError):
                continue

    def header(self, session_id: str) -> RunHeader:
        """Return the first and last event of a trace without reading what is between.

        Raises:
            TraceError: The first line is no `SessionStarted`.
            OSError: The file cannot be read.
        """
        path = self.path(session_id)
        with path.open("rb") as file:
            started = event_from_json(file.readline().decode(errors="replace"))
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            tail = file.read().split(b"\n")
        if not isinstance(started, SessionStarted):
            raise Malformed(f"{session_id} does not begin with SessionStarted", "")
        finished: SessionFinished | None = None
        if len(tail) >= 2 and tail[-2].startswith(b'{"event":"SessionFinished"'):
            last = event_from_json(tail[-2].decode(errors="replace"))
            finished = last if isinstance(last, SessionFinished) else None
        return RunHeader(session_id, started, finished, path)

    def of_code(self, code_hash: str, look_at: int = 200) -> Iterator[RunHeader]:
        """Yield the runs of this code, newest first; only the newest traces are looked at.

        Args:
            code_hash: SHA-256 of the cell's source.
            look_at: How many traces to open: a cell must not wait for a long history.
        """
        wanted = f'"code_hash":"{code_hash}"'.encode()
        for session_id in self.ids()[:look_at]:
            try:
                with self.path(session_id).open("rb") as file:
                    found = wanted in file.readline()
                if found:
                    yield self.header(session_id)
            except (TraceError, OSError):
                continue

    def events(self, session_id: str) -> Iterator[Event]:
        """Yield the events of a trace up to its last newline: a torn last line is left out.

        Raises:
            UnknownName: There is no such session.
            TraceError: A whole line is no event.
        """
        path = self.path(session_id)
        if not path.exists():
            raise UnknownName("session", session_id, ["last", *self.ids()[:5]])
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield event_from_json(line.decode(errors="replace"))

    def stop_mark(self, session_id: str) -> Path:
        """Return the file whose being there asks a live run to end its measuring."""
        return self.path(session_id).with_suffix(".stop")

    def request_stop(self, session_id: str) -> None:
        """Leave a mark that ends the measuring of a live run; the cell goes on."""
        self.stop_mark(session_id).touch(mode=0o600)

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
            status = path.stat()
            total_bytes += status.st_size
            if status.st_mtime < oldest_kept_s or total_bytes > KEEP_BYTES:
                path.unlink(missing_ok=True)
                self.clear_stop(session_id)
                deleted += 1
        return deleted
