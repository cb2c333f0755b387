"""Recordings of kernels: what a profiler wrote of each launch, as busy time and geometry.

Many write Chrome traces: one large JSON object, read event by event. Old ones hold control
characters and bytes that are not UTF-8; many end in their middle, because the process was killed.
What stands before that is read. Only events and what is asked for are kept: the metadata of such
files may name hosts, paths and credentials.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import InvalidOption, Malformed, Truncated
from jupyter_gpupredict.core.series import Device, Series
from jupyter_gpupredict.predict.geometry import HELD, Kernels, Launches, kind_of
from jupyter_gpupredict.predict.occupancy import SmLimits, limits_of
from jupyter_gpupredict.sources.recording import Rows, Trace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.predict.geometry import Geometry
    from jupyter_gpupredict.sources.reading import Content


PIECE = 1 << 16
"""Launches that are held as Python objects."""
ASKS = "--sms N --compute-capability X.Y"
_AMD = re.compile(r"\b(amd|instinct|radeon|gfx\d+|mi\d{2,3}[a-z]?)\b", re.IGNORECASE)
_OF_ANY_MAKE = ("torch.profiler", "XLA")
_MOST_REGISTERS = 255
_MOST_DEVICES = 1024

Launch = tuple[float, float, int, int, int, int]
"""(start_us, duration_us, blocks, threads of a block, registers of a thread, shared bytes of a
block); NaN where it is not a number."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a recording says of a device."""

    name: str = ""
    uuid: str = ""
    sms: int | None = None
    sm: SmLimits | None = None
    memory_bytes: int | None = None


@dataclass(slots=True)
class _Held:
    """The launches of one device, until it is known which device it is."""

    rows: list[tuple[float, ...]] = field(default_factory=list)
    pieces: list[Launches] = field(default_factory=list)
    kernels: Kernels | None = None
    count: int = 0


