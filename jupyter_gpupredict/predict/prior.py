"""What an earlier run of the same code used, minute by minute, and whether this run repeats it.

The whole of an earlier run says what no watching can: which regimes are still to come. It is used
only while this run repeats its minutes, and it never silences the guard.
"""

from __future__ import annotations

from collections import deque

from jupyter_gpupredict.core.recommendation import Block, Estimate, Profile
from jupyter_gpupredict.predict.windows import (
    MIN_FILL,
    MIN_READINGS,
    ClosedWindow,
    Counter,
    SlidingWindows,
    agree,
    pooled,
)

BLOCK_S = 30.0
MAX_BLOCKS = 30
"""Blocks kept one by one: a quarter of an hour, by when most runs converge without a prior."""
AGREE = 2
"""So many blocks in a row must agree with the earlier run's at the same time."""
TOLERANCE_RATIO = 0.02
"""How far apart they may lie, in covering usage and in mean. The target gets as much on top: a run
that agrees within two points need not agree within less."""
SO_FAR_TOLERANCE_RATIO = 0.05
"""The same for all since the beginning: one minute of two different runs can agree by chance."""


class ProfileBuilder:
    """Makes the profile of a run while it is measured."""

    def __init__(self, start_s: float, period_s: float, coverage: float) -> None:
        block_s = max(BLOCK_S, MIN_READINGS * period_s)
        self._windows = SlidingWindows(block_s, start_s, coverage)
        self._start_s = self._last_s = start_s
        self._closed: list[Block] = []
        self._seen, self._rest = Counter(), Counter()
        """What the closed blocks hold, and what came after them."""

    def add(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> list[ClosedWindow]:
        """Take a reading; returns the blocks that end before it."""
        self._last_s = time_s
        if len(self._closed) == MAX_BLOCKS:
            self._rest.add(value, weight_s)
            return []
        closed = self._windows.add(time_s, value, weight_s, span_s)
        for block in closed:
            if len(self._closed) < MAX_BLOCKS:
                self._closed.append(_block(block.counter))
                self._seen.merge(block.counter)
            else:
                self._rest.merge(block.counter)
        return closed

    def whole(self) -> Counter:
        """Return everything so far."""
        return Counter.total((self._seen, self._rest, self._windows.counter))

    def profile(self) -> Profile:
        """Return the run so far; the block that is open belongs to the rest."""
        both = Counter.total((self._rest, self._windows.counter))
        rest = _block(both) if both.seconds > 0.0 else None
        active_s, block_s = self._last_s - self._start_s, self._windows.window_s
        return Profile(block_s, tuple(self._closed), rest, active_s)


class PriorTest:
    """Compares the blocks of this run with those of an earlier one, at the same distance from t0.

    One comparison that fails makes the row of agreeing blocks begin again: runs differ at their
    start (caches, compilation) and come together later.
    """

    def __init__(self, profile: Profile, coverage: float) -> None:
        self._profile = profile
        self._coverage = coverage
        self._number = 0
        self._agreeing: deque[ClosedWindow] = deque(maxlen=AGREE)
        self._so_far = Counter()
        self._former_so_far = Counter()

    def update(self, block: ClosedWindow) -> Estimate | None:
        """Take the next block of this run; returns the estimate once enough of them agree."""
        number, self._number = self._number, self._number + 1
        blocks = self._profile.blocks
        if number >= len(blocks):
            return None
        self._so_far.merge(block.counter)
        self._former_so_far.merge(_counter(blocks[number]))
        if block.idle or not self._repeats(block, blocks[number]):
            self._agreeing.clear()
            return None
        self._agreeing.append(block)
        rest = () if self._profile.rest is None else (self._profile.rest,)
        to_come = Counter.total(_counter(one) for one in (*blocks[number + 1 :], *rest))
        if len(self._agreeing) < AGREE or to_come.seconds <= 0.0:
            return None
        if not self._near(self._so_far, self._former_so_far, SO_FAR_TOLERANCE_RATIO):
            return None
        covering_ratio, mean_ratio = to_come.figures(self._coverage)
        highest = max(covering_ratio, *(one.covering_ratio for one in self._agreeing))
        target = max(0.01, min(1.0, round(highest + TOLERANCE_RATIO, 2)))
        return Estimate(
            block.to_s,
            target,
            mean_ratio,
            *pooled(self._agreeing),
            earlier_s=self._profile.active_s,
        )

    def _repeats(self, block: ClosedWindow, former: Block) -> bool:
        length_s = block.to_s - block.from_s
        if block.void or abs(length_s - self._profile.block_s) > 1e-6:
            return False  # not as long: the readings came more slowly
        if former.seconds < MIN_FILL * length_s:
            return False
        return self._near(block.counter, _counter(former), TOLERANCE_RATIO)

    def _near(self, one: Counter, other: Counter, tolerance_ratio: float) -> bool:
        return agree((one.figures(self._coverage), other.figures(self._coverage)), tolerance_ratio)


def _counter(block: Block) -> Counter:
    return Counter(block.bins, block.mean_ratio)


def _block(counter: Counter) -> Block:
    bins = tuple((percent, round(seconds, 3)) for percent, seconds in counter.bins())
    return Block(bins, round(counter.mean_ratio(), 5) if counter.seconds > 0.0 else 0.0)
