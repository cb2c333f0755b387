"""Parquet: traces in, rows of results out. The only user of pyarrow.

A file holds one trace in the columns of our CSV (`t_s`, `gpu_util_pct`, ...), or many of them one
after another, told apart by a column `trace`. A fleet of a million short traces is a few hundred
such files; as many small ones would cost more to open than to read.
"""

from __future__ import annotations

import functools
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.backtest import files
from jupyter_gpupredict.core.errors import Malformed, MissingExtra, Truncated
from jupyter_gpupredict.core.files import require_expandable
from jupyter_gpupredict.sources.traces import read_cells

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

    from jupyter_gpupredict.sources.recording import Trace

TRACE = "trace"
GROUP_ROWS = 10_000
"""Of what we write: the same file, however the rows came."""
_ARROW = {"text": "string", "number": "float64", "whole": "int64", "flag": "bool_"}
"""Our words for columns -> pyarrow's types."""


@dataclass(frozen=True, slots=True)
class Part:
    """One trace of a file: some of its rows."""

    path: str
    version: str
    """As `files.version`, so that nobody keeps what has been written over."""
    name: str
    """What the column `trace` says; empty where there is none."""
    first: int
    """Its first row."""
    rows: int


def parts(path: str) -> list[Part]:
    """Return the traces of a file, in its order; one of all rows where it has no column `trace`.

    Raises:
        Malformed: It is no Parquet, or the rows of a trace do not stand together.
        MissingExtra: pyarrow is not installed.
    """
    pa = arrow("reading Parquet")
    version = files.version(path)
    with files.open_binary(path) as file:
        opened = _opened(pa, file, path)
        if TRACE not in opened.schema_arrow.names:
            return [Part(path, version, "", 0, opened.metadata.num_rows)]
        names = opened.read(columns=[TRACE]).column(0).cast(pa.string()).combine_chunks()
    runs = pa.compute.run_end_encode(names)
    found: list[Part] = []
    first, seen = 0, set()
    for value, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        if value in seen:
            raise Malformed(f"{path}: rows of trace {value!r:.80} stand apart", "sort by trace")
        seen.add(value)
        found.append(Part(path, version, str(value), first, end - first))
        first = end
    return found


def read(part: Part) -> Trace:
    """Return one trace of a file; as the CSV with the same cells would read.

    Raises:
        TraceError: It is no Parquet, or holds no trace.
        MissingExtra: pyarrow is not installed.
    """
    block = next(
        (one for one in _blocks(part.path, part.version) if part.first < one.first + one.rows),
        None,
    )
    if block is None:
        raise Truncated(f"{part.path} holds no reading", "was the run long enough?")
    end = part.first + part.rows
    groups = [
        one.number
        for one in _blocks(part.path, part.version)
        if one.first < end and part.first < one.first + one.rows
    ]
    table, headers = _table(part.path, part.version, tuple(groups))
    kept = table.slice(part.first - block.first, part.rows)
    titles = [title for title in kept.column_names if title != TRACE]
    columns = [kept.column(title).to_pylist() for title in titles]
    rows = ([_cell(value) for value in row] for row in zip(*columns, strict=True))
    return read_cells(titles, rows, part.name or Path(part.path).name, headers)


@dataclass(frozen=True, slots=True)
class _Block:
    """One row group."""

    number: int
    first: int
    rows: int


@functools.lru_cache(maxsize=8)
def _blocks(path: str, version: str) -> tuple[_Block, ...]:
    """Return a file's row groups; kept, since many parts of one file are read in a row."""
    with files.open_binary(path) as file:
        about = _opened(arrow("reading Parquet"), file, path).metadata
    sizes = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
    firsts = [0, *itertools.accumulate(sizes)]
    return tuple(
        _Block(n, first, rows) for n, (first, rows) in enumerate(zip(firsts, sizes, strict=False))
    )


@functools.lru_cache(maxsize=1)
def _table(path: str, version: str, groups: tuple[int, ...]) -> tuple[Any, dict[str, str]]:
    """Return some row groups as a table, and the file's headers."""
    with files.open_binary(path) as file:
        opened = _opened(arrow("reading Parquet"), file, path)
        said = opened.schema_arrow.metadata or {}
        headers = {
            key.decode(): value.decode(errors="replace")
            for key, value in said.items()
            if key in (b"gpu", b"epochs_total")
        }
        return opened.read_row_groups(list(groups)), headers


def arrow(what: str) -> Any:
    """Return pyarrow with its Parquet reader loaded.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute  # noqa: F401 - attributes of pyarrow from then on
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingExtra(what, "pyarrow", "dask") from error
    return pyarrow


def _opened(pa: Any, file: BinaryIO, name: str) -> Any:
    try:
        opened = pa.parquet.ParquetFile(file)
        about = opened.metadata
        expanded = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
        require_expandable(name, expanded, file.seek(0, os.SEEK_END))
        return opened
    except (OSError, pa.ArrowException) as error:
        raise Malformed(f"{name} is no Parquet: {str(error)[:120]}", "was it cut?") from error


def _cell(value: object) -> str:
    return "" if value is None else str(value)


class ParquetRows:
    """Rows of one kind into a file, some at a time, so that none need to be held."""

    def __init__(self, file: BinaryIO, kinds: Mapping[str, str]) -> None:
        """Begin a file.

        Args:
            file: Where to.
            kinds: Column -> `text`, `number`, `whole` or `flag`, or a list of them, `[number]`.
        """
        self._pa = arrow("writing Parquet")
        self._schema = self._pa.schema([(name, self._type(kind)) for name, kind in kinds.items()])
        self._writer = self._pa.parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._held: list[Mapping[str, object]] = []

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Append rows; a column that a row lacks is null there."""
        self._held += rows
        while len(self._held) >= GROUP_ROWS:
            self._flush(GROUP_ROWS)

    def close(self) -> None:
        """Write the rest and the end of the file."""
        if self._held:
            self._flush(len(self._held))
        self._writer.close()

    def _flush(self, count: int) -> None:
        part, self._held = self._held[:count], self._held[count:]
        self._writer.write_table(self._pa.Table.from_pylist(part, schema=self._schema))

    def _type(self, kind: str) -> Any:
        if kind.startswith("["):
            return self._pa.list_(self._type(kind[1:-1]))
        return getattr(self._pa, _ARROW[kind])()
