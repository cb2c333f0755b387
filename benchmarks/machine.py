"""What the figures were taken on, and the statistics all benchmarks share."""

from __future__ import annotations

import datetime
import os
import platform
import random
import statistics
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path


def header() -> str:
    """Return machine, versions and date in one line."""
    model = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    packages = ", ".join(f"{p} {metadata.version(p)}" for p in ("numpy", "ipykernel", "bokeh"))
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{datetime.datetime.now(datetime.UTC).date()}: {names[0] if names else model}, "
        f"{os.cpu_count()} CPUs, load {load}, "
        f"Python {platform.python_version()}, {packages}"
    )


def interval(values: Sequence[float], seed: int = 0) -> str:
    """Return the median with its 95 % bootstrap interval."""
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return f"{statistics.median(values):.4g} [{medians[50]:.4g}, {medians[1949]:.4g}]"


def shuffled_rounds(
    conditions: dict[str, Callable[[], float]], rounds: int, seed: int = 0
) -> dict[str, list[float]]:
    """Run every condition once a round, in shuffled order, and return each one's figures."""
    draw = random.Random(seed)
    figures: dict[str, list[float]] = {name: [] for name in conditions}
    for _ in range(rounds):
        for name in draw.sample(sorted(conditions), len(conditions)):
            figures[name].append(conditions[name]())
    return figures
