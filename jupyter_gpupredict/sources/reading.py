"""Opens recordings: expands what is compressed, and finds the reader of the format by the content.

A format is one file in `sources/readers` and one line in the registry, or a third party's entry
point. Nothing here knows any of them.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import importlib
import io
import lzma
import shutil
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.errors import InvalidOption, Malformed, MissingExtra, Truncated
from jupyter_gpupredict.core.files import LINE_BYTES, open_given, require_expandable
from jupyter_gpupredict.core.series import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jupyter_gpupredict.core.series import Device
    from jupyter_gpupredict.sources.recording import Trace

HEAD_BYTES = 64 << 10
"""What a reader sees of a recording before it is chosen."""
_BLOCK_BYTES = 256 << 10


class _Zstd:
    """A file that zstd compressed, by Python's own module or by the library zstandard."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._file = importlib.import_module("compression.zstd").ZstdFile(file)
        except ImportError:
            try:
                library = importlib.import_module("zstandard")
            except ImportError as error:
                raise MissingExtra("reading zstd", "zstandard", "recordings") from error
            made = library.ZstdDecompressor()
            self._file = made.stream_reader(file, read_across_frames=True, closefd=False)

    def read(self, size: int) -> bytes:
        """Read on; errors of either library become OSError."""
        try:
            found: bytes = self._file.read(size)
        except EOFError:
            raise
        except Exception as error:
            raise OSError(str(error)) from error
        return found


