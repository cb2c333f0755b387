"""How wide a run's kernels are, and how much slower it gets on fewer SMs, from launch geometry.

A kernel of B blocks on N SMs uses min(N, B) of them. On n SMs it takes longer by at least as many
waves of blocks as it then needs more (`lo`), and by at most min(N, B)/min(n, B) (`hi`). Summed over
a run, gaps between kernels absorb the delay inside an interval (`lo`), or do not (`hi`). The upper
end is a bound on the assumption that throughput goes with the number of SMs; the lower one is an
estimate: work that is bound by memory was measured below it.

Launches are taken in any order while few are held; beyond that they are folded into sums in the
order of their times, and what is kept grows no more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_gpupredict.core.recommendation import SmNeed
from jupyter_gpupredict.predict.occupancy import blocks_per_sm

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jupyter_gpupredict.predict.occupancy import SmLimits

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

SPEED_GOAL = 0.90
"""Share of its full speed that a run is to keep."""
INTERVAL_US = 20_000.0
"""Gaps absorb delay inside an interval; without steps it is this long."""
HELD = 1 << 20
"""Launches that are held before they are folded."""
LATE_US = 1e6
"""Launches this much older than the newest one may still come when others are folded."""
_BLOCK = 1 << 17
"""Launches whose ratios are computed at once, at most."""
_CELLS = 1 << 22
"""Of a matrix that is made for them; where it would have more, fewer launches are taken."""
_ROWS = 1 << 13
"""Intervals that are kept one by one; older ones are folded."""
_OVERLAPS = np.linspace(0.0, 1.0, 65)
"""Values of busy time over the sum of durations at which folded intervals are known."""
BIN_US = 1e5
"""Of the busy time by time of the run."""
LONGEST_US = 48 * 3.6e9
"""No profile is longer; stamps further away are no times."""
_MOST_BLOCKS = 1 << 50
PLAIN, SPINNING, PERSISTENT = 0, 1, 2
_SPINS = re.compile(r"nccl|deep_?ep|nvshmem", re.IGNORECASE)
_PERSISTS = re.compile(r"persistent|stream_?k", re.IGNORECASE)
"""By name alone. A grid that fills every SM takes N/n as long by its waves, too. One of N blocks
where more would fit may be sized by the SMs, or be a matrix product of that size by chance: on
recorded runs the latter. The upper end is the same either way."""


def kind_of(name: str) -> int:
    """Return what a kernel's name says of it.

    `SPINNING`: it waits for other GPUs and takes no longer on fewer SMs, but all its blocks must be
    resident together. `PERSISTENT`: it is launched with fewer blocks on fewer SMs.

    >>> kind_of("ncclDevKernel_AllReduce_Sum_f32_RING_LL") == SPINNING
    True
    """
    return SPINNING if _SPINS.search(name) else PERSISTENT if _PERSISTS.search(name) else PLAIN


@dataclass(frozen=True, slots=True)
class Launches:
    """Kernels of one device, one array for each fact, all of shape (n,)."""

    start_us: Floats
    duration_us: Floats
    blocks: Ints
    threads: Ints
    """Of a block."""
    registers: Ints
    """Of a thread; 0: not known."""
    shared_bytes: Ints
    """Of a block, static and dynamic."""
    kinds: Ints
    """As `kind_of`."""

    @classmethod
    def of(cls, rows: Iterable[tuple[float, ...]]) -> Launches:
        """Return launches given one by one, the facts in the order of the fields."""
        table = np.array(list(rows), dtype=np.float64).reshape(-1, 7)
        whole = np.clip(table[:, 2:], 0.0, _MOST_BLOCKS).astype(np.int64)
        return cls(table[:, 0], table[:, 1], *(whole[:, column] for column in range(5)))

    @classmethod
    def joined(cls, pieces: Sequence[Launches]) -> Launches:
        """Return the launches of several, one after another."""
        facts = (np.concatenate([getattr(one, name) for one in pieces]) for name in cls.__slots__)
        return cls(*facts)


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a run's kernels fill the SMs of its GPU."""

    sms: int
    """Of the whole GPU."""
    busy_ratio: float
    """Share of the time in which a kernel ran, on whichever stream."""
    breadth_ratio: float
    """Mean share of the SMs that a kernel can use, weighted by its duration."""
    wide_need_ratio: float
    """SMs that cover 95 % of the kernels' time without further waves, as a share; a diagnosis."""
    collective_sms: int
    """SMs that the widest spinning kernel needs for all its blocks at once; 0: there is none."""
    not_understood_ratio: float
    """Share of the kernels' time whose residency is not known: it counts as not stretched."""
    kernels: int
    dropped: int
    """Records without a duration, which are left out."""
    wall_s: float
    interval_s: float
    low: tuple[float, ...]
    """Run time on n SMs over that on all, n = 1 to `sms`, where gaps absorb; an estimate."""
    high: tuple[float, ...]
    """The same where they do not; a bound."""

    def need(self, speed: float = SPEED_GOAL) -> tuple[int, int]:
        """Return the smallest numbers of SMs, low and high, that keep this share of the speed."""
        low, high = (_smallest(curve, 1.0 / speed) for curve in (self.low, self.high))
        return min(low, high), high

    def slowdown(self, sms: int) -> tuple[float, float]:
        """Return (low, high) run time on so many SMs over that on all of them."""
        at = min(max(1, sms), self.sms) - 1
        return self.low[at], self.high[at]

    def at_duty(self, busy_ratio: float) -> Geometry:
        """Return the same kernels in a run that is busy for another share of its time."""
        if self.busy_ratio <= 0.0:
            return self
        scale = busy_ratio / self.busy_ratio
        low, high = (
            tuple(1.0 + scale * (one - 1.0) for one in curve) for curve in (self.low, self.high)
        )
        return replace(self, busy_ratio=busy_ratio, low=low, high=high)


