"""CSV in our own columns: `t_s` and metrics by their names in tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.sources.tables import read_cells, table_of, titles_of

if TYPE_CHECKING:
    from collections.abc import Iterator

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
