"""Writes the trace: one JSON line an event, appended; survives kill -9 up to the last drain."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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

    def deliver(self, events: Sequence[Event]) -> None:
        """Append the events with one write.

        Raises:
            OSError: The disk is full, read-only or gone.
        """
        first = self._descriptor < 0
        if first:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
        data = "".join(event_to_json(event) + "\n" for event in events).encode()
        while data:  # a write may be cut short (disk nearly full, signals)
            data = data[os.write(self._descriptor, data) :]
        if first or isinstance(events[-1], SessionFinished):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
