"""Writes a folder whole or not at all.

A path is followed once, before anything is checked; from then on a folder or file that somebody
puts in the place of another is refused.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import ExportError, OutputExists
from jupyter_gpupredict.export.documents import render

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.export.deployment import Document

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | getattr(os, "O_PATH", os.O_RDONLY)
"""With `O_PATH`, a folder on the way need not be readable."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an export goes: an open folder, and what is still to be made in it."""

    output: Path
    """As it was named."""
    handle: int
    """Of the folder; of the nearest one above it where it does not exist."""
    missing: tuple[str, ...]


@contextmanager
def destination(output: Path) -> Iterator[Destination]:
    """Yield a folder to write to; nothing is made yet.

    Raises:
        ExportError: It, or what is written to it, cannot be written; nothing has changed.
    """
    named = output.name not in ("", "..")  # else it is another's name, such as "."
    above = Path(os.path.realpath(output.parent if named else output))
    handle, missing = os.open("/", _FOLDER), (above / output.name if named else above).parts[1:]
    try:
        while missing:
            try:
                below = os.open(missing[0], _FOLDER, dir_fd=handle)
            except FileNotFoundError:
                break
            os.close(handle)
            handle, missing = below, missing[1:]
        yield Destination(output, handle, missing)
    except OSError as error:
        in_the_way = error.errno in (errno.ENOTDIR, errno.ELOOP)
        why = "a file or a link is where a folder belongs" if in_the_way else error.strerror
        raise ExportError(f"cannot write {output}: {why}", "choose another folder") from error
    finally:
        os.close(handle)


def check(to: Destination, documents: Sequence[Document], *, overwrite: bool) -> None:
    """Refuse what is in the way of the documents.

    Raises:
        OutputExists: Files are there and may not be replaced; they are named.
        ExportError: What is there is not a plain file, which is never replaced.
    """
    kinds = {one.path: None if to.missing else _mode(to.handle, one.path) for one in documents}
    present = {path: mode for path, mode in kinds.items() if mode is not None}
    if others := [path for path, mode in present.items() if not stat.S_ISREG(mode)]:
        raise ExportError(
            f"{to.output} holds {', '.join(others)} as something else than a plain file",
            "remove it, or choose another folder",
        )
    if present and not overwrite:
        raise OutputExists(
            f"{to.output} already holds {', '.join(present)}",
            "choose another folder, or --overwrite",
        )


def publish(to: Destination, documents: Sequence[Document], *, overwrite: bool) -> tuple[Path, ...]:
    """Write the documents and return the files' paths.

    A folder that is new appears in one rename. In one that is there each file is made anew, what
    it replaces is moved aside before, and all of it is put back when one of them fails.

    Raises:
        OutputExists, ExportError: As `check`; nothing has changed.
    """
    aside = f".gpupredict-{secrets.token_hex(8)}"
    os.mkdir(aside, 0o700, dir_fd=to.handle)
    written = False
    try:
        with _folder(to.handle, aside) as spare:
            if to.missing:
                _write_new(to, documents, spare)
            else:
                _write_each(to, documents, spare, overwrite)
        written = True
    finally:
        if written or to.missing:
            shutil.rmtree(aside, ignore_errors=True, dir_fd=to.handle)
        else:
            with suppress(OSError):  # what could not be put back stays in it
                os.rmdir(aside, dir_fd=to.handle)
    return tuple(to.output / document.path for document in documents)


def _write_new(to: Destination, documents: Sequence[Document], spare: int) -> None:
    for document in documents:
        with _parent(spare, document.path, "new", make=True) as (parent, name):
            _write(parent, name, document)
    with _folder(to.handle, *to.missing[:-1], make=True) as parent:
        os.rename("new", to.missing[-1], src_dir_fd=spare, dst_dir_fd=parent)


def _write_each(
    to: Destination, documents: Sequence[Document], spare: int, overwrite: bool
) -> None:
    made: list[str] = []
    kept: list[tuple[str, str]] = []
    try:
        for number, document in enumerate(documents):
            with _parent(to.handle, document.path, make=True) as (parent, name):
                old = str(number)
                with suppress(FileNotFoundError):
                    if overwrite:
                        os.rename(name, old, src_dir_fd=parent, dst_dir_fd=spare)
                        kept.append((old, document.path))
                        if not stat.S_ISREG(_mode(spare, old) or 0):
                            raise ExportError(f"{document.path} was changed meanwhile", "try again")
                _write(parent, name, document)
                made.append(document.path)
    except BaseException:
        for path in made:
            with _parent(to.handle, path) as (parent, name), suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
        for old, path in kept:
            with suppress(OSError), _parent(to.handle, path) as (parent, name):
                os.rename(old, name, src_dir_fd=spare, dst_dir_fd=parent)
        raise


def _write(parent: int, name: str, document: Document) -> None:
    text = render(document)
    made = os.open(name, _NEW, 0o600, dir_fd=parent)
    try:
        with os.fdopen(
            made,
            "w",
            encoding="utf-8",
            errors="surrogateescape" if document.copied else None,
            newline="\n",
        ) as file:
            os.fchmod(made, 0o755 if document.executable else 0o644)
            file.write(text)
    except BaseException:
        os.unlink(name, dir_fd=parent)
        raise


def _mode(handle: int, path: str) -> int | None:
    """Return what kind of thing a path is, links not followed; None: nothing is there."""
    try:
        with _parent(handle, path) as (parent, name):
            return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


@contextmanager
def _parent(handle: int, path: str, *below: str, make: bool = False) -> Iterator[tuple[int, str]]:
    """Yield a handle of the folder that a path lies in, and the path's last name."""
    found = PurePosixPath(path)
    if found.is_absolute() or ".." in found.parts or not found.parts:
        raise ExportError(f"{path!r} leads out of the folder", "not written")
    with _folder(handle, *below, *found.parts[:-1], make=make) as folder:
        yield folder, found.name


@contextmanager
def _folder(handle: int, *names: str, make: bool = False) -> Iterator[int]:
    """Yield a handle of a folder below an open one, made where it is missing on request."""
    found = os.dup(handle)
    try:
        for name in names:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=found)
            below = os.open(name, _FOLDER, dir_fd=found)
            os.close(found)
            found = below
        yield found
    finally:
        os.close(found)
