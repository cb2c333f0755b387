"""Opens the files that others may have put there, with every bound on what is read of them.

A stored file lies in a folder of ours, where anything may lie by now: a FIFO, a device, a link, a
folder. A given file is one that a user names, or `-`. Neither is waited for when it is opened.

A disk that does not answer (a stuck network mount) blocks the thread that asks it, and nothing ends
that. So it is known which thread asks which file, and since when: `abandon` gives such a thread up,
nobody asks that file again before it has come back, and then the thread's work ends with
`Abandoned`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from jupyter_gpupredict.core.errors import Malformed, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Value = TypeVar("_Value")

STORED_BYTES = 256 << 20
"""Of one stored file; a longer run goes on in a second one."""
LINE_BYTES = 1 << 20
"""Of a line, its end included, in stored and given files."""
DOCUMENT_BYTES = 256 << 20
"""Of a given file that is read whole, such as a notebook."""
EXPANSION_RATIO = 200
"""Expanded bytes over the compressed ones of a given file."""
EXPANDED_BYTES = 20 << 30
"""Of a given file that is compressed."""
STDIN = "-"
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BLOCK_BYTES = 64 << 10


class Abandoned(Exception):
    """The thread that asked was given up meanwhile; somebody else does its work."""


def _close_to_others(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder, _FLAGS | os.O_DIRECTORY)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(f"{folder} belongs to someone else")
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o700)
        if os.fstat(descriptor).st_mode & 0o077:
            raise PermissionError(f"{folder} is open to others, and its disk cannot close it")
    finally:
        os.close(descriptor)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} is not writable")


class Disk:
    """The system calls that a disk may never answer."""

    open = staticmethod(os.open)
    status = staticmethod(os.stat)
    read = staticmethod(os.preadv)
    names = staticmethod(os.listdir)
    private = staticmethod(_close_to_others)


DISK = Disk()
"""What is asked; a test puts one here that does not answer."""
_asking: dict[int, tuple[str, float]] = {}
"""Thread -> (path that it asks for, since when), as long as there is no answer."""
_abandoned: set[int] = set()


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a stored run without reading it; all its files together."""

    size: int
    changed_ns: int
    inode: int


def asking_s(thread: int) -> float:
    """Return how long a thread has waited for the disk's answer, seconds; 0 where it does not."""
    asked = _asking.get(thread)
    return 0.0 if asked is None else time.monotonic() - asked[1]


def abandon(thread: int) -> None:
    """Give up a thread that waits for the disk: its work ends when it comes back."""
    _abandoned.add(thread)
    if thread not in _asking:  # the answer came in this moment
        _abandoned.discard(thread)


def stuck() -> list[str]:
    """Return the names of the files that abandoned threads wait for."""
    return sorted({Path(path).name for path in _stuck_paths()})


def open_stored(path: Path) -> BinaryIO:
    """Open a stored file, and the ones that it goes on in, as one.

    Raises:
        FileNotFoundError: It does not exist.
        Malformed: It exists and cannot be a file of ours.
        NoAnswer: The disk does not answer.
    """
    return cast("BinaryIO", io.BufferedReader(_Parts(path), _BLOCK_BYTES))


def status_of(path: Path) -> Status:
    """Return the status of a stored file; errors as `open_stored`."""
    first = found = _status(path)
    size, part = first.st_size, 1
    with contextlib.suppress(FileNotFoundError):
        while full(found.st_size):
            part += 1
            found = _status(part_of(path, part))
            size += found.st_size
    return Status(size, found.st_mtime_ns, first.st_ino)


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder of ours.

    Raises:
        OSError: It cannot be read.
        NoAnswer: The disk does not answer.
    """
    return ask(folder, DISK.names, folder)


def changed_ns(folder: Path) -> int:
    """Return when a folder of ours last changed, ns since 1970; errors as `names_in`."""
    return ask(folder, DISK.status, folder).st_mtime_ns


def part_of(path: Path, number: int) -> Path:
    """Return where a stored run goes on, from its second file on.

    >>> part_of(Path("run.jsonl"), 2).name
    'run.2.jsonl'
    """
    return path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")


def full(size: int) -> bool:
    """Return whether a stored file may have a next one: not even a line surely fits in it."""
    return size > STORED_BYTES - LINE_BYTES


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone may read, or close one that is open to others.

    Raises:
        PermissionError: It is someone else's, cannot be closed, or cannot be written.
        OSError: It cannot be made.
        NoAnswer: The disk does not answer.
    """
    ask(folder, DISK.private, folder)


