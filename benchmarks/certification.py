"""How often dependent seconds certify what is false: it should be at most 5 %, and is stated.

A two-state chain lies above the target exactly 10 % of the time, so that certifying "less than
10 %" is always wrong. Looks come at 60 s and then 6 % later each: more often than a run is judged.

Run: python -m benchmarks.certification
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import header
from jupyter_gpupredict.predict.confidence import LEVEL, dependence_s, log_evidence

EXCEEDANCE = 0.10
REPETITIONS = 300
SECONDS = 12_000


def chain(
    draw: np.random.Generator, seconds: int, correlation_s: float, polls: int = 1
) -> NDArray[np.float64]:
    """Return for each second the share of its polls in exceedance, shape (seconds,).

    The correlation time is the integrated one, 1 + 2 x the sum of all autocorrelations: so many
    seconds are worth one independent second. The correlation falls to 1/e after half of it.
    """
    leave = 2.0 / (correlation_s * polls + 1.0)  # chance of a poll to draw the state anew
    size = seconds * polls
    fresh = draw.random(size) < leave
    fresh[0] = True
    states = draw.random(int(fresh.sum())) < EXCEEDANCE
    held = states[np.cumsum(fresh) - 1].astype(np.float64)
    return held.reshape(seconds, polls).mean(axis=1)


def ever_certified(shares: NDArray[np.float64]) -> bool:
    """Return whether any look at the growing record certifies less than 10 %."""
    look = 60.0
    while look <= shares.size:
        seen = shares[: int(look)]
        n = seen.size / dependence_s(seen)
        evidence = log_evidence(n * float(seen.mean()), n, EXCEEDANCE, 1.0 - LEVEL)
        if evidence >= math.log(1.0 / (1.0 - LEVEL)):
            return True
        look *= 1.06
    return False


if __name__ == "__main__":
    print(header())
    print(f"{REPETITIONS} chains of {SECONDS} s, nominal {1 - LEVEL:.2f}")
    for polls in (1, 10):
        for correlation_s in (1, 5, 20, 60, 120):
            draw = np.random.default_rng(1000 * polls + correlation_s)
            wrong = sum(
                ever_certified(chain(draw, SECONDS, correlation_s, polls))
                for _ in range(REPETITIONS)
            )
            share = wrong / REPETITIONS
            print(f"polled at {polls:>2} Hz, correlation {correlation_s:>3} s: {share:.3f}")