def _smallest(curve: tuple[float, ...], most: float) -> int:
    """Return the smallest n from which on the curve stays at or below a value."""
    above = [n for n, ratio in enumerate(curve, 1) if ratio > most + 1e-12]
    return above[-1] + 1 if above else 1


def sms_at(sms: int, percent: float) -> int:
    """Return how many SMs MPS gives for a percentage: rounded down, and at least one."""
    return max(1, int(sms * percent / 100.0 + 1e-9))


def need_of(found: Geometry, by: str, speed: float = SPEED_GOAL, windows: int = 0) -> SmNeed | None:
    """Return what kernels need of the SMs; None where none of them was understood.

    Args:
        found: The kernels.
        by: What recorded them.
        speed: Share of its full speed that the run is to keep.
        windows: Of a live run that they were recorded in; 0: a profile.
    """
    if found.not_understood_ratio >= 1.0:
        return None
    low, high = found.need(speed)
    points = {100.0 * one / found.sms: one for one in (low, high)}
    points |= {float(percent): sms_at(found.sms, percent) for percent in range(5, 101, 5)}
    return SmNeed(
        sms=found.sms,
        low_sms=low,
        high_sms=high,
        speed_ratio=speed,
        curve=tuple(
            (round(percent, 1), round(found.low[n - 1], 4), round(found.high[n - 1], 4))
            for percent, n in sorted(points.items())
        ),
        kernels=found.kernels,
        by=by,
        collective_sms=found.collective_sms,
        windows=windows,
        watched_s=round(found.wall_s, 3),
        not_understood_ratio=round(found.not_understood_ratio, 4),
    )


