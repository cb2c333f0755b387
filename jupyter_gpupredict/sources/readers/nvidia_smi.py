"""Logs of nvidia-smi --query-gpu --format=csv, and tables that people's scripts make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.sources.cells import Clock
from jupyter_gpupredict.sources.tables import cells_of, layout_in
from jupyter_gpupredict.sources.titled import SEARCHED_LINES, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace


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
