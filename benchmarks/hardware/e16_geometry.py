"""E16: kernel geometry against GPM's SM activity, on the same loops.

`breadth`, by the geometry of the launches, is to be the mean of `breadth_ratio`, by GPM.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from benchmarks.hardware.loops import work
from benchmarks.hardware.record import main
from jupyter_gpupredict.core.events import SamplesTaken
from jupyter_gpupredict.run import SessionConfig, build_session

BREADTHS = (8, 33, 66, 132, 264)


class Keep:
    """Keeps the readings of a run, by metric."""

    name = "keep"

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {}

    def deliver(self, events: Any) -> None:
        """Take the readings."""
        for event in events:
            if isinstance(event, SamplesTaken):
                for one in event.readings:
                    self.seen.setdefault(one.series.metric, []).extend(one.values)

    def close(self) -> None:
        """Nothing is held."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run each loop in this process with GPM and with windows of its kernels."""
    space: dict[str, Any] = {}
    exec(compile(work(60, cycles=200_000), "work", "exec"), space)  # noqa: S102 - our own text
    gpu = space["Gpu"]()
    found: dict[str, Any] = {}
    for blocks in BREADTHS:
        keep = Keep()
        config = SessionConfig(source="auto", device=options.device, kernels=True)
        session = build_session(config, subscribers=(keep,))
        session.start()
        until_s = time.perf_counter() + options.seconds
        while time.perf_counter() < until_s:
            gpu.spin(blocks, 200_000)
        run = session.stop("completed")
        means = {
            metric: statistics.fmean(kept)
            for metric, values in keep.seen.items()
            if (kept := [one for one in values if one == one])  # noqa: PLR0124
        }
        need = run.recommendation.geometry if run.recommendation else None
        found[f"{blocks} blocks"] = {
            "means": means,
            "breadth": None if need is None else min(1.0, blocks / need.sms),
            "need": None if need is None else [need.low_ratio, need.high_ratio],
            "windows": None if need is None else [need.windows, need.kernels, need.cost_s],
            "errors": list(run.errors),
        }
    return found


if __name__ == "__main__":
    raise SystemExit(
        main(
            "E16: geometry against SM activity",
            measure,
            needs_mps=False,
            more=lambda parser: parser.add_argument("--seconds", type=float, default=90.0),
        )
    )
