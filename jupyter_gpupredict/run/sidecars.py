"""Files beside the traces, which never change once written.

What a user says of stored runs (names, notes, pins), the trash of what they deleted, and what is
known of a code: verified shares, and what its kernels need.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.plain import one_line, parse
from jupyter_gpupredict.core.recommendation import Verified
from jupyter_gpupredict.core.trace import made_of, read_as

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from jupyter_gpupredict.core.recommendation import SmNeed


LABELS_NAME, TRASH_NAME = "labels.json", "trash"
LABELS_BYTES = 16 << 20
"""Some fifty thousand labelled runs."""
LONGEST_NAME, LONGEST_NOTE = 100, 2000
TRASH_DAYS = 7
"""How long a deleted run can be had back."""


@dataclass(frozen=True, slots=True)
class Label:
    """What the user calls one run, and says of it."""

    name: str = ""
    note: str = ""
    pinned: bool = False
    """It is kept whatever its age."""


PLAIN = Label()


class Labels:
    """The labels of one user's runs, in one file that is replaced whole."""

    def __init__(self, root: Path) -> None:
        self._path = root / LABELS_NAME
        self._known: dict[str, Label] = {}
        self._status: tuple[int, int, int] | None = None

    def all(self) -> dict[str, Label]:
        """Return session id -> label of each run that has one; read again only when it changed."""
        try:
            found = files.status_of(self._path)
            status = (found.inode, found.size, found.changed_ns)
            if status != self._status:
                self._known, self._status = self._read(), status
        except FileNotFoundError:
            self._known, self._status = {}, None
        except (OSError, TraceError):
            return self._known
        return self._known

    def put(self, session_id: str, changed: dict[str, Any]) -> Label:
        """Change a run's label and return it.

        Args:
            session_id: The run's id.
            changed: `name`, `note` or `pinned`; what is left out stays.

        Raises:
            OSError: It cannot be written.
        """
        self._status = None  # another process may have written within one tick of the clock
        known = dict(self.all())
        label = Label(**asdict(known.get(session_id, PLAIN)) | changed)
        label = Label(
            one_line(label.name).strip()[:LONGEST_NAME], label.note[:LONGEST_NOTE], label.pinned
        )
        known.pop(session_id, None)
        if label != PLAIN:
            known[session_id] = label
        text = json.dumps({one: asdict(kept) for one, kept in known.items()}, ensure_ascii=False)
        files.replace_private(self._path, text)
        self._status = None
        return label

    def _read(self) -> dict[str, Label]:
        with files.open_stored(self._path) as file:
            text = file.read(LABELS_BYTES)
        try:
            document = parse(text)
        except ValueError:
            return {}
        found = {}
        for session_id, one in document.items() if isinstance(document, dict) else ():
            with contextlib.suppress(ValueError):
                found[session_id] = made_of(Label, one)
        return found


class Trash:
    """The deleted runs of the last days."""

    def __init__(self, root: Path) -> None:
        self._root, self._folder = root, root / TRASH_NAME

    def take(self, parts: Iterable[Path]) -> None:
        """Take the files of a run out of the store.

        Raises:
            OSError: They cannot be moved.
        """
        files.make_private(self._folder)
        for part in parts:
            part.replace(self._folder / part.name)

    def give_back(self, session_id: str) -> bool:
        """Put a run's files back; returns whether there were any.

        Raises:
            OSError: They cannot be moved.
        """
        form = re.compile(rf"{re.escape(session_id)}(\.[0-9]+)?\.jsonl")
        names = [name for name in self._names() if form.fullmatch(name)]
        for name in sorted(names, key=len, reverse=True):  # the first file last: it lists the run
            (self._folder / name).replace(self._root / name)
        return bool(names)

    def empty(self, older_than_s: float = TRASH_DAYS * 86_400) -> None:
        """Delete what has been there for so long."""
        for name in self._names():
            with contextlib.suppress(OSError):
                path = self._folder / name
                if time.time() - path.stat().st_ctime > older_than_s:
                    path.unlink()

    def _names(self) -> list[str]:
        try:
            return files.names_in(self._folder)
        except (OSError, TraceError):
            return []


# ---- of a code ---------------------------------------------------------------------------------


VERIFIED_NAME, NEEDS_NAME = "verified.jsonl", "kernels.jsonl"
VERIFIED_BYTES = 4 << 20
"""Read of the end of such a file: some ten thousand verified shares."""


@dataclass(frozen=True, slots=True)
class KnownNeed:
    """What the kernels of a code need of the SMs of a kind of device."""

    need: SmNeed
    code_hash: str | None
    device: str
    """The device's name."""
    driver: str
    session_id: str
    """The run that they belong to."""
    at: str
    """ISO 8601 in UTC."""


_Kind = TypeVar("_Kind", Verified, KnownNeed)


class _Lines(Generic[_Kind]):
    """Entries of one kind in a file, a line of JSON each; they hold for later runs, too."""

    kind: type[_Kind]
    name: str
    """The file's."""

    def __init__(self, root: Path) -> None:
        self._path = root / self.name

    def add(self, record: _Kind) -> None:
        """Append an entry, whole: two processes may do so at once.

        Raises:
            OSError: It cannot be written.
        """
        line = json.dumps(asdict(record), allow_nan=False, separators=(",", ":"))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        flags |= os.O_NONBLOCK | os.O_NOFOLLOW  # a FIFO would wait for its reader
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    def _entries(self) -> Iterator[_Kind]:
        """Yield the entries that can be read, newest first."""
        try:
            with files.open_stored(self._path) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - VERIFIED_BYTES))
                lines = file.read(VERIFIED_BYTES).split(b"\n")
        except (OSError, TraceError):
            return
        for line in reversed(lines):
            with contextlib.suppress(TraceError):
                yield read_as(self.kind, line)


class NeedStore(_Lines[KnownNeed]):
    """What the kernels of a code need of the SMs."""

    kind, name = KnownNeed, NEEDS_NAME

    def newest(
        self, code_hash: str | None, device: str, driver: str, session_id: str
    ) -> SmNeed | None:
        """Return what is known of a run, else of the same code on such a device and driver."""
        of_code: SmNeed | None = None
        for one in self._entries():
            if (one.device, one.driver) != (device, driver) or one.need.sms < 1:
                continue
            if one.session_id == session_id:
                return one.need
            if of_code is None and code_hash is not None and one.code_hash == code_hash:
                of_code = replace(one.need, earlier=True)
        return of_code


class VerifiedStore(_Lines[Verified]):
    """The verified shares of one user: they come after a run's end, so its trace has them not."""

    kind, name = Verified, VERIFIED_NAME

    def newest(
        self, code_hash: str | None, device: str, driver: str, session_id: str = ""
    ) -> Verified | None:
        """Return the share that is known to keep the speed of a code on a device.

        A later try in which a share lost speed takes back that share and smaller ones.

        Args:
            code_hash: SHA-256 of the code; None: only what was tried of the session itself.
            device: The device's name.
            driver: The driver's version.
            session_id: A run that may have been tried itself.
        """
        refuted = 0
        for record in self._entries():
            of_code = code_hash is not None and record.code_hash == code_hash
            of_run = bool(session_id) and record.session_id == session_id
            ratios = (record.speed_ratio, record.low_ratio, record.high_ratio)
            if not 1 <= record.percent <= 100 or not all(one > 0.0 for one in ratios):
                continue  # it cannot be
            if not (of_code or of_run) or (record.device, record.driver) != (device, driver):
                continue
            if not record.kept:
                refuted = max(refuted, record.percent)
            elif record.percent > refuted:
                return record
        return None
