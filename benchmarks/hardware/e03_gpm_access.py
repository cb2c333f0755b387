"""E3: whether GPM needs privileges, how near snapshots may be, and whether two may read."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.hardware.clients import Client, alone, started
from benchmarks.hardware.door import asked, opened
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import main
from jupyter_gpupredict.sources.telemetry import nvml as gpm
from jupyter_gpupredict.sources.telemetry.nvml import Gpm

METRICS = (gpm.ENGINE, gpm.SM, gpm.OCCUPANCY, gpm.TENSOR, gpm.DRAM)
PARAMETERS = Path("/proc/driver/nvidia/params")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Read the same work at intervals from 20 to 500 ms, then with two readers at once."""
    found: dict[str, Any] = {"uid": os.geteuid(), "restricted": _restricted()}
    with opened(options.device) as (nvml, uuid):
        first, second = (Gpm(nvml, uuid, METRICS) for _ in range(2))
        found["open"] = asked(first.open)
        if "code" in found["open"]:
            return found
        busy = Client(work(60), alone())
        try:
            with started(busy):
                busy.running()
                found["intervals"] = {
                    f"{apart_ms} ms": _series(first, apart_ms / 1000.0)
                    for apart_ms in (20, 50, 100, 120, 200, 500)
                }
                second.open()
                both = [(_read(first), time.sleep(0.25), _read(second)) for _ in range(10)]
                found["two readers"] = [[one, other] for one, _, other in both]
        finally:
            first.close()
            second.close()
    return found


def _series(sampler: Gpm, apart_s: float) -> list[dict[str, Any]]:
    sampler.read()
    rows = []
    for _ in range(10):
        time.sleep(apart_s)
        rows.append(_read(sampler))
    return rows


def _read(sampler: Gpm) -> dict[str, Any]:
    told = asked(sampler.read)
    if "value" in told:
        told["value"] = {str(k): v if v == v else None for k, v in told["value"].items()}  # noqa: PLR0124
    return told


def _restricted() -> str:
    """Return what the driver's module says of profiling by ordinary users."""
    try:
        lines = PARAMETERS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "not told"
    return next((line for line in lines if "RmProfilingAdminOnly" in line), "not told")


if __name__ == "__main__":
    raise SystemExit(main("E3: access to GPM", measure, needs_mps=False))
