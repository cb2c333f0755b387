"""E11: whether an uncapped loop reads the same under MPS as without it."""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.hardware.clients import Client, alone, started, uncapped
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import main
from jupyter_gpupredict.mps.lease import Lease, hosted
from jupyter_gpupredict.run import device_watch


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the loop in turn under MPS and without, ABBA, and read the device meanwhile."""
    rows = []
    with hosted(options.device) as host:
        for name in ("with", "without", "without", "with") * options.rounds:
            lease = uncapped(host) if name == "with" else alone()
            rows.append({"mps": name, **_one(lease, options.seconds)})
    return {"rows": rows}


def _one(lease: Lease, seconds: float) -> dict[str, Any]:
    client = Client(work(200, idle_s=0.0005), lease)
    watch = device_watch()
    reads = []
    try:
        with started(client):
            client.running()
            from_s = time.monotonic()
            while time.monotonic() < from_s + seconds:
                client.for_seconds(1.0)
                reads += [
                    [one.utilization_ratio, one.memory_used_bytes, one.power_watts]
                    for one in watch.read().devices
                ]
            speed = client.steps_per_s(from_s, time.monotonic())
    finally:
        watch.close()
    return {"steps_per_s": speed, "util_memory_power": reads}


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=2)


if __name__ == "__main__":
    raise SystemExit(main("E11: profile under MPS = profile without", measure, more=_more))
