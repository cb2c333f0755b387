"""What was verified, of any run: one line of JSON each, beside the traces.

It stands beside them and not in them, because it comes after a run's end, and holds for later runs
of the same code on the same kind of device.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.share import Verified
from jupyter_gpupredict.core.trace import read_as

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "verified.jsonl"
READ_BYTES = 4 << 20
"""So much of the file's end is looked at: some ten thousand entries."""


class Ledger:
    """The verified shares of one user."""

    def __init__(self, root: Path) -> None:
        self._path = root / NAME

    def add(self, record: Verified) -> None:
        """Append an entry, whole: two processes may do so at once.

        Raises:
            OSError: It cannot be written.
        """
        line = json.dumps(dataclasses.asdict(record), allow_nan=False, separators=(",", ":"))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        flags |= os.O_NONBLOCK | os.O_NOFOLLOW  # a FIFO would wait for its reader
        fd = os.open(self._path, flags, 0o600)
        try:
            os.write(fd, f"{line}\n".encode())
        finally:
            os.close(fd)

    def newest(
        self, code_hash: str | None, device: str, driver: str, session_id: str = ""
    ) -> Verified | None:
        """Return the share that is known to keep the speed of a code on a device.

        A later try that a share did not stand takes back what was said of it and of smaller ones.

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
            if not (of_code or of_run) or (record.device, record.driver) != (device, driver):
                continue
            if not record.kept:
                refuted = max(refuted, record.percent)
            elif record.percent > refuted:
                return record
        return None

    def _entries(self) -> Iterator[Verified]:
        """Yield the entries, newest first; lines that are none are passed over."""
        try:
            with files.open_stored(self._path) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - READ_BYTES))
                lines = file.read(READ_BYTES).split(b"\n")
        except (OSError, TraceError):
            return
        for line in reversed(lines):
            record = _record(line)
            if record is not None:
                yield record


def _record(line: bytes) -> Verified | None:
    try:
        record = read_as(Verified, line)
    except TraceError:
        return None
    ratios = (record.speed_ratio, record.low_ratio, record.high_ratio)
    return record if 1 <= record.percent <= 100 and all(one > 0.0 for one in ratios) else None
