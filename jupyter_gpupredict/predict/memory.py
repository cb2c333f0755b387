"""The memory peak: a maximum with a margin, and when it may be believed."""

from __future__ import annotations

import math

from jupyter_gpupredict.core.recommendation import MemoryEstimate
from jupyter_gpupredict.core.share import PREALLOCATED_SHARE

MARGIN = 1.15
"""Over recorded training runs later peaks are new phases, not growth; 15 % covers the growth."""
FRESH_GROWTH = 0.01
"""The peak counts as fresh again when it grew by more than this."""
PREALLOCATED_WITHIN_S = 60.0
FLAT_SHARE = 0.95
"""So near to the peak at once, memory is flat from the beginning."""
UNKNOWN_SIZE = (
    "flat from the first reading: whether the card was full needs its size (memory.total)"
)
PREALLOCATED_ADVICE = (
    "nearly all memory was taken at once, which says nothing about need: let the framework grow "
    "(TensorFlow: TF_FORCE_GPU_ALLOW_GROWTH=true, JAX: XLA_PYTHON_CLIENT_PREALLOCATE=false)"
)


class MemoryPeak:
    """Running peak of a memory series; believed when it has stood for `age_s`."""

    def __init__(self, age_s: float = 300.0) -> None:
        self._age_s = age_s
        self._peak_bytes = self._settled_bytes = self._settled_s = self._begin_s = math.nan
        self._newest = (math.nan, math.nan)
        self._first_bytes = self._early_bytes = math.nan
        """The first reading of the active span, and the highest in its first minute."""

    def begin(self, start_s: float) -> None:
        """Say when the active span began; again after a false start."""
        self._begin_s, self._first_bytes, self._early_bytes = start_s, math.nan, math.nan
        time_s, value_bytes = self._newest
        if time_s >= start_s:
            self._watch_beginning(time_s, value_bytes)

    def update(self, time_s: float, value_bytes: float) -> None:
        """Take one reading; NaN is ignored."""
        if math.isnan(value_bytes):
            return
        self._newest = (time_s, value_bytes)
        self._watch_beginning(time_s, value_bytes)
        if math.isnan(self._peak_bytes):
            self._settled_s = time_s
            self._peak_bytes = self._settled_bytes = value_bytes
            return
        self._peak_bytes = max(self._peak_bytes, value_bytes)
        if self._peak_bytes > self._settled_bytes * (1.0 + FRESH_GROWTH):
            self._settled_bytes, self._settled_s = self._peak_bytes, time_s

    def estimate(
        self, now_s: float, total_bytes: float | None, basis: str, unready: str = ""
    ) -> MemoryEstimate:
        """Return the peak and, once it is old enough, the target.

        Args:
            now_s: Time of the newest reading.
            total_bytes: The device's memory, when known.
            basis: `process`, `device-wide` or `rss`.
            unready: Why the peak may not be believed yet, however old (epochs to come).
        """
        peak = self._peak_bytes
        if math.isnan(peak):
            return MemoryEstimate(peak, None, basis, "no memory reading yet")
        if basis != "rss" and self._early_bytes > PREALLOCATED_SHARE * (total_bytes or math.inf):
            return MemoryEstimate(peak, None, basis, PREALLOCATED_ADVICE, preallocated=True)
        stood_s = now_s - self._settled_s
        if stood_s < self._age_s and not unready:
            unready = f"the peak is {stood_s:.0f} s old; believed after {self._age_s:.0f} s"
        if unready:
            return MemoryEstimate(peak, None, basis, unready)
        reason = f"1.15 x the peak, which has stood for {stood_s:.0f} s"
        target = MARGIN * peak
        if total_bytes is not None and target > total_bytes:
            target, reason = total_bytes, f"{reason}; no more than the card has"
        elif total_bytes is None and self._first_bytes >= FLAT_SHARE * peak and basis != "rss":
            reason = f"{reason}; {UNKNOWN_SIZE}"
        return MemoryEstimate(peak, target, basis, reason)

    def _watch_beginning(self, time_s: float, value_bytes: float) -> None:
        if math.isnan(self._begin_s) or time_s > self._begin_s + PREALLOCATED_WITHIN_S:
            return
        if math.isnan(self._first_bytes):
            self._first_bytes = self._early_bytes = value_bytes
        self._early_bytes = max(self._early_bytes, value_bytes)
