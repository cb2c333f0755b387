"""Many traces: what one costs, and how much sooner two workers are done than one.

Two Dask clusters of this machine, of one worker process and of two, both warm, take the same
backtest in shuffled rounds. A machine that others use, too, gives two workers less than one core
each, so beside the wall time stands what the work could get. `/proc/stat` says how much of the
cores others used meanwhile, and the speed-up is told of all rounds, and of those in which they left
both workers alone. And the CPU of one worker is held against that of the busier of two, which says
how evenly the work is divided and what it costs more to divide it, whoever else is there; it is
blind to waiting. The null is one worker against one worker.

Run: python -m benchmarks.fleet TRACES [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import distributed
import psutil

from benchmarks.machine import header, interval
from jupyter_gpupredict.backtest.cases import folder, recorded
from jupyter_gpupredict.backtest.run import backtest, predictions
from jupyter_gpupredict.backtest.spread import Where

RULES = ("default", "accurate", "quick")
QUIET_CORES = 0.15
"""Others that use less than this of a core leave two workers alone on two cores."""


@contextmanager
def cluster(workers: int) -> Iterator[distributed.LocalCluster]:
    with distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        silence_logs=50,
    ) as made:
        yield made


def busy_s() -> float:
    """CPU seconds all processes of the machine have used."""
    user, nice, system, _idle, _iowait, irq, soft, steal = map(
        int, Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]
    )
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def ours_s() -> float:
    """CPU seconds this process and its living descendants have used."""
    me = psutil.Process()
    return sum(
        sum(one.cpu_times()[:2]) for one in (me, *me.children(recursive=True)) if one.is_running()
    )


class Workers:
    """A cluster's workers, by their processes."""

    def __init__(self, made: distributed.LocalCluster) -> None:
        self.address = made.scheduler_address
        with distributed.Client(made, set_as_default=False) as client:
            self._processes = [psutil.Process(pid) for pid in client.run(os.getpid).values()]

    def cpu_s(self) -> list[float]:
        return [sum(one.cpu_times()[:2]) for one in self._processes]


@dataclass
class Round:
    wall_s: float
    worker_s: float
    """CPU of the busiest worker."""
    others: float
    """Cores that others used."""


def timed(cases, workers: Workers) -> Round:
    began, busy, ours, before = time.monotonic(), busy_s(), ours_s(), workers.cpu_s()
    backtest(cases, RULES, scheduler=workers.address)
    wall_s = time.monotonic() - began
    used_s = ours_s() - ours
    worker_s = max(b - a for a, b in zip(before, workers.cpu_s(), strict=True))
    return Round(wall_s, worker_s, max(0.0, busy_s() - busy - used_s) / wall_s)


def cost(cases, rounds: int) -> list[float]:
    """Return CPU ms of one trace's prediction, each round over all of them."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in predictions(cases, {}, Where(1)):
            pass
        found.append(1000 * (time.process_time() - began) / len(cases))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(header())
    print(f"distributed {distributed.__version__}, {len(os.sched_getaffinity(0))} cores")
    cases = folder(options.traces).cases
    readings = [len(case.load()[0].rows) for case in cases]
    print(f"{len(cases)} traces, {statistics.median(readings):.0f} rows each (median)")
    one_trace = cost(recorded([options.traces]), 3)
    print(f"CPU of one prediction: {interval(one_trace)} ms")
    per_row = [1000 * ms * len(cases) / sum(readings) for ms in one_trace]
    print(f"CPU of one row: {interval(per_row)} us")
    draw = random.Random(0)
    taken: list[dict[str, Round]] = []
    with cluster(1) as one, cluster(1) as same, cluster(2) as two:
        places = {"one": Workers(one), "same": Workers(same), "two": Workers(two)}
        for place in places.values():  # every worker has imported what it needs
            backtest(cases, RULES, scheduler=place.address)
        for _ in range(options.rounds):
            taken.append(
                {name: timed(cases, places[name]) for name in draw.sample(sorted(places), 3)}
            )
            for name in ("one", "two", "same"):
                got = taken[-1][name]
                print(
                    f"  {name:4} {got.wall_s:.2f} s, busiest worker {got.worker_s:.2f} s of CPU, "
                    f"others {got.others:.2f} cores"
                )

    def ratios(field: str, under: str, rounds) -> str:
        found = [getattr(r["one"], field) / getattr(r[under], field) for r in rounds]
        return f"{interval(found)} ({len(found)} rounds)" if found else "no such round"

    quiet = [r for r in taken if max(r["one"].others, r["two"].others) < QUIET_CORES]
    print(f"wall, one worker over two: {ratios('wall_s', 'two', taken)}")
    print(f"the same, undisturbed: {ratios('wall_s', 'two', quiet)}")
    print(f"null, one over one: {ratios('wall_s', 'same', taken)}")
    print(f"CPU of one worker over the busier of two: {ratios('worker_s', 'two', taken)}")
    print(f"null, one over one: {ratios('worker_s', 'same', taken)}")


if __name__ == "__main__":
    main()