class Profile:
    """Collects launches and gives the recording.

    Args:
        name: Of the recording, for messages.
        origin: What made it.
        options: What the user says of the GPU; counts before what the recording says.
    """

    def __init__(self, name: str, origin: str, options: ReadOptions) -> None:
        self._name, self._origin, self._options = name, origin, options
        self._gpus: dict[int, Gpu] = {}
        self._held: dict[int, _Held] = {}
        self._kinds: dict[str, int] = {}
        self._registers = 0
        """The most that any kernel has; AMD's profiles hold none."""
        self.notes: list[str] = []
        self._capability = _capability(options.compute_capability)

    def device(self, key: int, gpu: Gpu) -> None:
        """Take what is said of a device.

        Raises:
            Malformed: It is an AMD one, whose compute units are not SMs.
        """
        if _AMD.search(gpu.name):
            raise self._amd()
        self._gpus[key] = gpu

    def add(self, key: int, launch: Launch, kernel: str) -> None:
        """Take one launch of a device.

        Raises:
            Malformed: No NVIDIA GPU launches such a kernel, or there are too many devices.
        """
        if launch[4] > _MOST_REGISTERS:
            raise self._amd()
        self._registers = max(self._registers, launch[4])
        held = self._held.get(key)
        if held is None:
            if len(self._held) >= _MOST_DEVICES:
                raise Malformed(f"{self._name} names too many devices", "was it changed?")
            held = self._held[key] = _Held()
        kind = self._kinds.get(kernel)
        if kind is None:
            if len(self._kinds) >= PIECE:
                self._kinds.clear()
            kind = self._kinds[kernel] = kind_of(kernel)
        held.rows.append((*launch, kind))
        held.count += 1
        if len(held.rows) >= PIECE:
            self._settle(key, held)

    def launches(self) -> tuple[Launches, Gpu] | None:
        """Return the launches of the device that had most, and what is known of it; None: none."""
        if not self._held:
            return None
        key, held = max(self._held.items(), key=lambda item: item[1].count)
        pieces = [*held.pieces, Launches.of(held.rows)]
        gpu = self._gpus.get(key, Gpu())
        sms, sm = self._limits(gpu)
        return Launches.joined(pieces), replace(gpu, sms=sms, sm=sm)

    def trace(self) -> Trace:
        """Return the recording.

        Raises:
            Truncated: There is no kernel in it.
        """
        if not self._held:
            raise Truncated(f"{self._name} holds no kernels", "was the GPU profiled, and used?")
        if not self._registers and self._origin in _OF_ANY_MAKE and not self._gpus:
            raise self._amd()
        found: dict[str, tuple[Device, Kernels, Geometry]] = {}
        for key, held in sorted(self._held.items()):
            gpu = self._gpus.get(key, Gpu())
            sms, sm = self._limits(gpu)
            kernels = self._settle(key, held, last=True)
            geometry = kernels.geometry()
            if geometry is None:
                continue
            device = Device(
                gpu.uuid or f"device-{key}",
                gpu.name or "GPU",
                key,
                memory_total_bytes=gpu.memory_bytes,
                sm_count=sms,
            )
            found[device.uuid] = device, kernels, geometry
            self._note(geometry, sms, sm)
        if not found:
            raise Truncated(f"{self._name} holds no kernel that lasted", "was the run long enough?")
        series = tuple(Series("gpu_util_ratio", uuid) for uuid in found)
        return Trace(
            self._name,
            _rows([kernels for _, kernels, _ in found.values()]),
            series,
            tuple(device for device, _, _ in found.values()),
            self._origin,
            notes=tuple(dict.fromkeys(self.notes)),
            geometry={
                uuid: geometry
                for uuid, (device, _, geometry) in found.items()
                if device.sm_count is not None
            },
        )

    def _limits(self, gpu: Gpu) -> tuple[int | None, SmLimits | None]:
        sm = limits_of(self._capability) if self._capability else gpu.sm
        return self._options.sms or gpu.sms, sm

    def _settle(self, key: int, held: _Held, *, last: bool = False) -> Kernels:
        """Put what is held into arrays, and into sums where the device is known."""
        if held.rows:
            held.pieces.append(Launches.of(held.rows))
            held.rows.clear()
        sms, sm = self._limits(self._gpus.get(key, Gpu()))
        many = held.count > HELD and sms is not None and sm is not None
        if held.kernels is None and (last or many):
            held.kernels = Kernels(sms or 1, sm)
        if held.kernels is None:
            return Kernels(1, None)
        for piece in held.pieces:
            held.kernels.add(piece)
        held.pieces.clear()
        return held.kernels

    def _note(self, geometry: Geometry, sms: int | None, sm: SmLimits | None) -> None:
        asked = "--compute-capability X.Y"
        if sm is None and sms is not None:
            self.notes.append(
                f"it holds no limits of the GPU; {sms} SMs follow from its launches: add {asked}, "
                "and --sms N where that is wrong"
            )
        elif sms is None:
            self.notes.append(f"it does not say which GPU: add {ASKS} for the share of its SMs")
        elif sm is not None and sm.assumed:
            self.notes.append("the GPU is newer than our table: its limits are those of the file")
        elif geometry.not_understood_ratio > 0.005:
            strange = 100 * geometry.not_understood_ratio
            self.notes.append(f"{strange:.0f} % of the kernels' time is not understood")
        if geometry.dropped:
            self.notes.append(f"{geometry.dropped} kernels without a duration were left out")

    def _amd(self) -> Malformed:
        return Malformed(
            f"{self._name} is a profile of an AMD GPU",
            "the share of SMs is known for NVIDIA GPUs; a log of its usage can be read",
        )


def _rows(devices: Sequence[Kernels]) -> Rows:
    """Return the busy time of each device in one table, from the first kernel of all on."""
    first_us = min(one.first_us for one in devices)
    table: dict[float, list[float | None]] = {}
    for column, one in enumerate(devices):
        offset_s = (one.first_us - first_us) / 1e6
        for time_s, share in one.busy():
            empty: list[float | None] = [None] * len(devices)
            table.setdefault(round(offset_s + time_s, 7), empty)[column] = share
    return Rows(len(devices), sorted(table.items()))


