"""What one reading costs the core: window, counter, coverage, guard and memory peak together.

Run: python -m benchmarks.ingest
"""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc

from benchmarks.machine import header, interval, shuffled_rounds
from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.core.series import Device, Readings, Series, SourceInfo
from jupyter_gpupredict.predict.rules.epoch_mix import EpochMix
from jupyter_gpupredict.predict.rules.windows import WindowsRule
from jupyter_gpupredict.run.analysis import Analysis

SHARE = Series("gpu_util_ratio", "GPU-1")
MEMORY = Series("memory_used_bytes", "GPU-1")
PERIOD_S = 0.2
HOURS = 2


def info() -> SourceInfo:
    return SourceInfo(
        source="nvml",
        devices=(Device("GPU-1", "x"),),
        series=(SHARE, MEMORY),
        share=SHARE,
        memory=MEMORY,
        period_s=PERIOD_S,
    )


def batches(hours: float, seed: int) -> list[tuple[Readings, ...]]:
    """One batch a second of five readings, as the driver's buffer gives them."""
    draw = random.Random(seed)
    found = []
    for second in range(int(3600 * hours)):
        times = tuple(second + k * PERIOD_S for k in range(5))
        level = 0.6 + 0.2 * (second // 900 % 2)
        values = tuple(min(1.0, max(0.0, round(draw.gauss(level, 0.1), 2))) for _ in times)
        found.append((Readings(SHARE, times, values), Readings(MEMORY, (second + 0.0,), (4e9,))))
    return found


def options() -> RuleOptions:
    return RuleOptions(window_s=300.0, agree=2, tolerance_points=2.0, period_s=PERIOD_S)


def analysed(rule: type) -> float:
    analysis = Analysis(info(), lambda: rule(options()), lambda: EpochMix(options()), 0.95)
    began = time.process_time()
    for batch in FEED:
        analysis.ingest(batch)
    return time.process_time() - began


def passed() -> float:
    """The null: the same loop over the same readings, doing nothing with them."""
    began = time.process_time()
    for batch in FEED:
        for readings in batch:
            for _ in zip(readings.times_s, readings.values, strict=True):
                pass
    return time.process_time() - began


def growth() -> tuple[float, float]:
    """Return the memory an analysis holds after the first hour and after the last, KiB."""
    held = []
    tracemalloc.start()
    base = tracemalloc.get_traced_memory()[0]
    analysis = Analysis(info(), lambda: WindowsRule(options()), lambda: EpochMix(options()), 0.95)
    for batch in itertools.islice(FEED, 3600):
        analysis.ingest(batch)
    held.append((tracemalloc.get_traced_memory()[0] - base) / 1024)
    for batch in itertools.islice(FEED, 3600, None):
        analysis.ingest(batch)
    held.append((tracemalloc.get_traced_memory()[0] - base) / 1024)
    tracemalloc.stop()
    return held[0], held[1]


FEED = batches(HOURS, seed=1)

if __name__ == "__main__":
    count = sum(len(readings.times_s) for batch in FEED for readings in batch)
    print(header())
    print(f"{count} readings of {HOURS} h; CPU us per reading, median of 9 [95 %]")
    conditions = {
        "windows rule, all of the analysis": lambda: analysed(WindowsRule),
        "null A": passed,
        "null B": passed,
    }
    for name, figures in shuffled_rounds(conditions, 9).items():
        print(f"{name:<40} {interval([1e6 * f / count for f in figures])}")
    first, last = growth()
    print(f"held after 1 h: {first:.0f} KiB, after {HOURS} h: {last:.0f} KiB")
