"""Waits that end: each has a limit, and after two seconds one line says what is waited for."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TOLD_AFTER_S = 2.0
_LOOK_S = 0.02


class Patience:
    """The time that one thing may take.

    Args:
        limit_s: Seconds from now.
        what: What is waited for, as it completes "waiting for"; empty: nobody needs to know.
    """

    def __init__(self, limit_s: float, what: str = "") -> None:
        self._began_s = time.monotonic()
        self._limit_s = limit_s
        self._what = what

    @property
    def over(self) -> bool:
        """Whether the time is up; also says, once, what is waited for."""
        return self.step_s() <= 0.0

    def step_s(self) -> float:
        """Return for how long one may wait before asking again; 0 when the time is up."""
        waited_s = time.monotonic() - self._began_s
        if self._what and waited_s >= TOLD_AFTER_S:
            what, self._what = self._what, ""
            with contextlib.suppress(OSError, ValueError):  # the stream may be closed
                print(f"gpupredict: waiting for {what}", file=sys.stderr, flush=True)  # noqa: T201
        left_s = max(0.0, self._limit_s - waited_s)
        return min(left_s, TOLD_AFTER_S - waited_s) if self._what else left_s


def until(condition: Callable[[], bool], limit_s: float, what: str = "") -> bool:
    """Wait for a condition; return whether it came about in time."""
    patience = Patience(limit_s, what)
    while not condition():
        if patience.over:
            return False
        time.sleep(_LOOK_S)
    return True