_COMPRESSED: tuple[tuple[bytes, Callable[[BinaryIO], Any]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
    (b"\x28\xb5\x2f\xfd", _Zstd),
)
"""(first bytes, what expands the file)."""
_SHOWN = 8
"""Devices that a sentence names."""
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
        self.ended = True
        """Whether the last line had an end; known once all lines were read."""
        self._file = file if file.seekable() else _spooled(file)
        magic = self._file.read(8)
        make = next((make for first, make in _COMPRESSED if magic.startswith(first)), None)
        self._file.seek(0)
        self._expand = make
        with self._expanded() as stream:
            self.head = stream.read(HEAD_BYTES)
        """Its first bytes, at most `HEAD_BYTES`."""

        self._encoding = _encoding(self.head)

    @property
    def first_lines(self) -> list[str]:
        """The lines of the head that are not empty, without their ends."""
        text = self.head.decode(self._encoding, "replace")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def stream(self) -> BinaryIO:
        """Return the bytes, to be read from the beginning.

        Reading raises `Malformed` where compressed data are damaged, or expand without end.
        """
        self._file.seek(0)
        return self._expanded()

    def lines(self) -> Iterator[str]:
        """Yield the lines as text, with their ends; bytes that are not text are replaced.

        The text is UTF-8, or UTF-16 where it says so.

        Raises:
            Malformed: A line is too long, or is not text.
        """
        for block in self.blocks():
            for line in block:
                yield line if line is block[-1] and not self.ended else f"{line}\n"

    def blocks(self) -> Iterator[list[str]]:
        """Yield the lines, many at a time and without their ends; else as `lines`."""
        number, rest = 0, ""
        decoder = codecs.getincrementaldecoder(self._encoding)("replace")
        stream = self.stream()
        while data := stream.read(_BLOCK_BYTES):
            *block, rest = (rest + decoder.decode(data)).split("\n")
            if len(rest) > LINE_BYTES or max(map(len, block), default=0) > LINE_BYTES:
                at = (k for k, one in enumerate(block) if len(one) > LINE_BYTES)
                number += 1 + next(at, len(block))
                raise Malformed(
                    f"{self.name} line {number} is longer than {LINE_BYTES >> 20} MiB",
                    "is it a recording?",
                )
            self._require_text(block, number)
            number += len(block)
            if block:
                yield block
        self._require_text([rest], number)
        if rest:
            self.ended = False
            yield [rest]

    def _require_text(self, block: Sequence[str], before: int) -> None:
        if "\0" not in "".join(block):
            return
        at = next((number for number, line in enumerate(block, 1) if "\0" in line), None)
        if at is not None:
            raise Malformed(f"{self.name} line {before + at} is not text", _readable())

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


def _encoding(head: bytes) -> str:
    """Return the encoding of a text by its first bytes; a byte-order mark is not part of it."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) > 3 and head[1:64:2].count(0) == len(head[1:64:2]) and 0 not in head[:64:2]:
        return "utf-16-le"
    return "utf-8-sig"


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


def open_traces(path: str, options: ReadOptions | None = None) -> tuple[Trace, ...]:
    """Return the recordings in a file, or in the standard input, which is `-`.

    One for each device that `options.device` names; of the first device where it names none.

    Raises:
        TraceError: It cannot be read, in one clear line.
        InvalidOption: It holds no such device.
    """
    if not path:
        raise Malformed("no recording was named", _readable())
    try:
        with open_given(path) as file:
            return read_traces(file, Path(path).name, options)
    except OSError as error:
        raise Malformed(f"cannot read {path}: {error.strerror}", "is the name right?") from error


def open_trace(path: str, options: ReadOptions | None = None) -> Trace:
    """Return the recording of one device in a file; as `open_traces`."""
    return open_traces(path, options)[0]


def read_trace(file: BinaryIO, name: str, options: ReadOptions | None = None) -> Trace:
    """Return the recording of one device in an open file; as `read_traces`."""
    return read_traces(file, name, options)[0]


def read_traces(file: BinaryIO, name: str, options: ReadOptions | None = None) -> tuple[Trace, ...]:
    """Return the recordings in an open file, read by the first reader that detects its format.

    Raises:
        Malformed: No reader knows it.
        Truncated: There is a beginning and not one reading.
        SchemaMismatch: Another version of ours wrote it.
        Capped: Its run was capped, so it does not show what the code needs.
        InvalidOption: It holds no such device.
    """
    given = options or ReadOptions()
    with contextlib.closing(Content(file, name)) as content:
        if not content.head.strip():
            raise Truncated(f"{name} is empty", "was the run long enough?")
        reader = reader_of(content)
        if reader is not None:
            found = reader.read(content, given)
            return _chosen(found.noted(_TORN) if content.torn else found, given.device)
        if b"\0" in content.head:
            raise Malformed(f"{name} is not text", _readable())
    raise Malformed(f"{name} is of no format that can be read", _readable())


def reader_of(content: Content) -> Reader | None:
    """Return the first reader that detects its format; None where none does."""
    readers = (registry.load("readers", name)() for name in registry.names("readers"))
    return next((reader for reader in readers if reader.detect(content)), None)


def _chosen(found: Trace, wanted: str | None) -> tuple[Trace, ...]:
    """Return the recordings of the devices that are asked for, with what else there is noted."""
    devices = found.choices
    if wanted is None and (len(devices) < 2 or found.geometry):
        return tuple(map(found.alone, devices)) if len(devices) > 1 else (found,)
    if wanted is None:
        kept = devices[:1]
    elif wanted.strip().lower() == "all":
        kept = devices
    else:
        kept = tuple(dict.fromkeys(_named(one.strip(), devices) for one in wanted.split(",")))
    if len(devices) < 2:
        return (found,)
    every = []
    for device in kept:
        # a recording of ours goes on to hold all that its run measured
        alone = replace(found, others=()) if wanted is None else found.alone(device)
        others = _listed([one for one in devices if one is not device])
        hint = "" if len(kept) > 1 else "; the option device chooses"
        every.append(alone.noted(f"{device.label} is read; also recorded: {others}{hint}"))
    return tuple(every)


def _named(wanted: str, devices: Sequence[Device]) -> Device:
    """Return the device with this UUID, index, name or beginning of a UUID."""
    small = wanted.lower()
    ways: tuple[Callable[[Device], bool], ...] = (
        lambda one: one.uuid == wanted,
        lambda one: str(one.index) == wanted,
        lambda one: one.name.lower() == small,
        lambda one: bool(small) and one.uuid.lower().startswith(small),
    )
    for way in ways:
        found = [device for device in devices if way(device)]
        if len(found) == 1:
            return found[0]
    if wanted.isdecimal() and all(one.index is None for one in devices):
        place = devices[int(wanted[:6]) :][:1]
        if place:
            return place[0]
    raise InvalidOption(
        f"the recording holds no single device {wanted!r:.40}", f"it holds {_listed(devices)}"
    )


def _listed(devices: Sequence[Device]) -> str:
    more = f" and {len(devices) - _SHOWN} more" if len(devices) > _SHOWN else ""
    return ", ".join(one.label for one in devices[:_SHOWN]) + more


def _readable() -> str:
    """Return a hint that lists what can be read."""
    labels = (registry.load("readers", name).label for name in registry.names("readers"))
    return "what can be read: " + ", ".join(label for label in labels if label)
