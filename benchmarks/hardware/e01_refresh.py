"""E1: how often utilization, power and GPM are new, and what each call costs."""

from __future__ import annotations

import argparse
import itertools
from typing import Any

from benchmarks.hardware.clients import Client, alone, started
from benchmarks.hardware.door import opened, polled
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import main
from jupyter_gpupredict.sources.driver.nvml import NvmlError

HALF_PERIOD_S = 0.35
CYCLES = 600_000_000
"""About a third of a second on a device of 1.7 GHz."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Poll each call at 1 kHz and at 10 Hz while a kernel goes on and off."""
    wave = Client(work(2000, cycles=CYCLES, idle_s=HALF_PERIOD_S), alone())
    with opened(options.device) as (nvml, uuid), started(wave):
        wave.running()
        calls = {
            "utilization_percent": lambda: nvml.utilization_percent(uuid),
            "power_watts": lambda: nvml.power_watts(uuid),
            "memory_used_bytes": lambda: nvml.memory_used_bytes(uuid),
        }
        found: dict[str, Any] = {}
        for (name, call), hz in itertools.product(calls.items(), (1000, 10)):
            rows = polled(call, 1.0 / hz, options.seconds)
            found[f"{name} at {hz} Hz"] = {
                "changes_s": _changes(rows),
                "took_us": sorted(row["took_us"] for row in rows)[:: max(1, len(rows) // 20)],
            }
        found["stamps_us"] = _stamps(nvml, uuid)
    return found


def _changes(rows: list[dict[str, Any]]) -> list[float]:
    """Return the seconds from each new value to the next."""
    times = [b["at_s"] for a, b in itertools.pairwise(rows) if a.get("value") != b.get("value")]
    return [b - a for a, b in itertools.pairwise(times)]


def _stamps(nvml: Any, uuid: str) -> list[int] | str:
    try:
        return [one.time_us for one in nvml.utilization_samples(uuid, 0)]
    except NvmlError as error:
        return f"code {error.code}"


if __name__ == "__main__":
    raise SystemExit(
        main(
            "E1: refresh periods",
            measure,
            needs_mps=False,
            more=lambda parser: parser.add_argument("--seconds", type=float, default=20.0),
        )
    )
