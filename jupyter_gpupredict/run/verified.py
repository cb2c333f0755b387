"""What is known of a code beside its traces: verified shares, and what its kernels need."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.share import Verified
from jupyter_gpupredict.core.trace import read_as

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jupyter_gpupredict.core.recommendation import SmNeed

_Kind = TypeVar("_Kind", "Verified", "KnownNeed")

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


def _add(path: Path, record: Verified | KnownNeed) -> None:
    """Append an entry, whole: two processes may do so at once.

    Raises:
        OSError: It cannot be written.
    """
    line = json.dumps(asdict(record), allow_nan=False, separators=(",", ":"))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    flags |= os.O_NONBLOCK | os.O_NOFOLLOW  # a FIFO would wait for its reader
    descriptor = os.open(path, flags, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def _entries(path: Path, kind: type[_Kind]) -> Iterator[_Kind]:
    """Yield the entries that can be read, newest first."""
    try:
        with files.open_stored(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - VERIFIED_BYTES))
            lines = file.read(VERIFIED_BYTES).split(b"\n")
    except (OSError, TraceError):
        return
    for line in reversed(lines):
        with contextlib.suppress(TraceError):
            yield read_as(kind, line)


class NeedStore:
    """What kernels need, a line of JSON each: it holds for later runs of the same code."""

    def __init__(self, root: Path) -> None:
        self._path = root / NEEDS_NAME

    def add(self, record: KnownNeed) -> None:
        """Append an entry; errors as `OSError`."""
        _add(self._path, record)

    def newest(
        self, code_hash: str | None, device: str, driver: str, session_id: str
    ) -> SmNeed | None:
        """Return what is known of a run, else of the same code on such a device and driver."""
        of_code: SmNeed | None = None
        for one in _entries(self._path, KnownNeed):
            if (one.device, one.driver) != (device, driver) or one.need.sms < 1:
                continue
            if one.session_id == session_id:
                return one.need
            if of_code is None and code_hash is not None and one.code_hash == code_hash:
                of_code = one.need
        return of_code


class VerifiedStore:
    """The verified shares of one user, a line of JSON each.

    They are beside the traces, not in them: they come after a run's end, and hold for later runs.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / VERIFIED_NAME

    def add(self, record: Verified) -> None:
        """Append an entry; errors as `OSError`."""
        _add(self._path, record)

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
            if not (of_code or of_run) or (record.device, record.driver) != (device, driver):
                continue
            if not record.kept:
                refuted = max(refuted, record.percent)
            elif record.percent > refuted:
                return record
        return None

    def _entries(self) -> Iterator[Verified]:
        """Yield the entries that can be, newest first."""
        for record in _entries(self._path, Verified):
            ratios = (record.speed_ratio, record.low_ratio, record.high_ratio)
            if 1 <= record.percent <= 100 and all(one > 0.0 for one in ratios):
                yield record
