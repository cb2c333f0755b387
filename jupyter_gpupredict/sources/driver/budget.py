"""What may be spent in a driver: a share of the time, so that a slow one is asked less often."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_gpupredict.core.protocols import Clock

SHARE = 0.05
"""Of the time may go into calls of the driver."""
SAVED_S = 0.5
"""What may be put by while reads are quick."""


class Budget:
    """An account of seconds: it gains `SHARE` of the time, and pays for each read.

    A read costs what it took, or the one before it if that took less: a driver that drags does so
    twice, while a cell that keeps the GIL for ten seconds makes one read look as slow.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._saved_s = SAVED_S
        self._last_s = 0.0
        self._counted_s = clock.monotonic_s()

    def allows(self, now_s: float) -> bool:
        """Return whether the reads until now are paid for."""
        self._saved_s = min(SAVED_S, self._saved_s + SHARE * (now_s - self._counted_s))
        self._counted_s = now_s
        return self._saved_s >= 0.0

    def pay(self, from_s: float) -> None:
        """Pay for a read that has just ended."""
        took_s = self._clock.monotonic_s() - from_s
        self._saved_s -= min(took_s, self._last_s)
        self._last_s = took_s
