"""Files on this machine or in an object store: found, opened, traces in Parquet, rows of results.

A name with `://` is fsspec's; every other one is a path. Only this module uses fsspec and pyarrow.

A Parquet file holds one trace in the columns of our CSV (`t_s`, `gpu_util_pct`, ...), or many of
them one after another, with a column `trace` that names them. A fleet of a million short traces is
a few hundred such files; as many small ones would cost more to open than to read.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import itertools
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import (
    InvalidOption,
    Malformed,
    MissingExtra,
    TraceError,
    Truncated,
)
from jupyter_gpupredict.core.files import STDIN, open_given, require_expandable
from jupyter_gpupredict.sources.tables import read_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from jupyter_gpupredict.sources.recording import Trace

    Rows = Sequence[Mapping[str, Any]]

TRACE = "trace"
GROUP_ROWS = 10_000
"""Of the Parquet that we write: the same file, however the rows came."""
_ARROW = {"text": "string", "number": "float64", "whole": "int64", "flag": "bool_"}
"""Our words for columns -> pyarrow's types."""


# ---- found and opened --------------------------------------------------------------------------


def find(pattern: str, endings: Sequence[str]) -> list[str]:
    """Return the files of a folder, or that match a pattern, sorted by name.

    Args:
        pattern: A file, a folder, or a pattern as the shell has it (`**` for folders in folders).
        endings: Of the files that are taken from a folder or pattern.

    Raises:
        InvalidOption: There is none, or the store cannot be asked.
        MissingExtra: A name with `://`, and fsspec is not installed.
    """
    found = _remote(pattern) if is_url(pattern) else _local(pattern)
    kept = found if found == [pattern] else [one for one in found if one.endswith(tuple(endings))]
    if not kept:
        hint = "they end in " + " or ".join(endings) if any(endings) else "the folder is empty"
        raise InvalidOption(f"no trace in {pattern}", hint)
    return kept


def is_url(name: str) -> bool:
    """Return whether a name is fsspec's."""
    return "://" in name


def open_binary(name: str) -> BinaryIO:
    """Open a file; raise `Malformed` if that fails."""
    try:
        if is_url(name):
            store, path = _store(name)
            opened: BinaryIO = store.open(path, "rb")
            return opened
        return open_given(name)
    except TraceError:
        raise
    except Exception as error:  # each store has errors of its own
        raise Malformed(f"cannot read {name}: {_why(error)}", "is the name right?") from error


def _version(name: str) -> str:
    """Return what changes when a file is written again; empty where that cannot be known."""
    try:
        if is_url(name):
            store, path = _store(name)
            return str(store.ukey(path))
        status = Path(name).stat()
    except Exception:  # noqa: BLE001 - opening it says why
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _local(pattern: str) -> list[str]:
    place = Path(pattern)
    if place.is_dir():
        return sorted(str(one) for one in place.iterdir() if one.is_file())
    if place.exists() or pattern == STDIN:
        return [pattern]
    return sorted(one for one in glob.glob(pattern, recursive=True) if Path(one).is_file())  # noqa: PTH207 - Path.glob takes no absolute pattern


def _remote(pattern: str) -> list[str]:
    store, path = _store(pattern)
    try:
        if glob.has_magic(path):
            found = store.glob(path)
        elif store.isdir(path):
            found = [one["name"] for one in store.ls(path, detail=True) if one["type"] == "file"]
        else:
            return [pattern]
    except Exception as error:  # each store has errors of its own
        raise InvalidOption(
            f"cannot list {pattern}: {_why(error)}", "is the name right, and may you read it?"
        ) from error
    return sorted(store.unstrip_protocol(one) for one in found)


