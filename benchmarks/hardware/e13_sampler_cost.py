"""E13: what watching costs a loop on the GPU, against not watching, with a null pair."""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.hardware.loops import work
from benchmarks.hardware.record import main
from benchmarks.machine import shuffled_rounds
from jupyter_gpupredict.run import SessionConfig, build_session

SOURCES = ("nvml", "gpm")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Count the steps of a loop in this process with each source, without, and without again."""
    space: dict[str, Any] = {}
    exec(compile(work(60, cycles=200_000), "work", "exec"), space)  # noqa: S102 - our own text
    gpu = space["Gpu"]()

    def steps_per_s() -> float:
        count, until_s = 0, time.perf_counter() + options.seconds
        while time.perf_counter() < until_s:
            gpu.spin(60, 200_000)
            count += 1
        return count / options.seconds

    def watched(source: str) -> float:
        session = build_session(
            SessionConfig(source=source, device=options.device), subscribers=(), live=True
        )
        session.start()
        speed = steps_per_s()
        run = session.stop("completed")
        overheads[source].append(run.overhead_s / options.seconds)
        return speed

    overheads: dict[str, list[float]] = {source: [] for source in SOURCES}
    conditions = {"nothing": steps_per_s, "nothing again": steps_per_s}
    conditions |= {source: lambda source=source: watched(source) for source in options.sources}
    speeds = shuffled_rounds(conditions, options.rounds)
    return {"steps_per_s": speeds, "sampler_cpu_ratio": overheads}


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sources", nargs="+", default=list(SOURCES))


if __name__ == "__main__":
    raise SystemExit(main("E13: cost of the sampler", measure, needs_mps=False, more=_options))
