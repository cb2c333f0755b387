"""What people write and read in a terminal, or below a cell, and waiting for the session store."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import wait
from typing import TYPE_CHECKING, NoReturn, TypeVar

from jupyter_gpupredict.core import files, plain
from jupyter_gpupredict.core.errors import InvalidOption, NoAnswer
from jupyter_gpupredict.core.threads import WorkerThread
from jupyter_gpupredict.run import store_dir

if TYPE_CHECKING:
    from collections.abc import Callable


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


# ---- the session store -------------------------------------------------------------------------


_Value = TypeVar("_Value")

LOOK_S = 0.1
"""How often somebody who waits looks whether the disk answers."""
SHOW_S = 1.0
GIVE_UP_S = 10.0
"""For one answer of the disk. A long store that answers is waited for as long as it takes."""
NEXT_S = 1.0
"""For the next file that does not answer."""
MOST_STUCK = 5
"""Files: then it is the disk."""
STUCK_HINT = "is the disk or the network mount stuck?"


def from_store(work: Callable[..., _Value], *arguments: object) -> _Value:
    """Return what `work(*arguments)` returns, which asks the store on a thread of its own.

    A file that does not answer is given up with its thread, and the work is done once more without
    it: what lists runs then lists the others.

    Raises:
        NoAnswer: The store does not answer.
        Exception: Whatever `work` raises.
    """
    shown = False
    for number in range(MOST_STUCK):
        thread = WorkerThread("store")
        found = thread.submit(work, *arguments)
        thread.end()
        limit_s = NEXT_S if number else GIVE_UP_S
        while not wait([found], LOOK_S).done:
            asking_s = files.asking_s(thread.ident)
            if asking_s >= limit_s:
                break
            if asking_s > SHOW_S and not shown:
                shown = True
                say(f"waiting for the session store: {store_dir()}", error=True)
        if found.done():
            return found.result()
        files.abandon(thread.ident)
    raise NoAnswer(f"the session store does not answer: {store_dir()}", STUCK_HINT)
