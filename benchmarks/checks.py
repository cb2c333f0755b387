"""CPU of all checks of a whole run: windows compared, confidence, bounds, guard set up, prior.

The clock runs only while a check does, over a run of two hours that converges, is alarmed by the
guard and converges again; the cost of reading the clock is the null. The bar is 30 ms.

Run: python -m benchmarks.checks
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.ingest import FEED, info, options
from benchmarks.machine import header, interval
from jupyter_gpupredict.core.recommendation import Profile
from jupyter_gpupredict.predict.rules.epoch_mix import EpochMix
from jupyter_gpupredict.predict.rules.windows import WindowsRule
from jupyter_gpupredict.run.analysis import Analysis

ROUNDS = 11


class Clocked:
    """CPU seconds spent inside the calls that it wraps, and how many there were."""

    def __init__(self) -> None:
        self.spent_s, self.calls, self.inside = 0.0, 0, False

    def __call__(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            if self.inside:
                return call(*arguments)
            self.inside, began = True, time.process_time()
            try:
                return call(*arguments)
            finally:
                self.spent_s += time.process_time() - began
                self.calls += 1
                self.inside = False

        return timed


def checked(rule: type, method: str, prior: Profile | None) -> tuple[float, int, Analysis]:
    """Return CPU ms of all checks, how many there were, and the analysis."""
    clock = Clocked()

    def make() -> Any:
        made = rule(options())
        setattr(made, method, clock(getattr(made, method)))
        return made

    analysis: Any = Analysis(info(), make, lambda: EpochMix(options()), 0.95, prior=prior)
    for name in ("_close", "_converge", "_repeats"):
        setattr(analysis, name, clock(getattr(analysis, name)))
    for batch in FEED:
        analysis.ingest(batch)
    return 1000 * clock.spent_s, clock.calls, analysis


def null(calls: int) -> float:
    clock = Clocked()
    nothing = clock(lambda: None)
    for _ in range(calls):
        nothing()
    return 1000 * clock.spent_s


def main(kinds: Sequence[tuple[str, type, str]]) -> None:
    print(header())
    for name, rule, method in kinds:
        figures, empty = [], []
        for _ in range(ROUNDS):
            spent, calls, analysis = checked(rule, method, None)
            figures.append(spent)
            empty.append(null(calls))
        told = f"{calls} checks, {1 + len(analysis.relearned)} convergences"
        print(f"{name:<10} {told}: ms {interval(figures)}, clock alone {interval(empty)}")


if __name__ == "__main__":
    main([("windows", WindowsRule, "_judge")])
