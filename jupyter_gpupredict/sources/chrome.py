"""Chrome traces, as profilers write them: one large JSON object, read event by event.

Old ones hold control characters and bytes that are not UTF-8; many end in their middle, because the
process was killed. What stands before that is read. Only events and what is asked for are kept: the
metadata of such files may name hosts, paths and credentials.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from jupyter_gpupredict.sources.reading import Content

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
