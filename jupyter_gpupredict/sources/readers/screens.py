"""What nvidia-smi and gpustat draw for people, again and again in one file."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.sources.cells import Clock, number_in
from jupyter_gpupredict.sources.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace

_METRICS = ("gpu_util_ratio", "memory_used_bytes", "power_watts")
_MIB = 2.0**20
_COLORS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\x1b\(B|\x0f")
_STAMP = re.compile(
    r"(?:[A-Z][a-z]{2},?\s+)?(?:[A-Z][a-z]{2}\s+\d{1,2}|\d{1,2}\s+[A-Z][a-z]{2})\s[\d: ]+"
    r"(?:[AP]M\s)?(?:\s?[A-Z]{3,5}\s+)?\d{4}|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.\d]*"
)
_LARGEST_CHARACTERS = 1 << 20


class _Screens:
    """Figures of devices, one look after another."""

    def __init__(self, name: str, origin: str, repeat: str) -> None:
        self._name, self._origin, self._repeat = name, origin, repeat
        self.log = Log(name, origin, _METRICS, "was one program's output written there?")
        self.clock = Clock()
        self.time_s: float | None = None
        self._looks: set[float] = set()
        self._timeless = 0

    def stamp(self, text: str) -> None:
        """Take the time of a look."""
        try:
            self.time_s = self.clock.one(text)
        except ValueError:
            self.time_s = None

    def add(self, index: int, name: str, cells: tuple[str, str, str, str], uuid: str = "") -> None:
        """Take a device's share, used and whole memory (MiB), and power, as texts."""
        if self.time_s is None:
            self._timeless += 1
            return
        device = self.log.device(uuid or f"gpu{index}", name, index)
        scales = (0.01, _MIB, _MIB, 1.0)
        share, used, total, power = (_figure(*one) for one in zip(cells, scales, strict=True))
        device.total_bytes = max(device.total_bytes, 0.0 if math.isnan(total) else total)
        if len(self._looks) < 2:
            self._looks.add(self.time_s)
        device.add(self.time_s, (share, used, power))

    def trace(self) -> Trace:
        """Return the recording; raise where there are not two looks."""
        if self._timeless and not self._looks:
            raise Malformed(
                f"{self._name} holds {self._origin}'s figures without a time", self._repeat
            )
        if len(self._looks) == 1:
            raise Malformed(f"{self._name} is one look of {self._origin}, not a run", self._repeat)
        if self._timeless:
            self.log.note(f"{self._timeless} figures without a time were left out")
        return self.log.trace()


def _figure(text: str, scale: float) -> float:
    try:
        return number_in(text.replace("?", "-") if "?" in text else text, scale)
    except ValueError:
        return math.nan


class SmiScreenReader:
    """Reads the tables that plain nvidia-smi draws (`nvidia-smi -l`)."""

    label = "tables of nvidia-smi -l"
    _card = re.compile(
        r"\|\s+(\d{1,4})\s+(.+?)\s+(?:On|Off|N/A|WDDM|TCC|MCDM)\s*\|\s*[0-9A-Fa-f]{4,8}:"
    )
    _figures = re.compile(
        r"\|\s*(?:N/A|ERR!|\d+%)\s+\S+\s+\S+\s+(\S+)\s*/\s*\S+\s*\|\s*(\S+)\s*/\s*(\S+)\s*\|"
        r"\s*(\d+\s*%|N/A|ERR!|Unknown Error)"
    )

    def detect(self, content: Content) -> bool:
        """Return whether such a table begins in the first lines."""
        return any("| NVIDIA-SMI " in line for line in content.first_lines[:200])

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the readings of every device."""
        repeat = "nvidia-smi --query-gpu=timestamp,index,utilization.gpu,memory.used,memory.total "
        screens = _Screens(content.name, "nvidia-smi", repeat + "--format=csv -l 1")
        card: tuple[int, str] | None = None
        for line in content.lines():
            plain = _COLORS.sub("", line).strip()
            if plain.startswith("|"):
                found = self._card.match(plain)
                if found is not None:
                    card = int(found[1]), found[2].strip()
                    continue
                figures = self._figures.match(plain)
                if figures is not None and card is not None:
                    power, used, total, share = figures.groups()
                    screens.add(*card, (share, used, total, power))
                    card = None
            elif found := _STAMP.search(plain):
                screens.stamp(found[0])
        return screens.trace()


class GpustatReader:
    """Reads lines of gpustat, and the documents of `gpustat --json`."""

    label = "a log of gpustat, or of gpustat --json"
    _line = re.compile(
        r"\[(\d{1,4})\]\s*([^|]+?)\s*\|([^|]*)\|\s*([\d?]+)\s*/\s*([\d?]+)\s*(?:MB|MiB)"
    )
    _percent = re.compile(r"([\d?]+)\s*%")
    _power = re.compile(r"([\d?]+)\s*(?:/\s*[\d?]+\s*)?W")

    def detect(self, content: Content) -> bool:
        """Return whether the first lines are gpustat's."""
        lines = [_COLORS.sub("", line) for line in content.first_lines[:200]]
        if any(self._line.match(line) for line in lines):
            return True
        head = content.head[:4096]
        return head.lstrip(b"\xef\xbb\xbf \n\r[").startswith(b"{") and b'"query_time"' in head

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the readings of every device."""
        screens = _Screens(content.name, "gpustat", "repeat it: gpustat --json -i 1")
        if content.head.lstrip(b"\xef\xbb\xbf \n\r[").startswith(b"{"):
            for document in _documents(content.lines(), content.name):
                self._take(document, screens)
            return screens.trace()
        for line in content.lines():
            plain = _COLORS.sub("", line).strip()
            found = self._line.match(plain)
            if found is None:
                if stamp := _STAMP.search(plain):
                    screens.stamp(stamp[0])
                continue
            shares = self._percent.findall(found[3].partition("(")[0])
            power = self._power.findall(found[3])
            share = f"{shares[-1]} %" if shares else "-"
            figures = (share, f"{found[4]} MiB", f"{found[5]} MiB", power[-1] if power else "-")
            screens.add(int(found[1]), found[2], figures)
        return screens.trace()

    def _take(self, document: Any, screens: _Screens) -> None:
        if not isinstance(document, dict):
            return
        screens.stamp(str(document.get("query_time", "")))
        gpus = document.get("gpus")
        for gpu in gpus if isinstance(gpus, list) else ():
            if not isinstance(gpu, dict) or type(gpu.get("index")) is not int:
                continue
            names = ("utilization.gpu", "memory.used", "memory.total", "power.draw")
            cells = tuple("-" if gpu.get(one) is None else str(gpu[one]) for one in names)
            figures = (cells[0], cells[1], cells[2], cells[3])
            screens.add(
                abs(gpu["index"]), str(gpu.get("name", "")), figures, str(gpu.get("uuid", ""))
            )


def _documents(lines: Iterator[str], name: str) -> Iterator[Any]:
    """Yield JSON documents that stand one after another, one line or many lines each."""
    held: list[str] = []
    size = 0
    load: Callable[[str], Any] = json.loads
    for line in lines:
        held.append(line)
        size += len(line)
        if size > _LARGEST_CHARACTERS:
            raise Malformed(f"{name} is not of gpustat", "its documents are short")
        if line.startswith("}") or (line.startswith("{") and line.rstrip().endswith("}")):
            text = "".join(held).strip().rstrip(",").lstrip("[")
            held, size = [], 0
            try:
                yield load(text)
            except (ValueError, RecursionError) as error:
                raise Malformed(f"{name} is not JSON: {error}", "was it changed?") from error
