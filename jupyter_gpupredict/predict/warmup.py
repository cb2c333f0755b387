"""Where the training begins: leading idle and false starts are cut off, by one stated rule.

The active span begins with the first active reading. Should that turn out to be a false start (a
library probing the device, a model being loaded, then minutes of data preparation), it begins anew
with the next active one, once: a run that goes on like that is a run of short bursts, and its idle
time is usage like any other. A slow first epoch and compilation are not cut: a window that holds
them does not agree with the next, and the first epoch is never learned.
"""

from __future__ import annotations

ACTIVE_RATIO = 0.01
"""A reading at or above this is active."""
FALSE_START_IDLE_S = 60.0
"""A false start is followed by at least this much unbroken idle, ..."""
FALSE_START_SHARE = 0.05
"""... and had less than this share of its time active: covering usage would read as idle."""
_SLACK = 1e-9


def is_active(value: float) -> bool:
    """Return whether a reading counts as activity."""
    return value >= ACTIVE_RATIO - _SLACK


class FalseStart:
    """Watches the beginning of an active span until it is beyond doubt.

    >>> watch = FalseStart()
    >>> watch.update(0.30, 1.0)
    False
    >>> [watch.update(0.0, 10.0) for _ in range(6)]
    [False, False, False, False, False, True]
    """

    __slots__ = ("_active_s", "_idle_s", "_seen_s", "settled")

    def __init__(self) -> None:
        self._seen_s = self._active_s = self._idle_s = 0.0
        self.settled = False
        """Whether the span has been active for so long that it is no false start any more."""

    def update(self, value: float, weight_s: float) -> bool:
        """Take one reading; returns True when all since the beginning was a false start."""
        self._seen_s += weight_s
        if is_active(value):
            self._active_s += weight_s
            self._idle_s = 0.0
            self.settled = self._active_s >= FALSE_START_IDLE_S
            return False
        self._idle_s += weight_s
        return (
            self._idle_s >= FALSE_START_IDLE_S - _SLACK
            and self._active_s < FALSE_START_SHARE * self._seen_s
        )
