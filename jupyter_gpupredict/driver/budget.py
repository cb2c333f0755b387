"""What may be spent in a driver: a share of the time, so that a slow one is asked less often."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_gpupredict.core.clock import Clock

SHARE = 0.05
"""Of the time may go into calls of the driver."""
SAVED_S = 0.5
"""What may be put by while calls are quick: one that is late does not count, a slow driver does."""


class Budget:
    """An account of seconds: it gains `SHARE` of the time, and pays for each read."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._saved_s = SAVED_S
        self._counted_s = clock.monotonic_s()

    def allows(self, now_s: float) -> bool:
        """Return whether the reads until now are paid for."""
        self._saved_s = min(SAVED_S, self._saved_s + SHARE * (now_s - self._counted_s))
        self._counted_s = now_s
        return self._saved_s >= 0.0

    def pay(self, from_s: float) -> None:
        """Pay for a read that has just ended."""
        self._saved_s -= self._clock.monotonic_s() - from_s