def replace_private(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, whole: who reads it finds the old or the new one.

    Raises:
        OSError: It cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def lines_of(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line), the last one without its end where the writer did not get there.

    Raises:
        Malformed: One is too long.
    """
    number = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise Malformed(
                f"{name} line {number} is longer than {LINE_BYTES >> 20} MiB",
                "is it a gpupredict trace or CSV?",
            )
        yield number, line


def open_given(name: str | Path) -> BinaryIO:
    """Open a file that a user named; `-` is the standard input.

    Raises:
        OSError: It cannot be opened.
        Malformed: It is not a regular file.
    """
    if str(name) == STDIN:
        return cast("BinaryIO", os.fdopen(os.dup(sys.stdin.fileno()), "rb"))
    descriptor = os.open(name, _FLAGS)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise Malformed(f"{name} is {_kind(mode)}, not a file", f"pipe it in: {STDIN}")
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb", buffering=_BLOCK_BYTES)
    except BaseException:
        os.close(descriptor)
        raise


def read_given(name: str | Path) -> bytes:
    """Return a document that a user named; errors as `open_given`, and one that is too long."""
    with open_given(name) as file:
        found = file.read(DOCUMENT_BYTES + 1)
    if len(found) > DOCUMENT_BYTES:
        raise Malformed(f"{name} is longer than {DOCUMENT_BYTES >> 20} MiB", "is it the right one?")
    return found


def read_given_text(name: str | Path) -> str:
    """Return a document's text, its lines ended by newlines; errors as `read_given`.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
    """
    return io.StringIO(read_given(name).decode(), newline=None).read()


def require_expandable(name: str, expanded: int, compressed: int) -> None:
    """Let a compressed file pass that does not grow beyond the bounds.

    Raises:
        Malformed: It does.
    """
    if expanded > min(EXPANDED_BYTES, EXPANSION_RATIO * compressed):
        raise Malformed(
            f"{name} expands to {expanded} bytes from {compressed}",
            f"at most {EXPANSION_RATIO} times as many are read, and {EXPANDED_BYTES >> 30} GiB",
        )


def ask(path: Path, call: Callable[..., _Value], *arguments: Any, **options: Any) -> _Value:
    """Return what a call on this path of ours returns, so that who waits for it is known.

    Raises:
        NoAnswer: An abandoned thread still waits for it, or for its folder.
        Abandoned: This thread was given up meanwhile.
        OSError: As the call.
    """
    if _abandoned and {str(path), str(path.parent)} & _stuck_paths():
        raise NoAnswer(f"{path.name} does not answer", "is the disk or the network mount stuck?")
    me = threading.get_ident()
    _asking[me] = (str(path), time.monotonic())
    try:
        return call(*arguments, **options)
    finally:
        del _asking[me]
        if me in _abandoned:
            _abandoned.discard(me)
            raise Abandoned


def _stuck_paths() -> set[str]:
    waiting = [_asking.get(thread) for thread in tuple(_abandoned)]
    return {asked[0] for asked in waiting if asked is not None}


def _open_wanted(path: Path) -> int:
    """Open a stored file; one that nobody waits for any more is closed again."""
    descriptor = DISK.open(path, _FLAGS | os.O_NOFOLLOW)
    if threading.get_ident() in _abandoned:
        os.close(descriptor)
    return descriptor


def _ask_one(path: Path, call: Callable[..., _Value], *arguments: Any, **options: Any) -> _Value:
    """As `ask`, with every failure but a missing file in one line."""
    try:
        return ask(path, call, *arguments, **options)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise Malformed(f"{path.name} cannot be read: {why}") from error


def _status(path: Path) -> os.stat_result:
    return _require_stored(path, _ask_one(path, DISK.status, path, follow_symlinks=False))


def _require_stored(path: Path, found: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(found.st_mode):
        raise Malformed(
            f"{path.name} is {_kind(found.st_mode)}, not a trace", "take it out of the store"
        )
    if found.st_size > STORED_BYTES:
        raise Malformed(f"{path.name} is longer than {STORED_BYTES >> 20} MiB", "no run writes it")
    return found


def _kind(mode: int) -> str:
    return {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFLNK: "a link",
        stat.S_IFSOCK: "a socket",
    }.get(stat.S_IFMT(mode), "a device")


class _Parts(io.RawIOBase):
    """The files of a stored run, one after another."""

    def __init__(self, path: Path) -> None:
        self._parts: list[tuple[Path, int, int]] = []
        """(path, descriptor, size when it was opened) of each."""
        self._at = 0
        try:
            self._open(path)
            while full(self._parts[-1][2]):
                try:
                    self._open(part_of(path, len(self._parts) + 1))
                except FileNotFoundError:
                    break
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path) -> None:
        descriptor = _ask_one(path, _open_wanted, path)
        self._parts.append((path, descriptor, 0))
        size = _require_stored(path, _ask_one(path, DISK.status, descriptor)).st_size
        self._parts[-1] = (path, descriptor, size)

    def readinto(self, buffer: Any) -> int:
        """Read from where it stands; the last file may have grown."""
        begin, room = 0, memoryview(buffer)
        for path, descriptor, size in self._parts:
            last = descriptor == self._parts[-1][1]
            left = STORED_BYTES if last else size
            left -= self._at - begin
            if left > 0:
                read = _ask_one(path, DISK.read, descriptor, [room[:left]], self._at - begin)
                self._at += read
                return read
            begin += size
        return 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; behind the end nothing is read."""
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}
        self._at = max(0, bases[whence] + offset)
        return self._at

    @property
    def size(self) -> int:
        """Bytes of all the files when they were opened."""
        return sum(size for _, _, size in self._parts)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the files."""
        for _, descriptor, _ in self._parts:
            os.close(descriptor)
        self._parts.clear()
        super().close()
