"""Reports of Nsight Systems, exported as SQLite: `nsys export --type sqlite`."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import Malformed, Truncated
from jupyter_gpupredict.predict.occupancy import limits_of
from jupyter_gpupredict.sources.profiles import Gpu, Profile, number, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
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
