"""What people read in a terminal or below a cell."""

from __future__ import annotations

import sys

from jupyter_gpupredict.core import plain


def say(text: str, *, error: bool = False) -> None:
    """Print a text of ours, whatever came into it from elsewhere."""
    print(plain.lines(text), file=sys.stderr if error else sys.stdout)  # noqa: T201 - the one place
