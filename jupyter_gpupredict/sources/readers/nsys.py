"""Nsight Systems: reports as SQLite (`nsys export --type sqlite`), and tables of `nsys stats`."""

from __future__ import annotations

import contextlib
import math
import re
import sqlite3
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import Malformed, Truncated
from jupyter_gpupredict.predict.occupancy import limits_of
from jupyter_gpupredict.sources.profiles import ASKS, Gpu, Profile, number, whole
from jupyter_gpupredict.sources.tables import table_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace


_KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
_GPUS = "TARGET_INFO_GPU"
_FACTS = (
    "start", "end", "deviceId", "gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ",
    "registersPerThread", "staticSharedMemory", "dynamicSharedMemory",
)  # fmt: skip


class NsysSqliteReader:
    """Reads the kernels and the devices; columns are found by their names."""

    label = "a report of Nsight Systems (.sqlite)"

    def detect(self, content: Content) -> bool:
        """Return whether it is a database with tables of Nsight Systems'."""
        marks = (b"CUPTI_ACTIVITY", b"TARGET_INFO", b"ENUM_NSYS", b"StringIds")
        head = content.head
        return head.startswith(b"SQLite format 3\0") and any(mark in head for mark in marks)

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the profile."""
        profile = Profile(content.name, "Nsight Systems", options)
        try:
            with content.local() as path, _opened(path) as database:
                _read(database, profile, content.name)
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: its own messages
            raise Malformed(f"{content.name} cannot be read: {error}", "was it cut?") from error
        return profile.trace()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(
        sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    ) as database:
        database.text_factory = lambda text: text.decode("utf-8", "replace")
        database.row_factory = sqlite3.Row
        yield database


def _read(database: sqlite3.Connection, profile: Profile, name: str) -> None:
    tables = _tables(database)
    for one in database.execute(f"SELECT * FROM {_GPUS}") if _GPUS in tables else ():  # noqa: S608
        profile.device(_device(one), _gpu(one))
    if _KERNELS not in tables:
        raise Truncated(f"{name} holds no kernels", "was the GPU used, and --trace cuda given?")
    held = {row[1] for row in database.execute(f"PRAGMA table_info({_KERNELS})")}
    lacks = [fact for fact in _FACTS[:4] if fact not in held]
    if lacks:
        raise Malformed(f"{name} has no column {lacks[0]}", "export it with a newer nsys")
    named = next((one for one in ("demangledName", "shortName") if one in held), None)
    columns = [f"k.{fact}" if fact in held else "0" for fact in _FACTS]
    strings = named is not None and "StringIds" in tables
    query = (
        f"SELECT {', '.join(columns)}, {'s.value' if strings else 'NULL'} FROM {_KERNELS} k "  # noqa: S608 - names of ours
        + (f"LEFT JOIN StringIds s ON s.id = k.{named} " if strings else "")
        + "ORDER BY k.start"
    )
    for row in database.execute(query):
        start, end, device, *sizes, registers, static, dynamic, kernel = tuple(row)
        launch = (
            number(start) / 1e3,
            (number(end) - number(start)) / 1e3,
            math.prod(whole(one) for one in sizes[:3]),
            math.prod(whole(one) for one in sizes[3:]),
            whole(registers),
            whole(static) + whole(dynamic),
        )
        profile.add(whole(device), launch, str(kernel or ""))


def _tables(database: sqlite3.Connection) -> set[str]:
    """Return the names of the tables; a view may do anything, and is none."""
    found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {str(row[0]) for row in found}


def _device(row: sqlite3.Row) -> int:
    """Return CUDA's number of a device, which kernels name; else its place in the report."""
    facts = dict(row)
    return whole(facts["cuDevice"] if facts.get("cuDevice") is not None else facts.get("id"))


def _gpu(row: sqlite3.Row) -> Gpu:
    facts: dict[str, Any] = dict(row)
    sm = limits_of(
        (whole(facts.get("computeMajor")), whole(facts.get("computeMinor"))),
        threads=32 * whole(facts.get("maxWarpsPerSm")),
        blocks=whole(facts.get("maxBlocksPerSm")),
        shared_bytes=whole(facts.get("maxShmemPerSm")),
        registers=whole(facts.get("maxRegistersPerSm")),
    )
    uuid = str(facts.get("uuid") or "")
    return Gpu(
        str(facts.get("name") or ""),
        uuid if not uuid or uuid.startswith("GPU-") else f"GPU-{uuid}",
        whole(facts.get("smCount"), 4096) or None,
        sm,
        whole(facts.get("totalMemory"), 1 << 50) or None,
    )


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
