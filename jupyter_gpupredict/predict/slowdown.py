"""How much longer a run may take when its SMs are capped, from its SM activity alone.

A kernel that is wider than the cap takes longer; one that is not does not. Both figures assume that
throughput goes with the number of SMs, and take no notice of memory-bound kernels, which may do
better, nor of neighbours, which come on top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_gpupredict.predict.counter import Counter


def bracket(breadth: Counter, watched_s: float, cap_ratio: float) -> tuple[float, float] | None:
    """Return (low, high): run time under the cap over run time without.

    A kernel of breadth b and length d takes at most d*b/p, so the time that is added is at most
    d*b*(1/p - 1): summed, the mean SM activity times (1/p - 1). That is `high`. `low` adds what a
    window's mean breadth exceeds the cap by; a mean hides wider kernels, so it is no bound.

    Args:
        breadth: Seconds in which the engine was busy, by the share of the SMs in use then.
        watched_s: All seconds, idle ones included.
        cap_ratio: The share of the SMs that is left, above 0 and at most 1.

    Returns:
        None where the engine was never busy.

    >>> from jupyter_gpupredict.predict.counter import Counter
    >>> half = Counter()
    >>> half.add(0.5, weight_s=5.0)
    >>> bracket(half, watched_s=10.0, cap_ratio=0.25)
    (1.48, 1.75)
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
