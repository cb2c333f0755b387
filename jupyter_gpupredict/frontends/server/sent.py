"""The notebook's cells as a page sends them, for the same export as `--notebook FILE`.

The page has them as they stand, saved or not, and the kernel may be busy or gone. Nothing of the
user's code is run for it: the server is not the environment of the code, so the folder is not
imported for a trial, and versions are written only where the kernel's packages are the server's.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.export import in_order, notebook_cell
from jupyter_gpupredict.export.deployment import CodeRequest
from jupyter_gpupredict.frontends.server.inside import require_inside
from jupyter_gpupredict.run import environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_gpupredict.core.events import SessionStarted

UNTRIED = (
    "the folder was not imported for a trial, as the server runs no code of a notebook; "
    "`python -c 'import train_fn'` in it does that"
)
AS_IT_STANDS = "cells were taken as they stand in the notebook: one edited since it ran is in it so"


def code(
    started: SessionStarted,
    cells: Sequence[Mapping[str, Any]],
    root: str,
    notebook: str,
    **options: Any,
) -> CodeRequest:
    """Return what an export takes.

    Args:
        started: The run's first event: what it ran with.
        cells: The notebook's code cells, in its order, as the schema `Cell` says.
        root: The server's root directory.
        notebook: The notebook's path below it, with forward slashes.
        options: What else `CodeRequest` takes.

    Raises:
        InvalidOption: The notebook is not below the root.
    """
    if "\0" in notebook or "\\" in notebook:
        raise InvalidOption(f"{notebook[:80]!r} is no path of a notebook", "")
    folder = Path(root, *PurePosixPath(notebook.lstrip("/")).parts[:-1])
    require_inside(root, [folder])
    counted = [
        notebook_cell(n, one["source"], one["execution_count"], one["tags"], failed=one["failed"])
        for n, one in enumerate(cells, start=1)
    ]
    ordered, notes = in_order(counted)
    return CodeRequest(
        ordered,
        folder,
        notes=(*notes, AS_IT_STANDS, UNTRIED),
        tried=False,
        pinned=started.environment == environment(),
        python=".".join(started.versions.get("python", "").split(".")[:2]),
        **options,
    )
