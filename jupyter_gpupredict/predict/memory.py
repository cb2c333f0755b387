"""The memory peak: a maximum with a margin, and when it may be believed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.recommendation import PREALLOCATED_SHARE, MemoryEstimate
from jupyter_gpupredict.core.words import gib

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.series import Readings, Series, SourceInfo

BASIS = {"rss_bytes": "rss", "process_memory_used_bytes": "process"}
"""Metric -> what its figure is of; any other is the device's."""
USED, PEAK, RESERVED = (f"allocator_{one}_bytes" for one in ("used", "peak", "reserved"))
"""Metrics of the framework's own allocator; its peak only where it rose during the run."""

MARGIN = 1.12
"""Over recorded training runs later peaks are new phases, not growth; 12 % covers the growth."""
RISEN_MARGIN, STAIRCASE_MARGIN = 1.20, 1.30
"""After one late rise of the peak, and after two or more: what rose may rise again."""
STAIRCASE = 2
STAIRCASE_AGE = 1 / 3
"""The peak of a staircase must have stood for this share of the time as well."""
RISE, RISE_APART_S = 0.03, 30.0
"""A rise is growth beyond this, at least so long after the one before: an allocator's cache grows
in steps that are one rise together."""
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
NOTHING = "nothing was in use beyond what others held"
AT_LEAST = (
    "the framework's own peak did not rise in this run: what was seen in use is a lower bound; "
    "restart the kernel to measure it"
)


def _left_out(others_bytes: float) -> str:
    """Return the end of a reason that tells what is not counted; empty where all is."""
    if not others_bytes:
        return ""
    return f"; {gib(others_bytes)} that others held before the cell are left out"


