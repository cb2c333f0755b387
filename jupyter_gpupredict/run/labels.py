"""What a user says of stored runs: names, notes, pins; and the trash of what they deleted.

Both lie beside the traces, which never change once written.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.jsontext import parse
from jupyter_gpupredict.core.plain import one_line
from jupyter_gpupredict.core.trace import made_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

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
