"""E4: whether SM activity over engine activity is the breadth of the kernel that runs."""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.hardware.clients import Client, alone, started
from benchmarks.hardware.door import opened
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import Lacking, main
from jupyter_gpupredict.sources.driver import inventory
from jupyter_gpupredict.sources.telemetry import nvml as gpm
from jupyter_gpupredict.sources.telemetry.nvml import Gpm

CYCLES = 20_000_000
IDLE_S = {100: 0.0, 50: 0.012, 25: 0.036}
"""Intended duty in percent -> what passes between kernels of about 12 ms."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Read GPM under kernels of known width and, roughly, of known duty."""
    with opened(options.device) as (nvml, uuid):
        found = inventory.devices(nvml)
        sms = next(one.sm_count for one in found if one.uuid == uuid)
        if sms is None:
            raise Lacking("the number of SMs is not known")
        sampler = Gpm(nvml, uuid, (gpm.ENGINE, gpm.SM))
        sampler.open()
        rows = []
        try:
            for blocks in sorted({1, 2, sms // 8, sms // 4, sms // 2, sms}):
                for duty, idle_s in IDLE_S.items():
                    rows.append(_row(sampler, blocks, duty, idle_s, options.seconds))
        finally:
            sampler.close()
    return {"sm_count": sms, "rows": rows}


def _row(sampler: Gpm, blocks: int, duty: int, idle_s: float, seconds: float) -> dict[str, Any]:
    client = Client(work(blocks, cycles=CYCLES, idle_s=idle_s), alone())
    with started(client):
        client.running()
        sampler.read()
        pairs = []
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            time.sleep(0.5)
            told = sampler.read()
            pairs.append([told[gpm.ENGINE], told[gpm.SM]])
    return {"blocks": blocks, "duty_percent": duty, "engine_and_sm": pairs}


if __name__ == "__main__":
    raise SystemExit(
        main(
            "E4: is breadth SM activity over engine activity",
            measure,
            needs_mps=False,
            more=lambda parser: parser.add_argument("--seconds", type=float, default=5.0),
        )
    )
