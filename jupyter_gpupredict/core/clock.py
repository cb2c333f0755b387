"""Where time comes from: injected, so that tests own it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that only moves forward and one that people read."""

    def monotonic_s(self) -> float:
        """Return seconds on a clock that never jumps; its zero means nothing."""
        ...

    def wall(self) -> datetime:
        """Return the time of day with a time zone."""
        ...


class SystemClock:
    """The machine's clocks, whatever the user's code puts in their place: many tests do."""

    _monotonic = staticmethod(time.monotonic)

    def monotonic_s(self) -> float:
        """Return `time.monotonic()`."""
        return self._monotonic()

    def wall(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.now(UTC)
