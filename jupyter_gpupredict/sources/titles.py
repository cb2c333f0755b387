"""Titles of logs: which column of a table holds what, by the names that tools and people use."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.sources.cells import UNITS

if TYPE_CHECKING:
    from collections.abc import Sequence

Rename = Callable[[str], str]
_NAMES: dict[str, tuple[str, ...]] = {
    "gpu_util_ratio": (
        "utilization_gpu", "gpu_utilization", "gpu_util", "gpu_utilisation", "util_gpu",
        "gpu_usage", "usage_gpu", "gpu_load", "gpu_core_load", "gpu_busy", "gpu_activity",
        "sm_util", "gpu_sm_util", "utilization", "util", "gpu",
    ),
    "mem_util_ratio": ("utilization_memory",),
    "memory_used_bytes": (
        "memory_used", "mem_used", "used_memory", "gpu_memory_used", "gpu_mem_used", "vram_used",
        "used_vram", "gpu_used_memory", "memory_usage", "mem_usage", "gpu_memory_usage",
        "gpu_mem_usage", "vram_usage", "gpu_memory", "gpu_mem", "gpu_vram", "vram", "mem", "memory",
        "used_gpu_memory",
    ),
    "power_watts": ("power_draw", "power_draw_instant", "gpu_power", "gpu_power_draw", "power",
                    "power_usage"),
    "total": ("memory_total", "mem_total", "total_memory", "gpu_memory_total", "gpu_mem_total",
              "vram_total", "total_vram", "gpu_total_memory"),
    "free": ("memory_free", "mem_free", "free_memory", "gpu_memory_free", "vram_free"),
    "time": ("timestamp", "datetime", "date_time", "time", "ts", "unix_time", "epoch_time",
             "elapsed", "elapsed_time", "time_elapsed", "runtime", "seconds", "date"),
    "uuid": ("uuid", "gpu_uuid"),
    "bus": ("pci_bus_id", "gpu_bus_id", "bus_id", "pci_bus"),
    "index": ("index", "gpu_index", "gpu_id", "index_gpu", "gpu_idx", "device_id", "device_index",
              "device", "gpu"),
    "serial": ("serial", "gpu_serial"),
    "name": ("name", "gpu_name", "name_gpu", "device_name", "product_name", "model", "gpu_model"),
}  # fmt: skip
"""What a column is -> its names, the first found counts; units and marks are taken off before."""
_KINDS = {"gpu_util_ratio": 0.01, "mem_util_ratio": 0.01, "power_watts": 1.0}
_BYTES = ("memory_used_bytes", "total", "free")
_FAMILY = {
    unit: family
    for family, units in {
        "share": ("%", "percent", "pct", "percentage", "ratio", "fraction"),
        "bytes": ("b", "byte", "bytes", "kb", "kib", "mb", "mib", "gb", "gib"),
        "watts": ("w", "watt", "watts", "mw", "milliwatts"),
        "time": ("s", "sec", "secs", "seconds", "ms", "msec", "milliseconds", "us", "ns"),
    }.items()
    for unit in units
}
_OF = {
    **dict.fromkeys(("gpu_util_ratio", "mem_util_ratio"), "share"),
    **dict.fromkeys(_BYTES, "bytes"), "power_watts": "watts", "time": "time",
}  # fmt: skip
"""What a column is -> the family of its units."""
KEYS = ("uuid", "bus", "serial", "index", "name")
METRICS_HELD = ("gpu_util_ratio", "mem_util_ratio", "memory_used_bytes", "power_watts")
_VAGUE = ("gpu", "mem", "memory", "power")
"""Names that say what a column is only together with a unit."""
_DROPPED = frozenset(("nvidia", "avg", "mean", "average", "current"))
_OWN = re.compile(r"(utilization|memory|power)\.[a-z.]+")
"""nvidia-smi's own titles: percent, MiB and W where they carry no unit."""