class MemoryUse:
    """Every memory series of a run, and which of them says what it needs.

    The process tree's first, which is what a limit is set to; else the device's, without what is
    known to be others' since before the run. Where a framework took nearly all of the card in
    advance, its own peak counts instead, with the CUDA context: what the process holds beyond what
    the framework has reserved.
    """

    def __init__(
        self, info: SourceInfo, age_s: float, others_only: Callable[[], bool] | None = None
    ) -> None:
        """Take what a source gives.

        Args:
            info: What the source says of itself.
            age_s: As in `MemoryPeak`.
            others_only: Says whether the run has nothing on any device yet. Asked once, after the
                first reading of a whole device, so that it is true of that reading as well.
                None: nobody can know.
        """
        self._others_only = others_only
        found = (series for series in (info.process_memory, info.memory) if series is not None)
        self.peaks: dict[Series, MemoryPeak] = {series: MemoryPeak(age_s) for series in found}
        self._total_bytes = {one.uuid: one.memory_total_bytes for one in info.devices}
        self._device = info.share.device
        self._allocator, self._seen = MemoryPeak(age_s), MemoryPeak(age_s)
        """The framework's own peak, and what was seen in use: a lower bound of it."""
        self._own = {USED: self._seen, PEAK: self._allocator}
        self._reserved_bytes = math.nan
        self._context_bytes = math.nan
        self.earlier: tuple[MemoryEstimate, str] | None = None
        """That of an earlier run, whose peak is still to come, and which run that is, in words."""

    def begin(self, start_s: float) -> None:
        """Say when the active span began; again after a false start."""
        self._others_only = None  # a first reading that is still to come may hold the run's own
        for peak in (*self.peaks.values(), self._allocator, self._seen):
            peak.begin(start_s)

    def update(self, readings: Readings) -> bool:
        """Take readings, if they are of memory; returns whether they are."""
        series = readings.series
        if series.metric == RESERVED:
            self._reserved_bytes = readings.values[-1]
            return True
        peak = self._own.get(series.metric) or self.peaks.get(series)
        if peak is None:
            return False
        if series in self.peaks and series.metric not in BASIS:
            self._leave_out(peak, readings.values)
        for time_s, value in zip(readings.times_s, readings.values, strict=True):
            peak.update(time_s, value)
        if BASIS.get(series.metric) == "process":
            beyond_bytes = readings.values[-1] - self._reserved_bytes
            if beyond_bytes > 0.0:  # both are known, and were not read in the middle of a growth
                self._context_bytes = beyond_bytes
        return True

    def estimate(self, now_s: float, unready: str) -> MemoryEstimate | None:
        """Return what the run needs; None where no memory is read.

        Args:
            now_s: Time of the newest reading.
            unready: As in `MemoryPeak.estimate`.
        """
        found: MemoryEstimate | None = None
        others_bytes = 0.0
        for series, peak in self.peaks.items():
            total_bytes = self._total_bytes.get(series.device)
            basis = BASIS.get(series.metric, "device-wide")
            found = peak.estimate(now_s, total_bytes, basis, unready)
            others_bytes = peak.others_bytes
            if not math.isnan(found.peak_bytes):
                break
        if found is None or not found.preallocated:
            return found and self._with_earlier(found, others_bytes, unready)
        total_bytes = self._total_bytes.get(self._device)
        own = self._allocator.estimate(now_s, total_bytes, "allocator", unready)
        if math.isnan(own.peak_bytes):
            seen = self._seen.estimate(now_s, total_bytes, "allocator", unready)
            if math.isnan(seen.peak_bytes):
                return found
            own = replace(seen, target_bytes=None, reason=AT_LEAST)
        context_bytes = 0.0 if math.isnan(self._context_bytes) else self._context_bytes
        known = f"{context_bytes / 2**20:.0f} MiB of context" if context_bytes else "no context"
        target = None if own.target_bytes is None else own.target_bytes + context_bytes
        if target is not None and total_bytes is not None:
            target = min(target, max(total_bytes, own.peak_bytes))
        return replace(
            own,
            peak_bytes=own.peak_bytes + context_bytes,
            target_bytes=target,
            reason=own.reason if target is None else f"{own.reason}: the framework's, and {known}",
        )

    def _leave_out(self, peak: MemoryPeak, values_bytes: tuple[float, ...]) -> None:
        """Leave out what others hold: the first reading of the device, if all of it is theirs."""
        first_bytes = next((value for value in values_bytes if not math.isnan(value)), None)
        if first_bytes is None or self._others_only is None:
            return
        others_only, self._others_only = self._others_only, None
        if others_only():
            peak.others_bytes = first_bytes

    def _with_earlier(
        self, found: MemoryEstimate, others_bytes: float, unready: str
    ) -> MemoryEstimate:
        """Return the estimate with the peak that the earlier run had, if that says more."""
        if self.earlier is None or unready or math.isnan(found.peak_bytes):
            return found
        earlier, which = self.earlier
        if (earlier.basis, earlier.preallocated) != (found.basis, False):
            return found
        if found.target_bytes is not None and not earlier.peak_bytes > found.peak_bytes:
            return found
        peak = max(earlier.peak_bytes, found.peak_bytes)
        target = max(MARGIN * peak, found.target_bytes or 0.0)
        totals = [total for total in self._total_bytes.values() if total and found.basis != "rss"]
        if len(totals) == 1:
            target = min(target, max(found.peak_bytes, totals[0] - others_bytes))
        reason = f"{MARGIN} x the peak of the earlier run {which}{_left_out(others_bytes)}"
        return replace(found, target_bytes=target, reason=reason)


