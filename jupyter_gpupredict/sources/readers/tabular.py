"""CSV: our own columns, kernels one launch a line, nvidia-smi --query-gpu, and nvitop."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.sources.cells import Clock
from jupyter_gpupredict.sources.profiles import ASKS, Profile
from jupyter_gpupredict.sources.tables import (
    cells_of,
    layout_in,
    number_of,
    numbered,
    read_cells,
    table_of,
    titles_of,
)
from jupyter_gpupredict.sources.titled import SEARCHED_LINES, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace


class ColumnsReader:
    """Reads a table with a column `t_s`."""

    label = "CSV with a column t_s"

    def detect(self, content: Content) -> bool:
        """Return whether there is that column."""
        return "t_s" in titles_of(content.first_lines)

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the readings of its one device."""
        headers: dict[str, str] = {}
        torn: list[str] = []
        with table_of(_whole(content, torn), content.name, headers) as (titles, rows):
            found = read_cells(titles, rows, content.name, headers)
        return found.noted("the last line is torn and was left out") if torn else found


def _whole(content: Content, torn: list[str]) -> Iterator[str]:
    """Yield the lines, but for a last one that was cut: it has fewer cells than the one before."""
    before = ""
    for line in content.lines():
        if before and not line.endswith("\n") and _cells(line) < _cells(before):
            torn.append(line)
        else:
            yield line
        before = line


def _cells(line: str) -> int:
    return line.count(",") + line.count(";") + line.count("\t")


_TIMES = ("start_us", "dur_us")
_WHOLE = ("grid_blocks", "block_threads", "regs", "smem_bytes")


class KernelsReader:
    """Reads a table with columns `start_us`, `dur_us`, `grid_blocks`, `block_threads`."""

    label = "CSV of kernels with columns start_us, dur_us, grid_blocks"

    def detect(self, content: Content) -> bool:
        """Return whether there are those columns."""
        return {*_TIMES, _WHOLE[0]} <= set(titles_of(content.first_lines))

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the profile; `Malformed` where its GPU is not given: the table cannot say."""
        if options.sms is None or options.compute_capability is None:
            raise Malformed(f"{content.name} does not say which GPU it is of", f"add {ASKS}")
        profile = Profile(content.name, "kernels", options)
        with table_of(content.lines(), content.name, {}) as (titles, rows):
            at = {title: index for index, title in enumerate(titles)}
            for line, cells in numbered(rows, titles, content.name):
                found = [
                    number_of(cells[at[title]], line, content.name, 1.0) if title in at else None
                    for title in (*_TIMES, *_WHOLE, "device")
                ]
                start, duration = (math.nan if one is None else one for one in found[:2])
                blocks, threads, registers, shared = (
                    int(min(max(one or 0.0, 0.0), 2.0**50)) for one in found[2:6]
                )
                name = cells[at["name"]] if "name" in at else ""
                launch = (start, duration, blocks, threads, registers, shared)
                profile.add(int(found[6] or 0), launch, name)
        return profile.trace()


class SmiReader:
    """Reads tables with times and a GPU's utilization, by their titles or by `--columns`."""

    label = "a log of nvidia-smi --query-gpu=timestamp,... --format=csv, or a table like it"

    def detect(self, content: Content) -> bool:
        """Return whether there are titles of a GPU's use, or rows as nvidia-smi has them."""
        lines = content.first_lines[:SEARCHED_LINES]
        return layout_in([cells_of(line) for line in lines]) is not None or _headless(lines)

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the readings of every device."""
        return Table(content, options, "nvidia-smi").trace()


def _headless(lines: Sequence[str]) -> bool:
    """Return whether a log begins with a row: a time, and a cell in percent or MiB."""
    for line in lines[:3]:
        cells = cells_of(line)
        if any(cell.endswith((" %", " MiB")) for cell in cells):
            try:
                Clock().one(cells[0])
            except ValueError:
                continue
            return True
    return False


_DEVICE = re.compile(
    r"(?:.*/)?(?:cuda:(\d+)(?: \(gpu:(\d+)\))?|gpu:(\d+))/(\w+) \((%|MiB|W)\)/mean"
)
_TIME = re.compile(r"(?:.*/)?(?:last_)?timestamp|time")
_NAMES = {
    "gpu_utilization": "utilization",
    "memory_used": "memory_used",
    "memory_total": "memory_total",
    "power_usage": "power",
}


def _known(title: str) -> str:
    """Return a title of nvitop as one that is known: of the physical GPU, where both are named."""
    found = _DEVICE.fullmatch(title)
    if found is not None and found[4] in _NAMES:
        return f"gpu{found[2] or found[3] or found[1]}_{_NAMES[found[4]]} [{found[5]}]"
    return "timestamp" if _TIME.fullmatch(title) else ""


class NvitopReader:
    """Reads means of every device; the other statistics beside them are left alone."""

    label = "CSV of nvitop's collector"

    def detect(self, content: Content) -> bool:
        """Return whether the first line names a utilization of a device as nvitop does."""
        return layout_in([cells_of(line) for line in content.first_lines[:1]], _known) is not None

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the readings of every device."""
        return Table(content, options, "nvitop", _known).trace()
