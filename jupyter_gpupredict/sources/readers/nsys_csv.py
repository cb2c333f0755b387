"""Tables of Nsight Systems: `nsys stats --report cuda_gpu_trace --format csv`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.sources.profiles import ASKS, Gpu, Profile, number, whole
from jupyter_gpupredict.sources.tables import table_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace

_UNIT = re.compile(r"^(.*?)\s*\((\w+)\)$")
_SCALES = {
    "ns": 1e-3, "nsec": 1e-3, "us": 1.0, "usec": 1.0, "ms": 1e3, "msec": 1e3, "s": 1e6, "sec": 1e6,
    "b": 1.0, "byte": 1.0, "bytes": 1.0, "kb": 1e3, "kib": 1024.0, "mb": 1e6, "mib": float(1 << 20),
}  # fmt: skip
_DEVICE = re.compile(r"^(.*?)\s*\((\d{1,4})\)$")
_SIZES = ("GrdX", "GrdY", "GrdZ", "BlkX", "BlkY", "BlkZ")


class NsysCsvReader:
    """Reads the kernels; copies have no grid, and the table says nothing of the SMs."""

    label = "a table of nsys stats --report cuda_gpu_trace"

    def detect(self, content: Content) -> bool:
        """Return whether one of the first lines has its titles."""
        return any(_is_titles(line) for line in content.first_lines[:200])

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the profile; `Malformed` where the GPU is not given."""
        if options.sms is None or options.compute_capability is None:
            raise Malformed(f"{content.name} does not say how many SMs there are", f"add {ASKS}")
        profile = Profile(content.name, "Nsight Systems", options)
        with table_of(_from_titles(content.lines()), content.name, {}) as (titles, rows):
            read = _columns(titles, content.name)
            seen: set[int] = set()
            for cells in rows:
                if len(cells) != len(titles):
                    continue  # an empty line, or what nsys says after the table
                launch = read.launch(cells)
                if launch is None:
                    continue
                device = _DEVICE.match(read.text("Device", cells))
                key = int(device[2]) if device else 0
                if key not in seen and len(seen) < 1024:
                    seen.add(key)
                    profile.device(key, Gpu(device[1] if device else ""))
                profile.add(key, launch, read.text("Name", cells))
        return profile.trace()


def _is_titles(line: str) -> bool:
    return "GrdX" in line and "Duration" in line


def _from_titles(lines: Iterable[str]) -> Iterator[str]:
    """Yield the table's lines, without those that nsys writes before it."""
    begun = False
    for line in lines:
        begun = begun or _is_titles(line)
        if begun:
            yield line


class _columns:  # noqa: N801 - a function with two ways to read a row
    """Where the cells are, and what their units are."""

    def __init__(self, titles: list[str], name: str) -> None:
        self._at: dict[str, tuple[int, float]] = {}
        for index, title in enumerate(titles):
            unit = _UNIT.match(title)
            scale = _SCALES.get(unit[2].lower(), math.nan) if unit else 1.0
            self._at[unit[1] if unit else title] = index, scale
        for wanted in ("Start", "Duration", *_SIZES):
            if wanted not in self._at:
                raise Malformed(f"{name} has no column {wanted}", "is it a cuda_gpu_trace?")

    def text(self, title: str, cells: list[str]) -> str:
        at = self._at.get(title)
        return "" if at is None else cells[at[0]].strip()

    def value(self, title: str, cells: list[str]) -> float:
        """Return a number, in microseconds or bytes; NaN where there is none."""
        at = self._at.get(title)
        return math.nan if at is None else number(cells[at[0]].replace(",", "")) * at[1]

    def launch(self, cells: list[str]) -> tuple[float, float, int, int, int, int] | None:
        sizes = [whole(self.value(title, cells)) for title in _SIZES]
        if not all(sizes):
            return None  # a copy or a memset
        shared = sum(whole(self.value(title, cells)) for title in ("StcSMem", "DymSMem"))
        return (
            self.value("Start", cells),
            self.value("Duration", cells),
            math.prod(sizes[:3]),
            math.prod(sizes[3:]),
            whole(self.value("Reg/Trd", cells)),
            shared,
        )
