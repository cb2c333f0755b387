"""Ends a run's measuring by the clock and on request, whatever its source is at."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_S = 1.0
"""How often somebody looks whether the end was asked for."""


class Alarm:
    """A thread for each reason to end, so that none waits for another.

    The time is up even while the mark of a request lies on a file system that hangs.

    Args:
        limit_s: When the time is up; None: never.
        requested: Whether the end was asked for; None: nobody can. It may take as long as it does.
        on_limit: Called once when the time is up.
        on_request: Called once when the end was asked for.
    """

    def __init__(
        self,
        limit_s: float | None,
        requested: Callable[[], bool] | None,
        on_limit: Callable[[], None],
        on_request: Callable[[], None],
    ) -> None:
        self._off = threading.Event()
        self._threads: list[threading.Thread] = []
        if limit_s is not None:
            self._add(self._wait, limit_s, on_limit)
        if requested is not None:
            self._add(self._look, requested, on_request)

    def start(self) -> None:
        """Begin to count."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the threads; one that hangs is left behind. May be called twice, or unstarted."""
        self._off.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s)

    def _add(self, watch: Callable[..., None], *arguments: object) -> None:
        self._threads.append(
            threading.Thread(target=watch, args=arguments, name="gpupredict-alarm", daemon=True)
        )

    def _wait(self, limit_s: float, ring: Callable[[], None]) -> None:
        if not self._off.wait(min(limit_s, threading.TIMEOUT_MAX)):
            ring()

    def _look(self, requested: Callable[[], bool], ring: Callable[[], None]) -> None:
        while not self._off.wait(LOOK_S):
            if requested():
                ring()
                return
