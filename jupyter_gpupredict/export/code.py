"""Where an exported function's code comes from: a notebook's cells, the measured one among them."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import CodeRefused, InvalidOption, TraceError
from jupyter_gpupredict.core.files import read_given
from jupyter_gpupredict.core.plain import require_shallow
from jupyter_gpupredict.export.deployment import Cell, CodeRequest
from jupyter_gpupredict.run.options import code_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NESTING = 200
"""Of a notebook: its outputs hold whatever a library displays."""
Counted = tuple[int | None, Cell]
"""A cell with its execution count; None: it never ran."""
MAGIC = re.compile(r"\s*%%gpupredict(\s|$)")


def read_notebook(path: str | Path) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """Return a notebook's code cells in the order in which they ran, and notes on that.

    Cells that never ran are left out; in a notebook without any count, all are taken as they stand.

    Raises:
        InvalidOption: The file cannot be read, or is not a notebook.
    """
    try:
        raw = read_given(path)
        require_shallow(raw, NESTING)
        found = json.loads(raw)
        cells = [one for one in found["cells"] if one["cell_type"] == "code"]
        taken = [_cell(number, one) for number, one in enumerate(cells, start=1)]
    except OSError as error:
        raise InvalidOption(f"cannot read notebook {path}: {error.strerror}", "") from error
    except TraceError as error:
        raise InvalidOption(error.message, error.hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidOption(f"{path} is not a notebook", "a file that Jupyter saved") from error
    return in_order(taken)


def notebook_cell(
    number: int, source: str, count: int | None, tags: Sequence[str] = (), *, failed: bool = False
) -> Counted:
    """Return a code cell with its execution count, None where it never ran."""
    label = f"cell {number}" if count is None else f"In [{count}]"
    return count, Cell(label, source, tuple(tags), failed)


def in_order(taken: Sequence[Counted]) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """Return cells in the order in which they ran, and notes on that; as `read_notebook`."""
    if all(count is None for count, _ in taken):
        note = ("the notebook says of no cell that it ran: all were taken in their order",)
        return tuple(cell for _, cell in taken), note if taken else ()
    ran = [(count, cell) for count, cell in taken if count is not None]
    return tuple(cell for _, cell in sorted(ran, key=lambda one: one[0])), ()


def up_to_measured(code: CodeRequest, wanted: str | None) -> CodeRequest:
    """Return the request without what ran after the measured cell, which is then the last.

    Raises:
        CodeRefused: None of the cells has the code that was measured.
    """
    if wanted is None:
        raise CodeRefused(
            "this run measured no cell, so no code goes with it", "export it without a notebook"
        )
    for number in reversed(range(len(code.cells))):
        if wanted in map(code_hash, _bodies(code.cells[number].source)):
            return dataclasses.replace(code, cells=code.cells[: number + 1])
    raise CodeRefused(
        "no cell has the code that this run measured",
        "it was changed since; run it again, or give the notebook as it was",
    )


def _bodies(source: str) -> Iterator[str]:
    """Yield what may have been measured of a cell."""
    yield source
    if source.lstrip().startswith("%%"):
        yield source.lstrip().partition("\n")[2]


def _cell(number: int, found: dict[str, Any]) -> Counted:
    source = found["source"]
    text = source if isinstance(source, str) else "".join(source)
    count = found.get("execution_count")
    tags = found.get("metadata", {}).get("tags", [])
    failed = any(one.get("output_type") == "error" for one in found.get("outputs", []))
    return notebook_cell(
        number,
        text,
        None if count is None else int(count),
        [str(tag) for tag in tags],
        failed=failed,
    )