def _store(name: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtra(f"reading {name.partition('://')[0]}://", "fsspec", "dask") from error
    try:
        store, path = url_to_fs(name)
    except (ImportError, ValueError) as error:
        raise InvalidOption(f"cannot open {name}: {error}", "install what it names") from error
    return store, path


def _why(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return said.splitlines()[0][:160]


# ---- traces in Parquet -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """One trace of a Parquet file: some of its rows."""

    path: str
    version: str
    """As `_version`, so that no trace of a file that was written over is kept."""
    name: str
    """What the column `trace` says; empty where there is none."""
    first: int
    """Its first row."""
    rows: int


def parts(path: str) -> list[Part]:
    """Return the traces of a file, in its order; one of all rows where it has no column `trace`.

    Raises:
        Malformed: The file is not Parquet, or the rows of a trace do not stand together.
        MissingExtra: pyarrow is not installed.
    """
    version = _version(path)
    with _parquet(path) as (pa, opened):
        if TRACE not in opened.schema_arrow.names:
            return [Part(path, version, "", 0, opened.metadata.num_rows)]
        names = opened.read(columns=[TRACE]).column(0).cast(pa.string()).combine_chunks()
    runs = pa.compute.run_end_encode(names)
    found: dict[str, Part] = {}
    first = 0
    for value, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        if value in found:
            raise Malformed(f"{path}: rows of trace {value!r:.80} stand apart", "sort by trace")
        found[value] = Part(path, version, str(value), first, end - first)
        first = end
    return list(found.values())


def read(part: Part) -> Trace:
    """Return one trace of a file, as the CSV with the same cells reads.

    Raises:
        TraceError: The file is not Parquet, or holds no trace.
        MissingExtra: pyarrow is not installed.
    """
    edges = _group_edges(part.path, part.version)
    groups = [
        number
        for number, (first, end) in enumerate(itertools.pairwise(edges))
        if first < part.first + part.rows and part.first < end
    ]
    if not groups:
        raise Truncated(f"{part.path} holds no reading", "was the run long enough?")
    table, headers = _read_groups(part.path, part.version, tuple(groups))
    kept = table.slice(part.first - edges[groups[0]], part.rows)
    titles = [title for title in kept.column_names if title != TRACE]
    columns = [kept.column(title).to_pylist() for title in titles]
    rows = (
        ["" if value is None else str(value) for value in row] for row in zip(*columns, strict=True)
    )
    return read_cells(titles, rows, part.name or Path(part.path).name, headers)


@functools.lru_cache(maxsize=8)
def _group_edges(path: str, version: str) -> tuple[int, ...]:
    """Return the first row of each row group, and the end of the last one.

    They are kept, since many parts of one file are read in a row.
    """
    with _parquet(path) as (_, opened):
        about = opened.metadata
        sizes = (about.row_group(number).num_rows for number in range(about.num_row_groups))
        return tuple(itertools.accumulate(sizes, initial=0))


@functools.lru_cache(maxsize=1)
def _read_groups(path: str, version: str, groups: tuple[int, ...]) -> tuple[Any, dict[str, str]]:
    """Return some row groups as a table, and the file's headers."""
    with _parquet(path) as (_, opened):
        held = opened.schema_arrow.metadata or {}
        known = [name for name in ("gpu", "epochs_total") if name.encode() in held]
        headers = {name: held[name.encode()].decode(errors="replace") for name in known}
        return opened.read_row_groups(list(groups)), headers


@contextlib.contextmanager
def _parquet(path: str) -> Iterator[tuple[Any, Any]]:
    """Yield (pyarrow, the open file)."""
    pa = _pyarrow("reading Parquet")
    with open_binary(path) as file:
        try:
            opened = pa.parquet.ParquetFile(file)
            about = opened.metadata
            expanded = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
            require_expandable(path, expanded, file.seek(0, os.SEEK_END))
        except (OSError, pa.ArrowException) as error:
            raise Malformed(f"{path} is not Parquet: {str(error)[:120]}", "was it cut?") from error
        yield pa, opened


def _pyarrow(what: str) -> Any:
    try:
        import pyarrow
        import pyarrow.compute  # noqa: F401 - attributes of pyarrow from then on
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingExtra(what, "pyarrow", "dask") from error
    return pyarrow


# ---- rows of results ---------------------------------------------------------------------------


@contextlib.contextmanager
def row_file(path: str, kinds: Mapping[str, str]) -> Iterator[Callable[[Rows], None]]:
    """Yield what appends rows to a file, which is moved to its place when the last row is in.

    Args:
        path: Ends in `.parquet` or `.jsonl`; written over.
        kinds: Column -> `text`, `number`, `whole` or `flag`, or a list of them, `[number]`.

    Raises:
        InvalidOption: It ends otherwise, or cannot be written.
        MissingExtra: It takes pyarrow, which is not installed.
    """
    place = Path(path)
    if place.suffix not in (".parquet", ".jsonl"):
        raise InvalidOption(f"cannot write {path}: its ending is unknown", ".parquet or .jsonl")
    try:
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    except OSError as error:
        raise InvalidOption(f"cannot write {path}: {error.strerror}", "another place?") from error
    temporary = Path(name)
    form = _parquet_rows if place.suffix == ".parquet" else _json_rows
    try:
        with os.fdopen(handle, "wb") as file, form(file, kinds) as write:
            yield write
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def line(row: Mapping[str, Any]) -> str:
    """Return a row as one line of JSON."""
    return json.dumps(row, allow_nan=False, ensure_ascii=False)


@contextlib.contextmanager
def _json_rows(file: BinaryIO, kinds: Mapping[str, str]) -> Iterator[Callable[[Rows], None]]:
    yield lambda rows: file.writelines(f"{line(row)}\n".encode() for row in rows)


@contextlib.contextmanager
def _parquet_rows(file: BinaryIO, kinds: Mapping[str, str]) -> Iterator[Callable[[Rows], None]]:
    """Yield what appends rows, of which few are held; a column that a row lacks is null there."""
    pa = _pyarrow("writing Parquet")
    schema = pa.schema([(name, _arrow_type(pa, kind)) for name, kind in kinds.items()])
    held: list[Mapping[str, Any]] = []

    def flush(least: int) -> None:
        while len(held) >= least:
            writer.write_table(pa.Table.from_pylist(held[:GROUP_ROWS], schema=schema))
            del held[:GROUP_ROWS]

    def write(rows: Rows) -> None:
        held.extend(rows)
        flush(GROUP_ROWS)

    with pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        yield write
        flush(1)


def _arrow_type(pa: Any, kind: str) -> Any:
    if kind.startswith("["):
        return pa.list_(_arrow_type(pa, kind[1:-1]))
    return getattr(pa, _ARROW[kind])()