@dataclass(slots=True)
class _Title:
    """A title taken apart."""

    text: str
    name: str
    unit: str
    number: int | None
    """Of the device, where it names one: 1 for `gpu1_util`."""

    @classmethod
    def of(cls, text: str) -> _Title:
        """Take it apart."""
        bracket = re.search(r"[\[(]([^\[\]()]*)[\])]", text)
        unit = bracket[1].strip().lower() if bracket else ""
        unit = unit if unit in UNITS else ""
        plain = text[: bracket.start()] + " " + text[bracket.end() :] if bracket else text
        unit = "%" if "%" in plain else unit
        split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", plain).lower()
        words = [word for word in re.findall(r"[a-z]+|\d+", split) if word not in _DROPPED]
        number = None
        for at, word in enumerate(words):
            if word.isdecimal() and at and words[at - 1] in ("gpu", "device", "cuda"):
                number = int(word[:6])
                del words[at]
                break
        while len(words) > 1 and words[-1] in _FAMILY:
            unit = words.pop()
        return cls(text, "_".join(words), unit, number)


@dataclass(slots=True)
class Layout:
    """Which column holds what."""

    titles: list[str]
    times: list[int] = field(default_factory=list)
    """One column, or that of the date and that of the time."""
    time_scale: float | None = None
    keys: dict[str, int] = field(default_factory=dict)
    devices: dict[int | None, dict[str, tuple[int, float | None]]] = field(default_factory=dict)
    """Device number, None for a row's own -> what -> (column, its scale if that is known)."""

    @classmethod
    def of(cls, titles: Sequence[str], rename: Rename = str) -> Layout:
        """Find the columns that we know.

        Args:
            titles: As the log has them.
            rename: Gives a title of another tool as one that is known here.
        """
        found = cls(list(titles))
        parts = [_Title.of(rename(title)) for title in titles]
        taken: set[int] = set()
        words = {word for one in parts for word in one.name.split("_")}
        for what, names in _NAMES.items():
            family = _OF.get(what, "")
            for name, at in ((name, at) for name in names for at in range(len(parts))):
                one = parts[at]
                fits = not one.unit or _FAMILY[one.unit] == family
                if one.name != name or at in taken or not fits:
                    continue
                if name in _VAGUE and family and not one.unit:
                    continue
                if what in ("gpu_util_ratio", *_BYTES) and _of_the_host(one, words):
                    continue
                if what == "time":
                    found.times.append(at)
                elif not family:
                    found.keys.setdefault(what, at)
                else:
                    scale = _scale_of(what, one)
                    found.devices.setdefault(one.number, {}).setdefault(what, (at, scale))
                taken.add(at)
        named = {parts[at].name: at for at in reversed(found.times)}
        both = "date" in named and "time" in named
        found.times = [named["date"], named["time"]] if both else found.times[:1]
        if found.times:
            found.time_scale = UNITS.get(parts[found.times[0]].unit)
        return found

    @property
    def shared(self) -> list[int | None]:
        """The devices that have a share."""
        return [number for number, one in self.devices.items() if "gpu_util_ratio" in one]


def _of_the_host(title: _Title, words: set[str]) -> bool:
    """Return whether a column may be of the machine, not of its GPU, by the words of all titles."""
    marked = {"gpu", "vram"} & set(title.name.split("_")) or title.number is not None
    if marked or _OWN.fullmatch(title.text.partition(" [")[0]):
        return False
    return bool({"cpu", "ram", "host", "system"} & words) or not {"gpu", "vram", "sm"} & words


def _scale_of(what: str, title: _Title) -> float | None:
    """Return what a column's numbers are to be multiplied by; None where nothing says so."""
    if title.unit:
        return UNITS[title.unit]
    if _OWN.fullmatch(title.text):
        return 2.0**20 if what in _BYTES else _KINDS[what]
    return None if what in (*_BYTES, "gpu_util_ratio") else _KINDS[what]


def layout_in(lines: Sequence[list[str]], rename: Rename = str) -> tuple[int, Layout] | None:
    """Return (number, layout) of the first line of cells that are titles we know."""
    for at, cells in enumerate(lines):
        layout = Layout.of(cells, rename)
        known = {what for one in layout.devices.values() for what in one}
        own = any(_OWN.fullmatch(cell.partition(" [")[0]) for cell in cells)
        ours = "t_s" in cells
        if known & {"gpu_util_ratio", "memory_used_bytes"} and not ours and (own or len(cells) > 1):
            return at, layout
    return None
