"""A rule's measure, or how much it differs from another's on the same runs, with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jupyter_gpupredict.backtest.score import Score, Scored


@dataclass(frozen=True, slots=True)
class Difference:
    """A rule's measure, or how much it lies above another's on the same runs."""

    mean: float
    low: float
    high: float
    """Bounds of the 95 % bootstrap interval."""


def paired_difference(
    ours: Sequence[Scored],
    theirs: Sequence[Scored] | None,
    measure: Callable[[Score], float | None],
    *,
    draw: Literal["groups", "runs"] = "groups",
    repeats: int = 2000,
    seed: int = 0,
) -> Difference | None:
    """Return the macro difference of a measure with its interval; None where it never applies.

    Args:
        ours: One rule's scores.
        theirs: Another's, of the same runs; None: the measure itself is asked for.
        measure: Takes the measure from a score.
        draw: What is drawn again, with replacement. `groups`, each with all its runs: these are
            repeats of each other, and other groups might have been recorded. `runs`, within their
            groups: these are independent, and the groups are what they are.
        repeats: Bootstrap samples.
        seed: Of the resampling.
    """
    other = None if theirs is None else {one.id: measure(one.score) for one in theirs}
    by_group: dict[str, list[float]] = {}
    for one in ours:
        a, b = measure(one.score), 0.0 if other is None else other.get(one.id)
        if a is not None and b is not None:
            by_group.setdefault(one.group, []).append(a - b)
    if not by_group:
        return None
    generator = np.random.default_rng(seed)
    held = [np.array(values) for values in by_group.values()]
    means = np.array([values.mean() for values in held])
    if draw == "groups":
        drawn = _redrawn(means, generator, repeats)
    else:
        drawn = np.mean([_redrawn(values, generator, repeats) for values in held], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Difference(float(means.mean()), float(low), float(high))


def _redrawn(
    values: NDArray[np.float64], generator: np.random.Generator, repeats: int
) -> NDArray[np.float64]:
    """Return the means of so many samples with replacement, shape (repeats,)."""
    places = generator.integers(0, len(values), (repeats, len(values)))
    means: NDArray[np.float64] = values[places].mean(axis=1)
    return means
