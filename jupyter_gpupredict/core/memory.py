"""The memory peak: a maximum with a margin, and when it may be believed."""

from __future__ import annotations

import math

from jupyter_gpupredict.core.recommendation import MemoryEstimate

MARGIN = 1.15
"""Over recorded training runs later peaks are new phases, not growth; 15 % covers the growth."""
FRESH_GROWTH = 0.01
"""The peak counts as fresh again when it grew by more than this."""
PREALLOCATED_SHARE = 0.9
PREALLOCATED_WITHIN_S = 60.0


class MemoryPeak:
    """Running peak of a memory series.

    >>> peak = MemoryPeak(age_s=10.0)
    >>> peak.update(1.0, 100.0)
    >>> peak.estimate(now_s=20.0, total_bytes=None, basis="process").target_bytes
    114.99999999999999
    """

    def __init__(self, age_s: float = 300.0) -> None:
        self._age_s = age_s
        self._peak_bytes = math.nan
        self._settled_bytes = math.nan
        self._settled_s = math.nan
        self._first_s = math.nan
        self._early_bytes = math.nan

    def update(self, time_s: float, value_bytes: float) -> None:
        """Take one reading; NaN is ignored."""
        if math.isnan(value_bytes):
            return
        if math.isnan(self._peak_bytes):
            self._first_s = self._settled_s = time_s
            self._peak_bytes = self._settled_bytes = self._early_bytes = value_bytes
            return
        self._peak_bytes = max(self._peak_bytes, value_bytes)
        if time_s - self._first_s <= PREALLOCATED_WITHIN_S:
            self._early_bytes = max(self._early_bytes, value_bytes)
        if self._peak_bytes > self._settled_bytes * (1.0 + FRESH_GROWTH):
            self._settled_bytes, self._settled_s = self._peak_bytes, time_s

    def estimate(self, now_s: float, total_bytes: float | None, basis: str) -> MemoryEstimate:
        """Return the peak and, once it is old enough, the target.

        Args:
            now_s: Time of the newest reading.
            total_bytes: The device's memory, when known.
            basis: `process`, `device-wide` or `rss`.
        """
        peak = self._peak_bytes
        if math.isnan(peak):
            return MemoryEstimate(peak, None, basis, "no memory reading yet")
        if (
            basis != "rss"
            and total_bytes is not None
            and self._early_bytes > PREALLOCATED_SHARE * total_bytes
        ):
            reason = "nearly all memory was taken at once: that says nothing about need"
            return MemoryEstimate(peak, None, basis, reason, preallocated=True)
        settled_for_s = now_s - self._settled_s
        if settled_for_s < self._age_s:
            reason = f"the peak is {settled_for_s:.0f} s old; believed after {self._age_s:.0f} s"
            return MemoryEstimate(peak, None, basis, reason)
        reason = f"1.15 x the peak, which has stood for {settled_for_s:.0f} s"
        return MemoryEstimate(peak, MARGIN * peak, basis, reason)
