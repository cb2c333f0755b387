"""Where a user's traces and verified shares are stored, and how they are written and found.

A trace is one JSON line an event, appended, and survives kill -9 up to the last delivery. A run
that is too long for one file goes on in a second one, after a whole line.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import re
import secrets
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import Malformed, TraceError, Truncated, UnknownName
from jupyter_gpupredict.core.events import SessionFinished, SessionStarted
from jupyter_gpupredict.core.run import Advising, Ends, Run, fold
from jupyter_gpupredict.core.threads import within
from jupyter_gpupredict.core.trace import event_from_json, event_to_json
from jupyter_gpupredict.run.sidecars import KnownNeed, Labels, NeedStore, Trash, VerifiedStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.recommendation import SmNeed, Verified

SESSION_ID = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9.-]{1,63}-\d{1,10}-[0-9a-f]{4}")
KEEP_DAYS, KEEP_BYTES = 90, 2 << 30
STORE_S = 2.0
"""How long a cell waits for the session store before it goes on without."""
_TAIL_BYTES = 64 << 10
"""Enough for the last line, the summary; it grows with the number of errors only."""
_FINISHED, _UPDATED = b'{"event":"SessionFinished"', b'{"event":"RecommendationUpdated"'
_NUMBERED = re.compile(rb'\{"event":"\w+","seq":(\d{1,12}),')


class Store:
    """The traces of one user, one file a run, in a private directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.labels = Labels(root)
        self._trash = Trash(root)

    def prepare(self) -> None:
        """Make the directory, readable by its owner alone; errors as `files.make_private`."""
        files.make_private(self.root)

    def new_id(self, now: datetime) -> str:
        """Return a new session id: start in UTC, host, process, and four random hex digits."""
        host = re.sub(r"[^A-Za-z0-9.-]", "-", platform.node())[:63] or "host"
        return f"{now:%Y%m%dT%H%M%SZ}-{host}-{os.getpid()}-{secrets.token_hex(2)}"

    def path(self, session_id: str) -> Path:
        """Return where the trace of this session is stored.

        Raises:
            UnknownName: The id is not of our form; it cannot lead out of the store.
        """
        if not SESSION_ID.fullmatch(session_id):
            raise UnknownName("session", session_id, ["last"])
        return self.root / f"{session_id}.jsonl"

    def resolve(self, wanted: str) -> str:
        """Return the full id of `last`, of a full id, or of a beginning or end that is unique.

        `last` is the newest one that begins as a trace; other files are passed over.

        Raises:
            UnknownName: There is none, or more than one.
        """
        if wanted == "last":
            for session_id in self.ids():
                with contextlib.suppress(FileNotFoundError, TraceError):
                    self.ends(session_id)
                    return session_id
        ids = self.ids()
        matches = [one for one in ids if one.startswith(wanted) or one.endswith(wanted)]
        if wanted in ids or len(matches) == 1:
            return wanted if wanted in ids else matches[0]
        raise UnknownName("session", wanted, [*["last"] * (wanted != "last"), *ids[:5]])

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

    def ends(self, session_id: str) -> Ends:
        """Return the first event of a trace, and the last that holds a recommendation.

        Raises:
            FileNotFoundError: There is none.
            TraceError: It has no beginning that can be read.
        """
        with files.open_stored(self.path(session_id)) as file:
            first = file.readline(files.LINE_BYTES + 1)
            started = _first_event(session_id, first)
            file.seek(max(len(first), file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return _ends(started, file.read(_TAIL_BYTES))

    def of_code(
        self, digest: str, look_at: int = 200, field: str = "code_hash"
    ) -> Iterator[tuple[SessionStarted, SessionFinished]]:
        """Yield the ends of this code's runs that have both, newest first.

        `field` says what the digest is of: `code_hash`, or `outline_hash` for code that differs in
        tuned numbers alone. Only the newest `look_at` traces are opened: a cell must not wait for
        a long history.
        """
        wanted = f'"{field}":"{digest}"'.encode()
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
            TraceError: A whole line is not an event.
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
        """Return the file that asks a live run, by being there, to end its measuring."""
        return self.path(session_id).with_suffix(".stop")

    def request_stop(self, session_id: str) -> None:
        """Leave a mark that ends the measuring of a live run; the cell goes on."""
        path = self.stop_mark(session_id)
        files.ask(path, path.touch, mode=0o600)

    def stop_requested(self, session_id: str) -> bool:
        """Return whether the mark is there."""
        return self.stop_mark(session_id).exists()

    def prune(self) -> int:
        """Delete old traces, and the oldest of too many bytes; returns how many were deleted.

        Pinned ones stay.
        """
        self._trash.empty()
        labels = self.labels.all()
        oldest_kept_s = time.time() - KEEP_DAYS * 86_400
        total_bytes, deleted = 0, 0
        for session_id in self.ids():
            try:
                status = files.status_of(self.path(session_id))
            except (TraceError, FileNotFoundError):
                continue  # it is none of ours, or already gone
            total_bytes += status.size
            pinned = session_id in labels and labels[session_id].pinned
            old = status.changed_ns / 1e9 < oldest_kept_s or total_bytes > KEEP_BYTES
            if old and not pinned:
                self.delete(session_id)
                deleted += 1
        return deleted

    def discard(self, session_id: str) -> None:
        """Move a run to the trash, from where `restore` brings it back for some days.

        Raises:
            UnknownName: There is no such run.
            OSError: It cannot be moved.
        """
        path = self.path(session_id)
        parts = [files.part_of(path, 1)]
        while (part := files.part_of(path, len(parts) + 1)).exists():
            parts.append(part)
        if not path.exists():
            raise UnknownName("session", session_id, ["last", *self.ids()[:5]])
        self._trash.take(parts)
        self.stop_mark(session_id).unlink(missing_ok=True)

    def restore(self, session_id: str) -> None:
        """Bring a deleted run back.

        Raises:
            UnknownName: It is not in the trash (any more).
            OSError: It cannot be moved.
        """
        if not self._trash.give_back(self.path(session_id).stem):
            raise UnknownName("session", session_id, ["last", *self.ids()[:5]])

    def delete(self, session_id: str) -> None:
        """Delete a run for good."""
        with contextlib.suppress(FileNotFoundError):
            for part in itertools.count(1):
                files.part_of(self.path(session_id), part).unlink()
        self.stop_mark(session_id).unlink(missing_ok=True)


class Recorder:
    """Subscriber that appends events to a trace file that did not exist before."""

    name = "trace"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._part, self._size = 0, 0
        """Number and bytes of the file that is written."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Append the events with one write, or with one for each part.

        Raises:
            OSError: The disk is full, read-only or gone.
            ValueError: An event is too long to be read again.
        """
        first = self._part == 0
        if first:
            self._begin()
        held: list[bytes] = []
        for event in events:
            line = f"{event_to_json(event)}\n".encode()
            if len(line) > files.LINE_BYTES:
                raise ValueError(f"an event of {len(line)} bytes is too long")
            if self._size + len(line) > files.STORED_BYTES:
                self._write(held)
                held = []
                self._begin()
            held.append(line)
            self._size += len(line)
        self._write(held)
        if first or isinstance(events[-1], SessionFinished):
            os.fsync(self._descriptor)

    def _begin(self) -> None:
        self.close()
        self._part, self._size = self._part + 1, 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(files.part_of(self._path, self._part), flags, 0o600)

    def _write(self, lines: Sequence[bytes]) -> None:
        data = b"".join(lines)
        while data:  # a write may be cut short (disk nearly full, signals)
            data = data[os.write(self._descriptor, data) :]

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def store_dir() -> Path:
    """Return the directory of the stored sessions."""
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "gpupredict" / "sessions"


def build_store() -> Store:
    """Return the session store of this user."""
    return Store(store_dir())


def store_problem() -> str:
    """Return why runs cannot be stored; empty when they can."""
    try:
        build_store().prepare()
    except (OSError, TraceError) as error:
        return str(error)
    return ""


def read_events(session_id: str) -> Iterator[Event]:
    """Yield the events of a stored run.

    Args:
        session_id: A full id, a unique beginning or end of one, or `last`.

    Raises:
        UnknownName: There is no such run.
        TraceError: The trace is damaged.
    """
    store = build_store()
    return store.events(store.resolve(session_id))


def read_run(session_id: str) -> Run:
    """Return a stored run; arguments and errors as `read_events`."""
    return with_verified(fold(read_events(session_id)))


def request_stop(session_id: str) -> None:
    """End the measuring of a live run, in whatever process it is; its cell goes on.

    Raises:
        UnknownName: There is no such run.
    """
    store = build_store()
    store.request_stop(store.resolve(session_id))


def with_verified(run: Run) -> Run:
    """Return a run with what is known of it, or of the same code on this device, from elsewhere.

    That is the share that was verified, and what its kernels need of the SMs. Neither where none
    holds any more, or where it used several GPUs.
    """
    if not run.on_one_gpu:
        return replace(run, verified=None)
    main, key = run.recommendation, _key(run.started)
    if main is not None and key is not None and not main.capped:
        code = key[0] if run.started.config.get("prior", True) else None
        need = NeedStore(store_dir()).newest(code, *key[1:])
        if need is not None and (main.geometry is None or not need.earlier):
            run = replace(run, recommendation=replace(main, geometry=need))
    return replace(run, verified=_verified(run.started))


def keep_need(run: Run, need: SmNeed) -> Run:
    """Keep what the kernels of a run need, for it and for later runs of the same code.

    Returns the run with it. Of a simulated run nothing is kept beyond that.

    Raises:
        OSError: It cannot be written.
    """
    key = _key(run.started)
    if key is not None:
        code, device, driver, session_id = key
        at = datetime.now(UTC).isoformat(timespec="seconds")
        NeedStore(store_dir()).add(KnownNeed(need, code, device, driver, session_id, at))
    main = run.recommendation
    if main is None or main.capped or not run.on_one_gpu:
        return run
    return replace(run, recommendation=replace(main, geometry=need))


def with_verified_in_time(run: Run) -> Run:
    """As `with_verified`, at a run's end: without one if the store does not answer."""
    try:
        return within(STORE_S, _with_kept, run)
    except (OSError, TraceError):
        return run


def verified_in_time(started: SessionStarted) -> Verified | None:
    """Return the share that was verified for a run's code; None where the store does not answer."""
    try:
        return within(STORE_S, _verified, started)
    except (OSError, TraceError):
        return None


def _with_kept(run: Run) -> Run:
    main = run.recommendation
    if main is not None and main.geometry is not None and run.on_one_gpu:
        with contextlib.suppress(OSError):  # what is there can still be read
            keep_need(run, main.geometry)
    return with_verified(run)


def _key(started: SessionStarted) -> tuple[str | None, str, str, str] | None:
    """Return what is kept of a run by: code, device, driver, id; None of a simulated one."""
    device = {one.uuid: one.name for one in started.devices}.get(started.share.device)
    driver = started.versions.get("driver")
    if device is None or driver is None or started.simulated:
        return None
    return started.code_hash, device, driver, started.session_id


def _verified(started: SessionStarted) -> Verified | None:
    key = _key(started)
    return None if key is None else VerifiedStore(store_dir()).newest(*key)


def sequence_number(line: bytes) -> int | None:
    """Return the number of the event in a line; None when it does not look like one."""
    found = _NUMBERED.match(line)
    return None if found is None else int(found[1])


def _first_event(session_id: str, line: bytes) -> SessionStarted:
    where = f"{session_id} line 1"
    if len(line) > files.LINE_BYTES:
        raise Malformed(f"{where} is longer than {files.LINE_BYTES >> 20} MiB", "no run writes it")
    if not line.endswith(b"\n"):
        raise Truncated(f"{session_id} is not a trace", "was it cut before its first line ended?")
    started = event_from_json(line, where)
    if not isinstance(started, SessionStarted):
        raise Malformed(f"{session_id} does not begin with SessionStarted", "is it a trace?")
    return replace(started, session_id=session_id)


def _ends(started: SessionStarted, tail: bytes) -> Ends:
    """Return the ends of a trace, with the last event of its tail that can be read."""
    problem, ended = "", False
    for line in reversed(tail[: tail.rfind(b"\n") + 1].splitlines()):
        if line.startswith((_FINISHED, _UPDATED)):
            ended = ended or line.startswith(_FINISHED)
            where = f"{started.session_id} event {sequence_number(line)}"
            try:
                event = event_from_json(line, where)
            except TraceError as error:
                problem = problem or str(error)
                continue
            if isinstance(event, Advising):
                return Ends(started, event, problem, ended)
    return Ends(started, None, problem, ended)
