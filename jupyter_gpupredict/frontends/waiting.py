"""Asks the session store for people who wait: says so, and gives up a disk that does not answer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from jupyter_gpupredict.core import files
from jupyter_gpupredict.core.errors import NoAnswer
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
        hand = _Hand(work, arguments)
        limit_s = NEXT_S if number else GIVE_UP_S
        while not hand.done.wait(LOOK_S) and hand.asking_s < limit_s:
            if hand.asking_s > SHOW_S and not shown:
                shown = True
                say(f"waiting for the session store: {store_dir()}", error=True)
        if hand.done.is_set():
            return hand.result()
        hand.give_up()
    raise NoAnswer(f"the session store does not answer: {store_dir()}", STUCK_HINT)


class _Hand(Generic[_Value]):
    """A thread with what it found."""

    def __init__(self, work: Callable[..., _Value], arguments: tuple[object, ...]) -> None:
        self.done = threading.Event()
        self._work, self._arguments = work, arguments
        self._found: list[_Value] = []
        self._raised: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="gpupredict-store", daemon=True)
        self._thread.start()

    @property
    def asking_s(self) -> float:
        """How long the disk has not answered."""
        return files.asking_s(self._thread.ident or 0)

    def result(self) -> _Value:
        """Return or raise what the work did."""
        if self._raised is not None:
            raise self._raised
        return self._found[0]

    def give_up(self) -> None:
        """Leave the thread alone; it ends when the disk answers."""
        files.abandon(self._thread.ident or 0)

    def _run(self) -> None:
        try:
            self._found.append(self._work(*self._arguments))
        except Exception as error:  # noqa: BLE001 - border: it is raised where it is waited for
            self._raised = error
        self.done.set()
