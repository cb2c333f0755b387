"""Asks the session store for people who wait: says so, and gives up a disk that does not answer."""

from __future__ import annotations

from concurrent.futures import wait
from typing import TYPE_CHECKING, TypeVar

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import NoAnswer
from jupyter_gpupredict.core.threads import WorkerThread
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.run import store_dir

if TYPE_CHECKING:
    from collections.abc import Callable

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
