"""CPU of all that is computed once: windows compared, confidence, bounds, guard, profile, prior.

The whole analysis of a run is timed against the same run with a rule that never fires and a guard
that is off, so that what remains is the price of the checks. The bar is 30 ms for a whole run.

Run: python -m benchmarks.checks
"""

from __future__ import annotations

import time

from benchmarks.ingest import FEED, info, options
from benchmarks.machine import header, interval, shuffled_rounds
from jupyter_gpupredict.core.recommendation import Estimate
from jupyter_gpupredict.predictors.epoch_mix import EpochMix
from jupyter_gpupredict.predictors.histogram import HistogramRule
from jupyter_gpupredict.predictors.windows import WindowsRule
from jupyter_gpupredict.session.analysis import Analysis


class Watching(WindowsRule):
    """The windows rule, which keeps its windows and never fires."""

    def _judge(self) -> Estimate | None:
        return None


def analysed(rule: type, *, guard: bool = True) -> float:
    analysis = Analysis(
        info(), lambda: rule(options()), lambda: EpochMix(options()), 0.95, guard=guard
    )
    began = time.process_time()
    for batch in FEED:
        analysis.ingest(batch)
    analysis.finish()
    analysis.profile()
    return 1000 * (time.process_time() - began)


if __name__ == "__main__":
    print(header())
    found = shuffled_rounds(
        {
            "windows": lambda: analysed(WindowsRule),
            "histogram": lambda: analysed(HistogramRule),
            "never fires": lambda: analysed(Watching, guard=False),
            "never fires (null)": lambda: analysed(Watching, guard=False),
        },
        11,
    )
    print("CPU of a whole run of two hours, ms; and what it is more than one that never fires:")
    for name, figures in found.items():
        more = [a - b for a, b in zip(figures, found["never fires"], strict=True)]
        print(f"{name:<20} {interval(figures):<28} {interval(more)}")
