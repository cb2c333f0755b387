"""Files on this machine or in an object store: found, and opened. The only user of fsspec.

A name with `://` is fsspec's; every other one is a path.
"""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import InvalidOption, Malformed, MissingExtra, TraceError
from jupyter_gpupredict.core.files import STDIN, open_given

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO


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
        raise InvalidOption(f"no trace in {pattern}", "they end in " + " or ".join(endings))
    return kept


def is_url(name: str) -> bool:
    """Return whether a name is fsspec's."""
    return "://" in name


def open_binary(name: str) -> BinaryIO:
    """Open a file.

    Raises:
        Malformed: It cannot be opened.
    """
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


def version(name: str) -> str:
    """Return what changes when a file is written again; empty where that cannot be known."""
    try:
        if is_url(name):
            store, path = _store(name)
            return str(store.ukey(path))
        status = Path(name).stat()
    except Exception:  # noqa: BLE001 - opening it will tell
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
