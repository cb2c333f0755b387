"""After convergence, always on: does the run still fit the prediction?

A CUSUM of e-values over blocks of five seconds. Each block's factor has expectation at most one
while exceedance stays at most 10 %, so false alarms are rare whatever the dependence inside it.
"""

from __future__ import annotations

import math

BLOCK_S = 5.0
ALLOWED = 0.10
"""Exceedance that a prediction may have."""
BET = 0.25
"""Stake of a block: an empty one always shrinks the wealth by a quarter."""
UNTESTABLE = 0.95
"""A block that may exceed nearly always says nothing."""
ALARM = math.log(1 / 0.05) + math.log(20)
"""5.991: mean time to a false alarm of at least 400 blocks even exactly at 10 %."""


class Guard:
    """Watches the share of seconds above the target.

    >>> guard = Guard(target_ratio=0.5, start_s=0.0, dependence_s=1.0)
    >>> [second for second in range(1, 60) if guard.update(float(second), 0.9, 1.0)][0]
    31
    """

    def __init__(self, target_ratio: float, start_s: float, dependence_s: float) -> None:
        self._target_ratio = target_ratio
        self._block_end_s = start_s + BLOCK_S
        self._power = min(1.0, BLOCK_S / max(1.0, dependence_s))
        """Never above one: then the factor would be no e-value any more."""
        self._sum = 0.0
        self._seen_s = 0.0
        self._above_s = 0.0
        self._allowed_s = 0.0

    def update(
        self, time_s: float, value: float, weight_s: float, allowed: float = ALLOWED
    ) -> bool:
        """Take one reading; returns True when the prediction must be withdrawn.

        Args:
            time_s: Its stamp.
            value: Ratio.
            weight_s: Seconds it speaks for.
            allowed: Exceedance that the phase it belongs to may have.
        """
        alarm = False
        if time_s > self._block_end_s + 1e-9:
            alarm = self._close()
            # blocks that nothing was read in say nothing, however many there are
            passed = math.ceil((time_s - self._block_end_s - 1e-9) / BLOCK_S)
            self._block_end_s += max(0, passed) * BLOCK_S
        self._seen_s += weight_s
        self._allowed_s += allowed * weight_s
        if value > self._target_ratio + 1e-9:
            self._above_s += weight_s
        return alarm

    def _close(self) -> bool:
        if self._seen_s > 0.0:
            exceedance = self._above_s / self._seen_s
            allowed = self._allowed_s / self._seen_s
            if allowed < UNTESTABLE:
                factor = 1.0 + BET / allowed * (exceedance - allowed)
                self._sum = max(0.0, self._sum) + self._power * math.log(factor)
        self._seen_s = self._above_s = self._allowed_s = 0.0
        self._block_end_s += BLOCK_S
        return self._sum >= ALARM
