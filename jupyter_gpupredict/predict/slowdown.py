"""How much slower a run gets when its SMs are capped: from its SM activity, and from paired runs.

From the activity alone: a kernel that is wider than the cap takes longer; one that is not does not.
Both figures assume that throughput goes with the number of SMs, and take no notice of memory-bound
kernels, which may do better, nor of neighbours, which come on top.

From pairs of runs, made one after the other: what drifts slowly (clocks, temperature, other work)
is in both runs of a pair, and the order within pairs alternates (ABBA), so that what drifts
steadily cancels over two pairs.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.predict.windows import Counter

LEVEL = 0.95
KEPT = 0.90
"""Share of the uncapped speed that a run must keep (design: verify and sweep)."""


def bracket(breadth: Counter, watched_s: float, cap_ratio: float) -> tuple[float, float] | None:
    """Return (low, high): run time under the cap over run time without.

    A kernel of breadth b and length d takes at most d*b/p, so the time that is added is at most
    d*b*(1/p - 1): summed, the mean SM activity times (1/p - 1). That is `high`. `low` adds what a
    window's mean breadth exceeds the cap by; a mean hides wider kernels, so it is not a bound. None
    where the engine was never busy.

    Args:
        breadth: Seconds in which the engine was busy, by the share of the SMs in use then.
        watched_s: All seconds, idle ones included.
        cap_ratio: The share of the SMs that is left, above 0 and at most 1.
    """
    if breadth.seconds <= 0.0 or watched_s <= 0.0:
        return None
    activity = breadth.mean_ratio() * breadth.seconds / watched_s
    # a bin holds what lies in the percent below it: its lower end is taken
    beyond_s = sum(
        seconds * max(0.0, (percent - 1) / 100.0 / cap_ratio - 1.0)
        for percent, seconds in breadth.bins()
    )
    high = 1.0 + activity * (1.0 / cap_ratio - 1.0)
    return min(high, 1.0 + beyond_s / watched_s), high


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of speeds with its interval."""

    value: float
    """Geometric mean of the pairs' ratios; 1: as fast as without the cap."""
    low: float
    high: float
    """Bounds of Student's t interval at `LEVEL` on the logarithms of the ratios."""
    pairs: int


def compare(capped: Sequence[float], uncapped: Sequence[float]) -> Ratio:
    """Return how the speeds of two or more pairs compare, all above 0; `ValueError` for fewer."""
    if len(capped) < 2 or len(capped) != len(uncapped):
        raise ValueError("at least two pairs")
    logs = [math.log(a / b) for a, b in zip(capped, uncapped, strict=True)]
    mean = statistics.fmean(logs)
    half = student(len(logs) - 1, LEVEL) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs))


def student(freedom: int, level: float) -> float:
    """Return the t within which Student's distribution has this share of its mass.

    Source: Abramowitz and Stegun 26.7.3 and 26.7.4, solved by bisection.
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
    """Return the smallest share that keeps this much of the speed.

    `ratios` is percentage -> speed as a share of the uncapped one; 100 is among them.
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
