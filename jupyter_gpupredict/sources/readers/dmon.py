"""Logs of `nvidia-smi dmon` and `dcgmi dmon`: columns of figures under lines that begin with #."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.sources.cells import Clock, number_in
from jupyter_gpupredict.sources.logs import Log

if TYPE_CHECKING:
    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace

_MIB = 2.0**20
_SMI = {
    "sm": ("gpu_util_ratio", 0.01),
    "mem": ("mem_util_ratio", 0.01),
    "fb": ("memory_used_bytes", _MIB),
    "pwr": ("power_watts", 1.0),
}
_DCGM = {
    "gputl": ("gpu_util_ratio", 0.01),
    "gract": ("gr_active_ratio", 1.0),
    "smact": ("sm_active_ratio", 1.0),
    "smocc": ("sm_occupancy_ratio", 1.0),
    "tenso": ("tensor_active_ratio", 1.0),
    "drama": ("dram_active_ratio", 1.0),
    "mcutl": ("mem_util_ratio", 0.01),
    "fbusd": ("memory_used_bytes", _MIB),
    "power": ("power_watts", 1.0),
}
_SIZES = ("fbttl", "fbfre")
_SHARES = ("gpu_util_ratio", "gr_active_ratio", "sm_active_ratio")
_PERIOD_S = 1.0
"""Between two looks of either program, where its -d says nothing else."""


class DmonReader:
    """Reads the figures of every GPU that nvidia-smi dmon looked at."""

    label = "a log of nvidia-smi dmon"
    _titles = re.compile(
        r"#[\s,]*(?:date[\s,]+)?(?:time[\s,]+)?gpu(?:[\s,]+(?:pwr|[gm]?temp|sm|mem|enc|dec|jpg|ofa|"
        r"[mp]clk|fb|bar1|ccpm|[pt]viol|[sd]becc|pci|[rt]xpci|nvl[rt]x|gpm\w*))+[\s,]*",
        re.IGNORECASE,
    )

    def detect(self, content: Content) -> bool:
        """Return whether its titles stand among the first lines."""
        return any(self._titles.fullmatch(line) for line in content.first_lines[:50])

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the readings of every device."""
        return _Figures(content.name, "nvidia-smi dmon", _SMI, options, "sm", "-s um").read(
            content, self._titles
        )


class DcgmiReader(DmonReader):
    """Reads the figures of every GPU that dcgmi dmon looked at."""

    label = "a log of dcgmi dmon"
    _titles = re.compile(r"#\s*Entity\s+\w.*", re.IGNORECASE)

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the readings of every device."""
        return _Figures(content.name, "dcgmi dmon", _DCGM, options, "GPUTL", "-e 203,252,250").read(
            content, self._titles
        )


class _Figures:
    """One log, read once."""

    def __init__(
        self,
        name: str,
        origin: str,
        known: dict[str, tuple[str, float]],
        options: ReadOptions,
        share: str,
        ask: str,
    ) -> None:
        self._name, self._origin, self._known = name, origin, known
        self._interval_s, self._share, self._ask = options.interval_s, share, ask
        self._titles: list[str] = []
        self._log: Log | None = None
        self._metrics: list[str] = []
        self._clock = Clock()
        self._strays, self._kept = 0, 0

    def read(self, content: Content, titles: re.Pattern[str]) -> Trace:
        """Return the recording."""
        whole = True
        for line in content.lines():
            whole = line.endswith("\n")
            if titles.fullmatch(line.strip()):
                self._begin(line.strip())
            elif not line.startswith("#") and self._titles and line.strip():
                self._row(line.replace(",", " ").split(), whole)
        if self._log is None or self._strays > self._kept:
            raise Malformed(f"{self._name}: {self._strays} lines are not rows", "was it cut?")
        if self._strays:
            self._log.note(f"{self._strays} lines that are not rows were left out")
        return self._log.trace()

    def _begin(self, line: str) -> None:
        titles = line.lstrip("#").replace(",", " ").lower().split()
        if titles == self._titles:
            return
        metrics = list(dict.fromkeys(self._known[t][0] for t in titles if t in self._known))
        if not set(metrics) & set(_SHARES):
            raise Malformed(f"{self._name} holds no {self._share}", f"{self._origin} {self._ask}")
        if self._log is not None and metrics != self._metrics:
            raise Malformed(f"{self._name} changes its columns", "split it where they change")
        self._titles, self._metrics = titles, metrics
        self._log = self._log or Log(self._name, self._origin, metrics, "add the column gpu")

    def _row(self, cells: list[str], whole: bool) -> None:
        titles, log = self._titles, self._log
        if cells[:1] == ["ID"] or log is None:
            return
        if titles[0] == "entity" and len(cells) > 1:
            cells = [cells[1] if cells[0] == "GPU" else f"{cells[0]} {cells[1]}", *cells[2:]]
        held = dict(zip(titles, cells, strict=False))
        try:
            if len(cells) != len(titles):
                raise ValueError("not a row")
            key = held.get("gpu") or held["entity"]
            texts = {
                self._known[t][0]: (held[t], self._known[t][1]) for t in titles if t in self._known
            }
            values = [number_in(*texts[metric]) for metric in self._metrics]
            stamp = f"{held.get('date', '')} {held['time']}".strip() if "time" in held else ""
            time_s = self._clock.one(stamp) if stamp else math.nan
            sizes = [number_in(held.get(t, "-"), _MIB) for t in _SIZES]
        except ValueError:
            if whole:
                self._strays += 1
            else:
                log.note("the last line is torn and was left out")
            return
        self._kept += 1
        device = log.device(
            f"gpu{key}", index=int(key) if key.isdecimal() and len(key) < 6 else None
        )
        if not stamp:
            step_s = self._interval_s or _PERIOD_S
            time_s = step_s * device.count
            log.note(f"it holds no times: its rows are taken to be {step_s:g} s apart (--interval)")
        known = dict(zip(self._metrics, values, strict=True))
        for size in (sizes[0], sizes[1] + known.get("memory_used_bytes", math.nan)):
            device.total_bytes = max(device.total_bytes, size)
        device.add(time_s, values)
