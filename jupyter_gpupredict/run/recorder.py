"""Writes the trace: one JSON line an event, appended; survives kill -9 up to the last drain.

A run that is too long for one file goes on in a second one, after a whole line.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.events import SessionFinished
from jupyter_gpupredict.core.trace import event_to_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jupyter_gpupredict.core.events import Event


class Recorder:
    """Appends events to a trace file that did not exist before."""

    name = "trace"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._part = 0
        self._size = 0
        """Bytes of the file that is written."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Append the events with one write, or with one for each file.

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