def _capability(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise InvalidOption(f"--compute-capability {text} is none", "such as 8.0")
    if limits_of((int(major), int(minor))) is None:
        raise InvalidOption(f"compute capability {text} is unknown", "such as 8.0, of an A100")
    return int(major), int(minor)


# ---- Chrome traces -----------------------------------------------------------------------------


_PIECE_BYTES = 1 << 20
MOST_CHARACTERS = 64 << 20
"""Of one value."""
_SPACE = re.compile(r"[\s,:]*")
_ON = frozenset(".eE+-0123456789")
_EVENTS = "traceEvents"


def is_chrome(content: Content) -> bool:
    """Return whether a recording begins as a Chrome trace does."""
    head = content.head.lstrip()[:2]
    if not head.startswith((b"{", b"[")):
        return False
    return any(
        word in content.head
        for word in (b'"traceEvents"', b'"deviceProperties"', b'"schemaVersion"', b'"ph"')
    )


def is_xla(content: Content) -> bool:
    """Return whether such a trace has XLA's processes in it."""
    marks = (b'"/device:', b'"/host:', b'"highres-ticks"', b'"kernel_details"')
    return any(mark in content.head for mark in marks)


class ChromeTrace:
    """The events of a trace, and some of what stands beside them.

    Args:
        content: The file.
        wanted: Names of top-level values that are kept in `about`.
    """

    def __init__(self, content: Content, wanted: Collection[str] = ()) -> None:
        self.about: dict[str, Any] = {}
        """What was wanted and has been read; complete once the events are through."""
        self.torn = False
        """Whether the file ended in its middle, or went on as something else."""
        self._name = content.name
        self._wanted = wanted
        self._file = content.stream()
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._parse = json.JSONDecoder(strict=False).raw_decode
        self._text, self._at, self._ended = "", 0, False

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield each event once, in the file's order.

        Raises:
            Malformed: It is not JSON, or a value has no end.
        """
        opening = self._next()
        if opening == "[":
            yield from self._array()
        elif opening == "{":
            yield from self._object()
        else:
            raise Malformed(f"{self._name} is not JSON", "is it a trace of a profiler?")

    def _object(self) -> Iterator[dict[str, Any]]:
        while not self.torn:
            mark = self._peek()
            if mark == "}":
                return
            key = self._value()
            if key == _EVENTS and self._peek() == "[":
                self._at += 1
                yield from self._array()
                continue
            value = self._value()
            if key in self._wanted and not self.torn:
                self.about[key] = value

    def _array(self) -> Iterator[dict[str, Any]]:
        while not self.torn:
            if self._peek() == "]":
                self._at += 1
                return
            event = self._value()
            if isinstance(event, dict):
                yield event

    def _next(self) -> str:
        found = self._peek()
        self._at += 1
        return found

    def _peek(self) -> str:
        """Return the next character that is neither space nor a separator; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                self.torn = True
                return ""
            self._more()

    def _value(self) -> Any:
        """Return the next value; None, and `torn`, where there is none any more."""
        self._peek()
        while not self.torn:
            try:
                value, end = self._parse(self._text, self._at)
            except (ValueError, RecursionError):
                end = len(self._text)
            else:
                begun = isinstance(value, (int, float))  # a number may go on behind the piece
                if self._ended or (
                    end < len(self._text) and not (begun and self._text[end] in _ON)
                ):
                    self._at = end
                    return value
            if self._ended:
                self.torn = True
            elif end - self._at > MOST_CHARACTERS:
                raise Malformed(f"{self._name} holds a value without an end", "was it changed?")
            else:
                self._more()
        return None

    def _more(self) -> None:
        """Read on; as much as is held, so that a long value is not parsed too often."""
        left = self._text[self._at :]
        found = self._file.read(max(_PIECE_BYTES, len(left)))
        self._ended = not found
        self._text, self._at = left + self._decode(found, self._ended), 0


def number(value: object) -> float:
    """Return a number in an event; NaN where there is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return float("nan")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return float("nan")
    return float("nan")


def whole(value: object, most: int = 1 << 31) -> int:
    """Return a whole number in an event, 0 to `most`; 0 where there is none."""
    found = number(value)
    return int(found) if 0.0 <= found <= most else 0
