"""Covering usage beside what others offer: whole traces at once, and one reading after the other.

Peers that are not installed are named and left out. One thread; CPU time of the whole process.

Run: python -m benchmarks.covering
"""

from __future__ import annotations

import math
import os

os.environ.update(dict.fromkeys(("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS"), "1"))

import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import header, interval, shuffled_rounds
from jupyter_gpupredict.core.coverage import covering_windows

Bytes = NDArray[np.uint8]

COVERAGE = 0.95
WINDOW = 300
SAMPLES = 10_000_000
"""10 MB, copied within the last cache where that is large: the limit is then a strict one."""
RANK = math.ceil(COVERAGE * WINDOW - 1e-9)
ROUNDS = 9
COPIES = 20
"""One copy alone is too short to be timed."""
PEERS = ("numpy", "pandas", "polars", "numba", "river", "ddsketch", "tdigest")


def peer(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None


def versions() -> str:
    found = [name for name in PEERS if peer(name)]
    missing = [name for name in PEERS if name not in found]
    said = ", ".join(f"{name} {metadata.version(name)}" for name in found)
    return f"peers: {said}; missing: {', '.join(missing) or 'none'}"


def traces_like(count: int, seed: int) -> Bytes:
    """Idle or busy at the level of its phase, each reading held for five samples."""
    draw = np.random.default_rng(seed)
    levels = np.repeat(draw.integers(1, 101, count // 5000 + 1), 1000)
    idle = draw.random(len(levels)) < np.repeat(draw.random(count // 5000 + 1) / 2, 1000)
    return np.repeat(np.where(idle, 0, levels).astype(np.uint8), 5)[:count]


def noise(count: int, seed: int) -> Bytes:
    return np.random.default_rng(seed).integers(0, 101, count, np.uint8)


DATA = {"traces-like": traces_like, "noise": noise}


def offline_methods(percents: Bytes) -> dict[str, Callable[[], Bytes]]:
    """Everything but the statistic itself is made ready here, outside the clock."""
    rows = percents[: len(percents) // WINDOW * WINDOW].reshape(-1, WINDOW)
    keys = np.repeat(np.arange(len(rows), dtype=np.int32), WINDOW)
    methods: dict[str, Callable[[], Bytes]] = {
        "ours": lambda: covering_windows(percents, WINDOW, COVERAGE),
        "ours again (null)": lambda: covering_windows(percents, WINDOW, COVERAGE),
        "np.partition": lambda: np.partition(rows, RANK - 1, axis=1)[:, RANK - 1],
        "np.percentile, inverted_cdf": lambda: np.percentile(
            rows, 100 * COVERAGE, axis=1, method="inverted_cdf"
        ),
    }
    if pandas := peer("pandas"):
        series = pandas.Series(rows.ravel())
        methods["pandas groupby.quantile"] = lambda: (
            series.groupby(keys).quantile(COVERAGE, interpolation="lower").to_numpy()
        )
    if polars := peer("polars"):
        frame = polars.DataFrame({"key": keys, "x": rows.ravel()})
        lower = polars.col("x").quantile(COVERAGE, interpolation="lower")

        def grouped() -> Bytes:
            found: Bytes = frame.group_by("key", maintain_order=True).agg(lower)["x"].to_numpy()
            return found

        methods["polars group_by quantile"] = grouped
    if numba := peer("numba"):
        compiled = numba.njit(binned)
        methods["numba, 101 bins (compiled)"] = lambda: compiled(rows, RANK)
    return methods


def binned(rows: Bytes, rank: int) -> Bytes:
    found = np.empty(len(rows), np.uint8)
    for row in range(len(rows)):
        bins = np.zeros(101, np.int32)
        for value in rows[row]:
            bins[value] += 1
        seen = 0
        for percent in range(101):
            seen += bins[percent]
            if seen >= rank:
                found[row] = percent
                break
    return found


def copied(percents: Bytes, into: Bytes) -> float:
    began = time.process_time()
    for _ in range(COPIES):
        np.copyto(into, percents)
    return (time.process_time() - began) / COPIES


def clocked(method: Callable[[], Bytes]) -> float:
    began = time.process_time()
    method()
    return time.process_time() - began


def offline(percents: Bytes) -> None:
    into = np.zeros_like(percents)
    methods = offline_methods(percents)
    sorted_rows = np.sort(percents[: len(percents) // WINDOW * WINDOW].reshape(-1, WINDOW), axis=1)
    exact = {
        name: "yes" if np.array_equal(method(), sorted_rows[:, RANK - 1]) else "NO"
        for name, method in methods.items()
    }
    conditions = {
        name: lambda method=method: clocked(method)  # type: ignore[misc]
        for name, method in methods.items()
    }
    conditions["np.copyto (limit)"] = lambda: copied(percents, into)
    conditions["np.copyto again (null)"] = lambda: copied(percents, into)
    figures = shuffled_rounds(conditions, ROUNDS)
    print(f"{'method':<30} {'CPU ns per sample':<26} {'times np.copyto':<26} exact")
    for name in sorted(figures, key=lambda one: sorted(figures[one])[ROUNDS // 2]):
        each = interval([1e9 * f / len(percents) for f in figures[name]])
        pairs = zip(figures[name], figures["np.copyto (limit)"], strict=True)
        times = interval([mine / limit for mine, limit in pairs])
        print(f"{name:<30} {each:<26} {times:<26} {exact.get(name, '-')}")


@dataclass(frozen=True)
class Streaming:
    """Statements on `x`, a reading of 0..1: timed as written, with no call of ours around them."""

    setup: str
    add: str
    get: str
    samples: int
    windowed: bool = False
    """Answers for the last 300 samples; otherwise for everything since the setup."""
    judged: bool = True

    def seconds(self, readings: list[float], *, asked: bool) -> float:
        """Return CPU seconds per sample."""
        body = f"{self.add}; {self.get}" if asked else self.add
        loop = f"for x in readings[:{self.samples}]: {body}"
        clock = timeit.Timer(loop, self.setup, time.process_time, {"readings": readings})
        return clock.timeit(1) / min(self.samples, len(readings))

    def exact(self, readings: list[float]) -> str:
        """Return the share of answers that equal those of a sort, over up to 2000 samples."""
        space: dict[str, object] = {}
        exec(self.setup, space)
        right, readings = 0, readings[: min(2000, self.samples)]
        for number, space["x"] in enumerate(readings, start=1):
            exec(self.add, space)
            judged = sorted(readings[max(0, number - WINDOW) if self.windowed else 0 : number])
            rank = math.ceil(COVERAGE * len(judged) - 1e-9)
            answer = eval(self.get, space)
            right += answer is not None and abs(answer - judged[rank - 1]) < 1e-9
        return f"{right / len(readings):.0%}"


OURS = "from jupyter_gpupredict.core.counter import Counter; counter = Counter()"
LAST = "from collections import deque; from math import ceil; last = deque(maxlen=300)"
STREAMING = {
    "ours": Streaming(OURS, "counter.add(x, 0.2)", "counter.covering_ratio(0.95)", 50_000),
    "ours again (null)": Streaming(
        OURS, "counter.add(x, 0.2)", "counter.covering_ratio(0.95)", 50_000
    ),
    "ours, afresh every 300": Streaming(
        OURS,
        "counter = counter if counter.seconds < 59.9 else Counter(); counter.add(x, 0.2)",
        "counter.covering_ratio(0.95)",
        50_000,
        judged=False,
    ),
    "empty loop (null)": Streaming("", "x", "x", 50_000, judged=False),
    "river RollingQuantile": Streaming(
        "from river.stats import RollingQuantile; rolling = RollingQuantile(0.95, 300)",
        "rolling.update(x)",
        "rolling.get()",
        50_000,
        windowed=True,
    ),
    "deque + sorted": Streaming(
        LAST, "last.append(x)", "sorted(last)[ceil(0.95 * len(last) - 1e-9) - 1]", 5000, True
    ),
    "ddsketch, 1 % relative error": Streaming(
        "from ddsketch import DDSketch; sketch = DDSketch(0.01)",
        "sketch.add(x)",
        "sketch.get_quantile_value(0.95)",
        5000,
    ),
    "tdigest": Streaming(
        "from tdigest import TDigest; digest = TDigest()",
        "digest.update(x)",
        "digest.percentile(95)",
        1000,
    ),
}


def streaming(percents: Bytes) -> None:
    readings = [percent / 100 for percent in percents.tolist()]
    usable = {
        name: one
        for name, one in STREAMING.items()
        if name.split()[0].strip(",") not in PEERS or peer(name.split()[0].strip(","))
    }
    conditions: dict[str, Callable[[], float]] = {}
    for name, one in usable.items():
        conditions[name] = lambda one=one: one.seconds(readings, asked=False)  # type: ignore[misc]
        conditions[name + "?"] = lambda one=one: one.seconds(readings, asked=True)  # type: ignore[misc]
    figures = shuffled_rounds(conditions, ROUNDS)
    print(f"{'method':<30} {'samples':<9} {'add, us':<28} {'add + quantile, us':<28} exact")
    for name in sorted(usable, key=lambda one: sorted(figures[one + "?"])[ROUNDS // 2]):
        add, both = (interval([1e6 * f for f in figures[name + end]]) for end in ("", "?"))
        exact = usable[name].exact(readings) if usable[name].judged else "-"
        print(f"{name:<30} {usable[name].samples:<9} {add:<28} {both:<28} {exact}")


if __name__ == "__main__":
    print(header())
    print(versions())
    print(f"medians of {ROUNDS} shuffled rounds [95 %]")
    for kind, make in DATA.items():
        print(f"\n{kind}: {SAMPLES} samples, windows of {WINDOW} that do not overlap")
        offline(make(SAMPLES, seed=1))
    for kind, make in DATA.items():
        print(f"\n{kind}: one call per sample; river and deque know the last {WINDOW} samples")
        streaming(make(50_000, seed=2))
