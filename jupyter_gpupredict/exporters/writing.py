"""Writes a folder whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import ExportError, OutputExists
from jupyter_gpupredict.exporters.documents import render

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.core.deployment import Document


def refuse_existing(documents: Sequence[Document], output: Path) -> None:
    """Refuse when a file that would be written is there.

    Raises:
        OutputExists: Some are; they are named.
    """
    present = [one.path for one in documents if (output / one.path).exists()]
    if present:
        raise OutputExists(
            f"{output} already holds {', '.join(present)}", "choose another folder, or --overwrite"
        )


@contextmanager
def staged(documents: Sequence[Document], near: Path | None) -> Iterator[Path]:
    """Yield a temporary folder that holds the documents; it is gone afterwards.

    Args:
        documents: What to write.
        near: The folder beside which to stage, so that a rename stays on one disk; None: anywhere.

    Raises:
        ExportError: It cannot be written.
    """
    made: Path | None = None
    try:
        parent = None if near is None else _beside(near)
        made = Path(tempfile.mkdtemp(prefix=".gpupredict-", dir=parent))
        folder = made / "new"
        folder.mkdir()
        for document in documents:
            target = folder / _inside(document.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(render(document), encoding="utf-8", newline="\n")
            target.chmod(0o755 if document.executable else 0o644)
        yield folder
    except OSError as error:
        raise ExportError(f"cannot write {near or 'a folder'}: {error.strerror}") from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def publish(folder: Path, documents: Sequence[Document], output: Path) -> tuple[Path, ...]:
    """Move a staged folder to where it belongs and return the files' paths.

    A folder that is new, or empty, appears in one rename. In one that holds other files each of
    ours is renamed into its place, and all that was there is put back when one of them fails.

    Raises:
        ExportError: It cannot be moved; nothing has changed.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        inside = output.absolute() in folder.absolute().parents
        if not output.exists() or (not inside and not any(output.iterdir())):
            os.replace(folder, output)  # noqa: PTH105 - over an empty folder, too
        else:
            _replace_each(folder, documents, output)
    except OSError as error:
        raise ExportError(f"cannot write {output}: {error.strerror}", "choose another") from error
    return tuple(output / document.path for document in documents)


def _replace_each(folder: Path, documents: Sequence[Document], output: Path) -> None:
    old = folder.parent / "old"
    moved: list[str] = []
    kept: list[str] = []
    try:
        for document in documents:
            target = output / document.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                (old / document.path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(target, old / document.path)  # noqa: PTH105
                kept.append(document.path)
            os.replace(folder / document.path, target)  # noqa: PTH105
            moved.append(document.path)
    except BaseException:
        for path in moved:
            (output / path).unlink(missing_ok=True)
        for path in kept:
            os.replace(old / path, output / path)  # noqa: PTH105
        raise


def _beside(output: Path) -> Path:
    """Return where to stage: above the folder, or in it where only that can be written."""
    parent = output.absolute().parent
    while not parent.is_dir():
        parent = parent.parent
    return output if output.is_dir() and not os.access(parent, os.W_OK) else parent


def _inside(path: str) -> PurePosixPath:
    found = PurePosixPath(path)
    if found.is_absolute() or ".." in found.parts:
        raise ExportError(f"{path!r} leads out of the folder", "not written")
    return found
