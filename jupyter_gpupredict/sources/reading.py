"""Opens recordings: expands what is compressed, and finds the reader of the format by the content.

A format is one file in `sources/readers` and one line in the registry, or a third party's entry
point. Nothing here knows any of them.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.errors import Malformed, Truncated
from jupyter_gpupredict.core.files import lines_of, open_given, require_expandable
from jupyter_gpupredict.core.series import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_gpupredict.sources.recording import Trace

HEAD_BYTES = 64 << 10
"""What a reader sees of a recording before it is chosen."""
_BLOCK_BYTES = 256 << 10
_COMPRESSED: tuple[tuple[bytes, Callable[[BinaryIO], Any]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
)
"""(first bytes, what expands the file)."""
_TORN = "the compressed file ends in its middle; what came before was read"


class Content:
    """A recording's bytes, expanded. A reader looks at `head` and reads it once, in one way.

    Args:
        file: The bytes as they are stored; closed with the content.
        name: Of the recording, for messages.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self.torn = False
        """Whether a compressed file ended early; known once all was read."""
        self._file = file if file.seekable() else _spooled(file)
        magic = self._file.read(8)
        make = next((make for first, make in _COMPRESSED if magic.startswith(first)), None)
        self._file.seek(0)
        self._expand = make
        with self._expanded() as stream:
            self.head = stream.read(HEAD_BYTES)
        """Its first bytes, at most `HEAD_BYTES`."""

    @property
    def first_lines(self) -> list[str]:
        """The lines of the head that are not empty, without their ends."""
        text = self.head.decode("utf-8", "replace")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def stream(self) -> BinaryIO:
        """Return the bytes, to be read from the beginning.

        Reading raises `Malformed` where compressed data are damaged, or expand without end.
        """
        self._file.seek(0)
        return self._expanded()

    def lines(self) -> Iterator[str]:
        """Yield the lines as text, with their ends; bytes that are not UTF-8 are replaced.

        Raises:
            Malformed: A line is too long, or is not text.
        """
        for number, line in lines_of(self.stream(), self.name):
            if b"\0" in line:
                raise Malformed(f"{self.name} line {number} is not text", _readable())
            yield line.decode("utf-8", "replace")

    @contextlib.contextmanager
    def local(self) -> Iterator[Path]:
        """Yield the path of a file of its own that holds the bytes, for who needs a path."""
        with tempfile.NamedTemporaryFile(prefix="gpupredict-") as copy:
            shutil.copyfileobj(self.stream(), copy, _BLOCK_BYTES)
            copy.flush()
            yield Path(copy.name)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _expanded(self) -> BinaryIO:
        if self._expand is None:
            return cast("BinaryIO", io.BufferedReader(_Unclosed(self._file), _BLOCK_BYTES))
        raw = _Expanding(self, self._file, self._expand(self._file))
        return cast("BinaryIO", io.BufferedReader(raw, _BLOCK_BYTES))


class _Unclosed(io.RawIOBase):
    """A file that stays open when this is closed."""

    def __init__(self, file: Any) -> None:
        self._read = getattr(file, "read1", file.read)
        """What was expanded before the end of a torn file is not lost with the rest."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


class _Expanding(_Unclosed):
    """What a compressed file holds, with a bound on it."""

    def __init__(self, content: Content, stored: BinaryIO, expanded: Any) -> None:
        super().__init__(expanded)
        self._content = content
        self._stored_bytes = stored.seek(0, io.SEEK_END)
        stored.seek(0)
        self._taken = 0

    def readinto(self, buffer: Any) -> int:
        name = self._content.name
        try:
            count = super().readinto(buffer)
        except EOFError:
            self._content.torn = True
            return 0
        except (OSError, zlib.error, lzma.LZMAError) as error:
            raise Malformed(f"{name} cannot be expanded: {error}", "was it cut?") from error
        self._taken += count
        if self._taken > HEAD_BYTES:
            require_expandable(name, self._taken, self._stored_bytes)
        return count


def _spooled(file: BinaryIO) -> BinaryIO:
    """Return a file without a name with all that a pipe gives."""
    with file:
        found = tempfile.TemporaryFile(prefix="gpupredict-")  # noqa: SIM115 - closed with the content
        shutil.copyfileobj(file, found, _BLOCK_BYTES)
        found.seek(0)
        return cast("BinaryIO", found)


class Reader(Protocol):
    """Reads one format of recordings. The constructor takes nothing and does nothing."""

    label: str
    """What it reads, as a list of formats has it: `a log of nvidia-smi --format=csv`."""

    def detect(self, content: Content) -> bool:
        """Return whether a recording is of this format, by its `head` alone. Never raises."""

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the recording, with all its devices.

        Raises:
            TraceError: It cannot be read; one clear line with what to do about it. A format that
                is recognised and holds nothing to predict from always raises.
        """


def open_trace(path: str, options: ReadOptions | None = None) -> Trace:
    """Return the recording in a file, or in the standard input, which is `-`.

    Raises:
        TraceError: It cannot be read, in one clear line.
    """
    if not path:
        raise Malformed("no recording was named", _readable())
    try:
        with open_given(path) as file:
            return read_trace(file, Path(path).name, options)
    except OSError as error:
        raise Malformed(f"cannot read {path}: {error.strerror}", "is the name right?") from error


def read_trace(file: BinaryIO, name: str, options: ReadOptions | None = None) -> Trace:
    """Return the recording in an open file, read by the first reader that detects its format.

    Raises:
        Malformed: No reader knows it.
        Truncated: There is a beginning and not one reading.
        SchemaMismatch: Another version of ours wrote it.
        Capped: Its run was capped, so it does not show what the code needs.
    """
    with contextlib.closing(Content(file, name)) as content:
        if not content.head.strip():
            raise Truncated(f"{name} is empty", "was the run long enough?")
        for one in registry.names("readers"):
            reader: Reader = registry.load("readers", one)()
            if reader.detect(content):
                found = reader.read(content, options or ReadOptions())
                return found.noted(_TORN) if content.torn else found
        if b"\0" in content.head:
            raise Malformed(f"{name} is not text", _readable())
    raise Malformed(f"{name} is of no format that can be read", _readable())


def _readable() -> str:
    """Return a hint that lists what can be read."""
    labels = (registry.load("readers", name).label for name in registry.names("readers"))
    return "what can be read: " + ", ".join(label for label in labels if label)
