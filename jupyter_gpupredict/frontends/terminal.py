"""What people write and read in a terminal, or below a cell."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from jupyter_gpupredict.core import plain
from jupyter_gpupredict.core.errors import InvalidOption


class Parser(argparse.ArgumentParser):
    """Raises one clear line with the way to its help, instead of exiting."""

    ask = ""
    """What to ask for help; empty: `--help`."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print.

        Raises:
            InvalidOption: Always.
        """
        raise InvalidOption(message, self.ask or f"{self.prog} --help")


def say(text: str, *, error: bool = False) -> None:
    """Print a text of ours, whatever came into it from elsewhere."""
    print(plain.lines(text), file=sys.stderr if error else sys.stdout)  # noqa: T201 - the one place