class MemoryPeak:
    """Running peak of a memory series; believed when it has stood for `age_s`."""

    def __init__(self, age_s: float = 300.0) -> None:
        self._age_s = age_s
        self._peak_bytes = self._settled_bytes = self._settled_s = self._begin_s = math.nan
        self.others_bytes = 0.0
        """What others are known to hold, in every reading: it is no part of any figure. Where a
        reading is less, they hold no more than that."""
        self._newest = (math.nan, math.nan)
        self._first_bytes = self._early_bytes = math.nan
        """The first reading of the active span, and the highest in its first minute."""
        self._rises, self._risen_s, self._level_bytes = 0, -math.inf, math.nan
        """Rises after that minute, when the last reading was that belonged to one, and its peak."""

    def begin(self, start_s: float) -> None:
        """Say when the active span began; again after a false start."""
        self._begin_s, self._first_bytes, self._early_bytes = start_s, math.nan, math.nan
        self._rises, self._level_bytes = 0, math.nan
        time_s, value_bytes = self._newest
        if time_s >= start_s:
            self._watch_beginning(time_s, value_bytes)

    def update(self, time_s: float, value_bytes: float) -> None:
        """Take one reading; NaN is ignored."""
        if math.isnan(value_bytes):
            return
        if 0.0 <= value_bytes < self.others_bytes:
            self.others_bytes = value_bytes
        self._newest = (time_s, value_bytes)
        self._watch_beginning(time_s, value_bytes)
        if math.isnan(self._peak_bytes):
            self._settled_s = time_s
            self._peak_bytes = self._settled_bytes = value_bytes
            return
        if value_bytes > self._peak_bytes:
            self._peak_bytes = value_bytes
            self._count_rise(time_s, value_bytes)
        if self._own(self._peak_bytes) > self._own(self._settled_bytes) * (1.0 + FRESH_GROWTH):
            self._settled_bytes, self._settled_s = self._peak_bytes, time_s

    def estimate(
        self, now_s: float, total_bytes: float | None, basis: str, unready: str = ""
    ) -> MemoryEstimate:
        """Return the peak and, once it is old enough, the target.

        Args:
            now_s: Time of the newest reading.
            total_bytes: The device's memory, when known; what others hold of it is out of reach.
            basis: `process`, `device-wide`, `rss` or `allocator`.
            unready: Why the peak may not be believed yet, however old (epochs to come).
        """
        if math.isnan(self._peak_bytes):
            return MemoryEstimate(math.nan, None, basis, "no memory reading yet")
        peak, left_out = self._own(self._peak_bytes), _left_out(self.others_bytes)
        if peak <= 0.0 and left_out:
            return MemoryEstimate(peak, None, basis, NOTHING + left_out)
        room_bytes = None if total_bytes is None else self._own(total_bytes)
        early = self._own(self._early_bytes) > PREALLOCATED_SHARE * (room_bytes or math.inf)
        if early and basis not in ("rss", "allocator"):
            advice = PREALLOCATED_ADVICE + left_out
            return MemoryEstimate(peak, None, basis, advice, preallocated=True)
        stood_s, age_s, margin = now_s - self._settled_s, self._age_s, MARGIN
        if self._rises:
            margin = RISEN_MARGIN if self._rises < STAIRCASE else STAIRCASE_MARGIN
        if self._rises >= STAIRCASE:
            age_s = max(age_s, STAIRCASE_AGE * (now_s - self._begin_s))
        if stood_s < age_s and not unready:
            unready = f"the peak is {stood_s:.0f} s old; believed after {age_s:.0f} s"
        if unready:
            return MemoryEstimate(peak, None, basis, unready + left_out)
        rises = f" and rose {self._rises} times before" if self._rises > 1 else ""
        reason = f"{margin:.2f} x the peak, which has stood for {stood_s:.0f} s{rises}"
        target = margin * peak
        if room_bytes is not None and basis != "rss" and target > room_bytes:
            target, reason = max(peak, room_bytes), f"{reason}; no more than the card has"
        elif room_bytes is None and basis != "rss":
            flat = self._own(self._first_bytes) >= FLAT_SHARE * peak
            reason = f"{reason}; {UNKNOWN_SIZE}" if flat else reason
        return MemoryEstimate(peak, target, basis, reason + left_out)

    def _own(self, size_bytes: float) -> float:
        """Return it without what others hold."""
        return size_bytes - self.others_bytes

    def _count_rise(self, time_s: float, value_bytes: float) -> None:
        """Take a new peak: one more rise, or a further step of the one before."""
        if not time_s > self._begin_s + PREALLOCATED_WITHIN_S or math.isnan(self._level_bytes):
            self._level_bytes = value_bytes
        elif self._own(value_bytes) > (1.0 + RISE) * self._own(self._level_bytes):
            self._rises += time_s >= self._risen_s + RISE_APART_S
            self._level_bytes, self._risen_s = value_bytes, time_s

    def _watch_beginning(self, time_s: float, value_bytes: float) -> None:
        if math.isnan(self._begin_s) or time_s > self._begin_s + PREALLOCATED_WITHIN_S:
            return
        if math.isnan(self._first_bytes):
            self._first_bytes = self._early_bytes = value_bytes
        self._early_bytes = max(self._early_bytes, value_bytes)
