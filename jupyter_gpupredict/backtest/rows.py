"""Rows of results into a file, whole or not at all: Parquet or JSON Lines by its name."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from jupyter_gpupredict.backtest.columns import ParquetRows
from jupyter_gpupredict.core.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType


class RowFile:
    """Written beside its place and moved there when the last row is in."""

    def __init__(self, path: str, kinds: Mapping[str, str]) -> None:
        """Say where to.

        Args:
            path: Ends in `.parquet` or `.jsonl`; written over.
            kinds: As `ParquetRows`.

        Raises:
            InvalidOption: It ends otherwise, or cannot be written.
            MissingExtra: It takes pyarrow, which is not installed.
        """
        self._path = Path(path)
        if self._path.suffix not in (".parquet", ".jsonl"):
            raise InvalidOption(f"--out {path} has no form that we write", ".parquet or .jsonl")
        try:
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        except OSError as error:
            raise InvalidOption(
                f"cannot write {path}: {error.strerror}", "another place?"
            ) from error
        self._temporary = Path(name)
        self._file = os.fdopen(handle, "wb")
        self._columns: ParquetRows | None = None
        try:
            if self._path.suffix == ".parquet":
                self._columns = ParquetRows(self._file, kinds)
        except BaseException:
            self._give_up()
            raise

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows."""
        if self._columns is not None:
            self._columns.write(rows)
        else:
            self._file.writelines(f"{line(row)}\n".encode() for row in rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._give_up()
            return
        if self._columns is not None:
            self._columns.close()
        self._file.close()
        self._temporary.chmod(0o666 & ~_umask())
        self._temporary.replace(self._path)

    def _give_up(self) -> None:
        if self._columns is not None:
            self._columns.close()
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def line(row: Mapping[str, Any]) -> str:
    """Return a row as one line of JSON."""
    return json.dumps(row, allow_nan=False, ensure_ascii=False)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
