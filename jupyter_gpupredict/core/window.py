"""Sliding windows: blocks of seconds that do not overlap, counted from the first active reading."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from jupyter_gpupredict.core.counter import Counter

MIN_FILL = 0.8
"""A window with readings for less than this share of its time is void."""
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """One judged window. The spans are `(from_s, to_s]` in seconds since the session began."""

    from_s: float
    to_s: float
    fill_ratio: float
    covering_ratio: float
    mean_ratio: float
    counter: Counter = field(compare=False)
    times_s: tuple[float, ...] = field(compare=False, repr=False)
    values: tuple[float, ...] = field(compare=False, repr=False)

    @property
    def void(self) -> bool:
        """Whether too few readings fell into it for any judgement."""
        return self.fill_ratio < MIN_FILL
