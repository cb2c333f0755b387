"""E2: which clock the driver's stamps are of, and what its buffer does while the device idles."""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.hardware.clients import Client, alone, started
from benchmarks.hardware.door import asked, opened
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import main

CLOCKS = {
    "wall": time.CLOCK_REALTIME,
    "monotonic": time.CLOCK_MONOTONIC,
    "boot": getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC),
}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Compare stamps with three clocks under work, then leave the device idle, then a burst."""
    with opened(options.device) as (nvml, uuid):
        busy = Client(work(500), alone())
        with started(busy):
            busy.running()
            offsets = [_look(nvml, uuid) for _ in range(20)]
        idle = []
        until_s = time.monotonic() + options.idle
        while time.monotonic() < until_s:
            idle.append(_look(nvml, uuid))
            time.sleep(min(5.0, options.idle))
        burst = Client(work(500), alone())
        with started(burst):
            burst.running()
            after = [_look(nvml, uuid) for _ in range(20)]
    return {"busy": offsets, "idle": idle, "burst": after}


def _look(nvml: Any, uuid: str) -> dict[str, Any]:
    time.sleep(0.1)
    told = asked(lambda: [one.time_us for one in nvml.utilization_samples(uuid, 0)])
    stamps = told.pop("value", [])
    now = {name: time.clock_gettime(clock) for name, clock in CLOCKS.items()}
    first, newest = (stamps[0], stamps[-1]) if stamps else (None, None)
    return {**told, "count": len(stamps), "first_us": first, "newest_us": newest, "clocks_s": now}


if __name__ == "__main__":
    raise SystemExit(
        main(
            "E2: the clock of the stamps",
            measure,
            needs_mps=False,
            more=lambda parser: parser.add_argument("--idle", type=float, default=300.0),
        )
    )
