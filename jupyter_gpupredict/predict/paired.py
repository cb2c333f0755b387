"""How much slower one way is than another, from pairs of runs that were made one after the other.

What drifts slowly (clocks, temperature, other work) is in both runs of a pair, and the order within
pairs alternates (ABBA), so that what drifts steadily cancels over two pairs.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = 0.95
KEPT = 0.90
"""Share of the uncapped speed that a run must keep (design: verify and sweep)."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of speeds with its interval."""

    value: float
    """Geometric mean of the pairs' ratios; 1: as fast as without the cap."""
    low: float
    high: float
    """Bounds of Student's t interval at `LEVEL` on the logarithms of the ratios."""
    pairs: int

    @property
    def slowdown(self) -> float:
        """How many times longer the same work takes."""
        return 1.0 / self.value


def compare(capped: Sequence[float], uncapped: Sequence[float]) -> Ratio:
    """Return how the speeds of the pairs compare; at least two pairs.

    Args:
        capped: Speeds, one a pair, each above 0, in any unit.
        uncapped: Speeds of the same pairs.

    Raises:
        ValueError: Fewer than two pairs, or a speed that is none.

    >>> found = compare([90.0, 88.0, 92.0], [100.0, 100.0, 100.0])
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.9, 0.852, 0.951)
    """
    if len(capped) < 2 or len(capped) != len(uncapped):
        raise ValueError("at least two pairs")
    logs = [math.log(a / b) for a, b in zip(capped, uncapped, strict=True)]
    mean = statistics.fmean(logs)
    half = student(len(logs) - 1, LEVEL) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs))


def student(freedom: int, level: float) -> float:
    """Return the t within which Student's distribution has this share of its mass.

    Source: Abramowitz and Stegun 26.7.3 and 26.7.4, solved by bisection.

    >>> [round(student(n, 0.95), 3) for n in (1, 2, 3, 10, 30)]
    [12.706, 4.303, 3.182, 2.228, 2.042]
    """
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2.0
        if _within(middle, freedom) < level:
            low = middle
        else:
            high = middle
    return high


def _within(t: float, freedom: int) -> float:
    """Return the mass of Student's distribution between -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2.0 / math.pi * (angle + sine * total) if odd else sine * total


@dataclass(frozen=True, slots=True)
class Knee:
    """Where a run begins to lose speed, from runs at several shares."""

    measured: int | None
    """Smallest measured percentage down to which every measured one kept the speed."""
    between: float | None
    """Where a straight line to the next measured one crosses the limit; None: nowhere measured."""


def knee(ratios: dict[int, float], kept: float = KEPT) -> Knee:
    """Return the smallest share that keeps the speed.

    Args:
        ratios: Percentage -> speed as a share of the uncapped one; 100 is among them.
        kept: What must be kept.

    >>> knee({100: 1.0, 75: 1.0, 50: 1.0, 25: 0.8})
    Knee(measured=50, between=37.5)
    >>> knee({100: 1.0, 50: 0.99})
    Knee(measured=50, between=None)
    """
    lowest: int | None = None
    for percent in sorted(ratios, reverse=True):
        ratio = ratios[percent]
        if ratio >= kept:
            lowest = percent
            continue
        if lowest is None:
            return Knee(None, None)
        span, drop = lowest - percent, ratios[lowest] - ratio
        return Knee(lowest, percent + span * (kept - ratio) / drop)
    return Knee(lowest, None)
