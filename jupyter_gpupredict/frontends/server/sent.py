"""The notebook's cells as a page sends them, for the same export as `--notebook FILE`.

The page has them as they stand, saved or not, and the kernel may be busy or gone. Nothing of the
user's code is run for it: the server is not the environment of the code, so the folder is not
imported for a trial, and versions are written only where the kernel's packages are the server's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import config
from jupyter_gpupredict.core.cells import CodeRequest
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.frontends.server.inside import require_inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.events import SessionStarted

MAX_CELLS = 2000
MAX_CHARACTERS = 4 << 20
"""Of all sources together."""
MAX_TAGS = 50
UNTRIED = (
    "the folder was not imported for a trial, as the server runs no code of a notebook; "
    "`python -c 'import train_fn'` in it does that"
)
AS_IT_STANDS = "cells were taken as they stand in the notebook: one edited since it ran is in it so"
_HINT = "see gpupredict/v1/openapi.json"


@dataclass(frozen=True, slots=True)
class SentCell:
    """One code cell."""

    source: str
    execution_count: int | None
    tags: tuple[str, ...]
    failed: bool
    """It ended with an error."""


def cells(given: Any) -> list[SentCell]:
    """Return the cells in a request, checked.

    Raises:
        InvalidOption: They are none, or too many.
    """
    if not isinstance(given, list):
        raise InvalidOption("cells is no list", _HINT)
    if len(given) > MAX_CELLS:
        raise InvalidOption(f"there are more than {MAX_CELLS} cells", "export it in the kernel")
    found = [_cell(number, one) for number, one in enumerate(given, start=1)]
    if sum(len(one.source) for one in found) > MAX_CHARACTERS:
        raise InvalidOption("the cells are too long together", "export it in the kernel")
    return found


def code(
    started: SessionStarted,
    found: Sequence[SentCell],
    root: str,
    notebook: str,
    **options: Any,
) -> CodeRequest:
    """Return what an export takes.

    Args:
        started: The run's first event: what it ran with.
        found: The notebook's code cells, in its order.
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
        config.notebook_cell(n, one.source, one.execution_count, one.tags, failed=one.failed)
        for n, one in enumerate(found, start=1)
    ]
    ordered, notes = config.in_order(counted)
    return CodeRequest(
        ordered,
        folder,
        notes=(*notes, AS_IT_STANDS, UNTRIED),
        tried=False,
        pinned=started.environment == config.environment(),
        python=".".join(started.versions.get("python", "").split(".")[:2]),
        **options,
    )


def _cell(number: int, given: Any) -> SentCell:
    try:
        source, count = given["source"], given["execution_count"]
        tags, failed = given["tags"], given["failed"]
    except (TypeError, KeyError) as error:
        raise InvalidOption(f"cell {number} is not whole", _HINT) from error
    fits = (
        set(given) == {"source", "execution_count", "tags", "failed"}
        and isinstance(source, str)
        and (count is None or (isinstance(count, int) and not isinstance(count, bool)))
        and isinstance(tags, list)
        and len(tags) <= MAX_TAGS
        and all(isinstance(one, str) for one in tags)
        and isinstance(failed, bool)
    )
    if not fits:
        raise InvalidOption(f"cell {number} has another form", _HINT)
    return SentCell(source, count, tuple(tags), failed)
