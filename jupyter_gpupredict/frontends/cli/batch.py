"""What the verbs over many traces share: where the work is done, and how far it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

BAR_WIDTH = 30


def spreading(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where many traces are worked on."""
    add = parser.add_argument
    add("--jobs", type=int, metavar="N", help="processes; default: one for each core")
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="a Dask cluster does the work; local: one of --jobs workers for this command",
    )


class Bar:
    """How far it is, in one line that is written over; silent where nobody looks."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown

    def show(self, done: int, every: int) -> None:
        """Draw it."""
        if self._shown:
            full = BAR_WIDTH * done // every if every else BAR_WIDTH
            bar = "#" * full + "." * (BAR_WIDTH - full)
            sys.stderr.write(f"\r[{bar}] {done}/{every} runs")
            sys.stderr.flush()

    def end(self) -> None:
        """Wipe the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