class Kernels:
    """Adds up the launches of one device.

    Args:
        sms: Of the whole GPU.
        sm: What one of them holds; None: not known, and no kernel is understood.
        interval_us: Gaps absorb delay inside of one.
    """

    def __init__(self, sms: int, sm: SmLimits | None, interval_us: float = INTERVAL_US) -> None:
        self.sms, self._sm, self._interval_us = sms, sm, interval_us
        self.count = self.dropped = 0
        self._held: list[tuple[Floats, Floats, Ints]] = []
        """(start, duration, key) in microseconds, not sorted."""
        self._held_count = 0
        self._first_us = self._anchor_us = np.inf
        self._bins: Floats = np.zeros(0)
        """Busy time by time of the run, microseconds in each `BIN_US`."""
        self._folded_us = -np.inf
        """All launches that begin before this are in the sums."""
        self._covered_us = -np.inf
        """The latest end among them."""
        self._busy_us = self._kernel_us = self._strange_us = self._breadth_us = 0.0
        self._needs_us = np.zeros(sms + 1)
        self._collective = 0
        self._more_high = np.zeros(sms)
        """Sum of duration * (ratio - 1), by n."""
        self._rows: list[tuple[Floats, Floats]] = []
        """(busy minus length, delay by n) of intervals that a launch began in."""
        self._row_count = 0
        self._last = -1
        """The interval of the newest row."""
        self._excess = np.zeros((_OVERLAPS.size, sms))

    def add(self, launches: Launches) -> None:
        """Take launches; those without a duration, or that nothing can be, are dropped."""
        start, duration = launches.start_us, launches.duration_us
        kept = np.isfinite(start) & (duration > 0.0) & (duration < LONGEST_US)
        kept &= launches.blocks > 0
        if not np.isfinite(self._anchor_us) and kept.any():
            self._anchor_us = float(np.median(start[kept]))
        kept &= np.abs(start - self._anchor_us) < LONGEST_US / 2
        self.dropped += int(kept.size - kept.sum())
        start, duration = start[kept], duration[kept]
        if not start.size:
            return
        self.count += start.size
        self._held.append((start, duration, self._keys(launches)[kept]))
        self._held_count += start.size
        if self._held_count > HELD:
            self._fold(max(float(held[0].max()) for held in self._held) - LATE_US)

    @property
    def first_us(self) -> float:
        """When the first launch began; known once `geometry` was asked for."""
        return self._first_us

    def busy(self) -> list[tuple[float, float]]:
        """Return (time, share of the time busy since the one before), seconds from the first start.

        To be asked for after `geometry`.
        """
        span_us = self._covered_us - self._first_us
        ends = np.minimum(np.arange(1, self._bins.size + 1) * BIN_US, span_us)
        lengths = np.diff(ends, prepend=0.0)
        known = lengths > 0.0
        shares = np.minimum(1.0, self._bins[known] / lengths[known])
        return list(zip((ends[known] / 1e6).tolist(), shares.tolist(), strict=True))

    def geometry(self, wall_us: float | None = None) -> Geometry | None:
        """Return what was added; None where no launch was.

        Args:
            wall_us: How long it was watched for; None: from the first start to the last end.
        """
        self._fold(np.inf)
        if not self.count:
            return None
        span_us = self._covered_us - self._first_us
        wall_us = span_us if wall_us is None else max(wall_us, span_us)
        overlap = self._busy_us / self._kernel_us
        end_us = self._first_us + (self._last + 1) * self._interval_us
        tail_us = min(end_us, self._first_us + wall_us) - min(end_us, self._covered_us)
        exact = np.zeros(self.sms)
        for idle, more in self._rows:
            left = idle.copy()
            if more is self._rows[-1][1]:  # after the last launch nothing ran
                left[-1] -= tail_us
            exact += np.maximum(0.0, left[:, None] + overlap * more).sum(0)
        at = overlap * (_OVERLAPS.size - 1)
        below = min(int(at), _OVERLAPS.size - 2)
        folded = self._excess[below] + (at - below) * (
            self._excess[below + 1] - self._excess[below]
        )
        by_need = np.cumsum(self._needs_us)
        wide = int(np.searchsorted(by_need, 0.95 * by_need[-1] - 1e-9)) if by_need[-1] else 0
        return Geometry(
            sms=self.sms,
            busy_ratio=min(1.0, self._busy_us / wall_us),
            breadth_ratio=self._breadth_us / self._kernel_us,
            wide_need_ratio=wide / self.sms,
            collective_sms=min(self.sms, self._collective),
            not_understood_ratio=self._strange_us / self._kernel_us,
            kernels=self.count,
            dropped=self.dropped,
            wall_s=wall_us / 1e6,
            interval_s=self._interval_us / 1e6,
            low=tuple((1.0 + (exact + folded) / wall_us).tolist()),
            high=tuple((1.0 + overlap * self._more_high / wall_us).tolist()),
        )

    def _keys(self, launches: Launches) -> Ints:
        """Return one number for each launch that tells all that ratios depend on."""
        fit: Ints = np.zeros(launches.blocks.size, dtype=np.int64)
        if self._sm is not None:
            facts = launches.threads, launches.registers, launches.shared_bytes
            fit = blocks_per_sm(*facts, self._sm)
        blocks = np.clip(launches.blocks, 1, _MOST_BLOCKS)
        return (blocks << 10) | (np.minimum(fit, 255) << 2) | launches.kinds

    def _fold(self, until_us: float) -> None:
        """Put the held launches that begin before a time into the sums."""
        if not self._held:
            return
        start, duration, keys = (np.concatenate(one) for one in zip(*self._held, strict=True))
        if not np.isfinite(self._first_us):
            self._first_us = float(start.min())
        if np.isfinite(until_us):  # whole intervals, counted from the first launch
            whole = np.floor((until_us - self._first_us) / self._interval_us)
            until_us = self._first_us + whole * self._interval_us
        now = start < until_us
        self._held = [] if now.all() else [(start[~now], duration[~now], keys[~now])]
        self._held_count = int(start.size - now.sum())
        if not now.any():
            return
        start = np.maximum(start[now], max(self._folded_us, self._first_us))
        order = np.argsort(start, kind="stable")
        start, duration, keys = start[order], duration[now][order], keys[now][order]
        self._fold_sorted(start, duration, keys)
        self._folded_us = until_us

    def _fold_sorted(self, start: Floats, duration: Floats, keys: Ints) -> None:
        end = start + duration
        reached = np.maximum.accumulate(end)
        before = np.concatenate(([self._covered_us], np.maximum(reached[:-1], self._covered_us)))
        covered_from = np.maximum(start, before)
        news = np.maximum(0.0, end - covered_from)
        self._busy_us += float(news.sum())
        self._kernel_us += float(duration.sum())
        carried = self._covered_us
        self._covered_us = max(carried, float(reached[-1]))
        # busy time up to any moment, as a line with a corner at each end of what is covered
        new = news > 0.0
        corners = np.stack((covered_from[new], end[new]), axis=1).ravel()
        sums = np.repeat(np.cumsum(news[new]), 2)
        sums[0::2] -= news[new]
        self._bin(corners, sums)
        if np.isfinite(carried):  # what began before, and may last into these intervals
            first = min(float(start[0]), carried)
            first = self._first_us + self._interval_us * np.floor(
                (first - self._first_us) / self._interval_us
            )
            corners = np.concatenate(([first, carried], corners))
            sums = np.concatenate(([0.0, carried - first], sums + carried - first))
        number = np.floor((start - self._first_us) / self._interval_us).astype(np.int64)
        ends = list(range(start.size, 0, -_BLOCK))
        at = 0
        while ends:
            part = slice(at, ends[-1])
            found = self._delays(number[part], duration[part], keys[part])
            if found is None:
                ends.append(at + (ends[-1] - at) // 2)
                continue
            at = ends.pop()
            intervals, more = found
            begin = self._first_us + intervals * self._interval_us
            finish = np.minimum(begin + self._interval_us, self._covered_us)
            busy = np.interp(finish, corners, sums) - np.interp(begin, corners, sums)
            self._keep(intervals, busy - (finish - begin), more)

    def _bin(self, corners: Floats, sums: Floats) -> None:
        """Add newly covered time to the bins; as a line with corners."""
        if not corners.size:
            return
        first = int((corners[0] - self._first_us) / BIN_US)
        last = int((corners[-1] - self._first_us) / BIN_US) + 1
        if last > self._bins.size:
            self._bins = np.concatenate((self._bins, np.zeros(last - self._bins.size)))
        edges = self._first_us + np.arange(first, last + 1) * BIN_US
        self._bins[first:last] += np.diff(np.interp(edges, corners, sums))

    def _delays(self, number: Ints, duration: Floats, keys: Ints) -> tuple[Ints, Floats] | None:
        """Add sorted launches to the sums; returns their intervals and the delay there by n.

        None, and nothing is added, where that takes a matrix that is too large.
        """
        found, which = np.unique(keys, return_inverse=True)
        intervals, at = np.unique(number, return_inverse=True)
        dense = intervals.size * found.size <= _CELLS
        widest = max(found.size, intervals.size, 0 if dense else number.size)
        if widest * self.sms > _CELLS and number.size > 1:
            return None
        blocks, fit, kinds = found >> 10, (found >> 2) & 255, found & 3
        total = np.bincount(which, weights=duration)
        breadth = np.minimum(blocks, self.sms)
        self._breadth_us += float((total * breadth).sum()) / self.sms
        known = fit > 0
        self._strange_us += float(total[~known].sum())
        per_sm = np.maximum(1, fit)
        waves = -(-blocks // (self.sms * per_sm))
        need = np.minimum(self.sms, -(-blocks // (waves * per_sm)))
        self._needs_us += np.bincount(need[known], weights=total[known], minlength=self.sms + 1)
        spins = known & (kinds == SPINNING)
        if spins.any():
            self._collective = max(self._collective, int((-(-blocks // per_sm))[spins].max()))
        stretched = known & ~spins
        n = np.arange(1, self.sms + 1)
        high = breadth[:, None] / np.minimum(n, blocks[:, None])
        by_wave = -(-blocks[:, None] // (n * per_sm[:, None])) / waves[:, None]
        by_wave[kinds == PERSISTENT] = self.sms / n
        low = np.where(stretched[:, None], np.minimum(by_wave, high) - 1.0, 0.0)
        high = np.where(stretched[:, None], high - 1.0, 0.0)
        self._more_high += total @ high
        if dense:
            cells = intervals.size * found.size
            flat = np.bincount(at * found.size + which, weights=duration, minlength=cells)
            more: Any = flat.reshape(intervals.size, found.size) @ low
        else:
            firsts = np.searchsorted(number, intervals)
            more = np.add.reduceat(duration[:, None] * low[which], firsts, axis=0)
        return intervals, more

    def _keep(self, intervals: Ints, idle: Floats, more: Floats) -> None:
        """Keep intervals' idle time (negative) and delay; those of one interval are joined."""
        if self._rows and self._last == intervals[0]:
            self._rows[-1][1][-1] += more[0]
            self._rows[-1][0][-1] = idle[0]
            intervals, idle, more = intervals[1:], idle[1:], more[1:]
        if not intervals.size:
            return
        if self._row_count + intervals.size > _ROWS and self._rows:
            last_idle, last_more = self._rows.pop()
            for at, overlap in enumerate(_OVERLAPS):
                for old_idle, old_more in (*self._rows, (last_idle[:-1], last_more[:-1])):
                    delayed = old_idle[:, None] + overlap * old_more
                    self._excess[at] += np.maximum(0.0, delayed).sum(0)
            self._rows = [(last_idle[-1:], last_more[-1:])]  # it may still grow
            self._row_count = 1
        self._rows.append((idle, more))
        self._row_count += int(intervals.size)
        self._last = int(intervals[-1])
