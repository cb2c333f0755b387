"""How long the rest takes, with an interval: from whole epochs, or from steps alone."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.progress import Remaining

if TYPE_CHECKING:
    from jupyter_gpupredict.predict.phases import Spread

STUDENT_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t at 97.5 %, 1 to 10 degrees of freedom."""
NORMAL_975 = 1.960
MAX_MARKS = 256
LAST_SHARE = 0.2
"""Steps are timed over the last fifth: the beginning is slow (loading, compiling)."""


def rest_of_epochs(expected_s: float, epochs_left: float, durations_s: Spread) -> Remaining:
    """Return the rest with a prediction interval for the sum of the epochs to come.

    Args:
        expected_s: The expected rest.
        epochs_left: Epochs that are not complete, at least 0.
        durations_s: Durations of the complete, learned epochs.

    >>> from jupyter_gpupredict.predict.phases import Spread
    >>> seen = Spread()
    >>> for seconds in (9.0, 11.0, 10.0): seen.add(seconds)
    >>> rest_of_epochs(100.0, 10.0, seen)
    Remaining(expected_s=100.0, low_s=71.677..., high_s=128.322...)
    """
    count = durations_s.count
    if count < 2:
        return Remaining(expected_s, None, None)
    freedom = count - 1
    student = STUDENT_975[freedom - 1] if freedom <= len(STUDENT_975) else _student(freedom)
    spread = math.sqrt(durations_s.variance() * (epochs_left + epochs_left**2 / count))
    half_s = student * spread
    return Remaining(expected_s, max(0.0, expected_s - half_s), expected_s + half_s)


def _student(freedom: int) -> float:
    """Return t at 97.5 % for more than ten degrees of freedom (first Cornish-Fisher term)."""
    return NORMAL_975 + (NORMAL_975**3 + NORMAL_975) / (4 * freedom)


class StepPace:
    """Times steps from marks (time, steps done) of any spacing, in bounded memory.

    >>> pace = StepPace()
    >>> for second in range(11): pace.update(float(second), 5.0 * second, 100.0)
    >>> pace.remaining(10.0).expected_s
    10.0
    """

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []
        self._total = math.nan

    def update(self, time_s: float, done: float, total: float | None) -> None:
        """Take a mark; a count that falls begins a new loop."""
        if self._marks and done < self._marks[-1][1]:
            self._marks = []
        if self._marks and done == self._marks[-1][1]:
            return
        self._total = math.nan if total is None else total
        self._marks.append((time_s, done))
        if len(self._marks) > MAX_MARKS:
            self._marks = self._marks[::2] if len(self._marks) % 2 else self._marks[1::2]

    def remaining(self, now_s: float) -> Remaining | None:
        """Return the rest; None while the total is not known or too few steps were seen."""
        if math.isnan(self._total) or len(self._marks) < 3:
            return None
        last_s, done = self._marks[-1]
        from_step = done - max(LAST_SHARE * (done - self._marks[0][1]), 1.0)
        first = next(i for i, (_, step) in enumerate(self._marks) if step >= from_step)
        used = self._marks[max(0, min(first, len(self._marks) - 3)) :]
        per_step_s = sorted((b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(used))
        left = max(0.0, self._total - done)
        since_s = now_s - last_s

        def rest_s(each_s: float) -> float:
            return max(0.0, left * each_s - since_s)

        def quantile(share: float) -> float:
            return per_step_s[min(len(per_step_s) - 1, int(share * len(per_step_s)))]

        if len(per_step_s) < 5:
            return Remaining(rest_s(quantile(0.5)), None, None)
        return Remaining(rest_s(quantile(0.5)), rest_s(quantile(0.05)), rest_s(quantile(0.95)))
