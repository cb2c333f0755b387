"""Logs of nvidia-smi --query-gpu=timestamp,... --format=csv."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.core.series import Device, Series
from jupyter_gpupredict.sources.tables import RowsBuilder, number_of, numbered, table_of, titles_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace

_SMI = {
    "utilization.gpu": ("gpu_util_ratio", 0.01),
    "utilization.memory": ("mem_util_ratio", 0.01),
    "memory.used": ("memory_used_bytes", float(1 << 20)),
    "power.draw": ("power_watts", 1.0),
}


class SmiReader:
    """Reads what nvidia-smi's query writes as CSV."""

    label = "a log of nvidia-smi --query-gpu=timestamp,... --format=csv"

    def detect(self, content: Content) -> bool:
        """Return whether a title is a property that nvidia-smi can be asked for."""
        return any(_unitless(title) in _SMI for title in titles_of(content.first_lines))

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the first device's readings."""
        with table_of(content.lines(), content.name, {}) as (titles, rows):
            return _read_smi(rows, titles, content.name)


def _read_smi(table: Iterator[list[str]], titles: list[str], name: str) -> Trace:
    plain = [_unitless(title) for title in titles]
    columns = [(index, *_SMI[title]) for index, title in enumerate(plain) if title in _SMI]
    time_at = plain.index("timestamp") if "timestamp" in plain else -1
    if time_at < 0:
        raise Malformed(f"{name} has no timestamp", "add timestamp to --query-gpu")
    key_at = next((plain.index(key) for key in ("uuid", "index", "pci.bus_id") if key in plain), -1)
    builder = RowsBuilder(name, tuple(Series(metric, "gpu") for _, metric, _ in columns))
    start: datetime | None = None
    first_key: str | None = None
    for number, cells in numbered(table, titles, name):
        key = cells[key_at].strip() if key_at >= 0 else ""
        first_key = key if first_key is None else first_key
        if key != first_key:
            builder.other_devices = True
            continue
        stamp = _stamp(cells[time_at].strip(), number, name)
        start = stamp if start is None else start
        values = [
            number_of(cells[index].strip().rstrip("%MiBW"), number, name, scale)
            for index, _, scale in columns
        ]
        builder.add((stamp - start).total_seconds(), values, number)
    return builder.trace((Device("gpu", first_key or "recorded device"),), "nvidia-smi", {})


def _unitless(title: str) -> str:
    """Return a title of nvidia-smi without its unit, such as `power.draw [W]`."""
    return title.partition("[")[0].strip() if title.endswith("]") else title


def _stamp(text: str, number: int, name: str) -> datetime:
    for form in ("%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%S"):
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007 - differences only
        except ValueError:
            continue
    raise Malformed(f"{name} line {number}: {text!r:.40} is not a time", "nvidia-smi writes them")
