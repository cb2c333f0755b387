"""CSV that nvitop's collector gives: `DataFrame(collector.collect()).to_csv()`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.sources.tables import cells_of, layout_in
from jupyter_gpupredict.sources.titled import Table

if TYPE_CHECKING:
    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace

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
