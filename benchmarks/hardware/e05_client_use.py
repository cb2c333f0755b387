"""E5: which processes the driver lists for two MPS clients, with what use and memory."""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.hardware.clients import Client, started, uncapped
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import main
from jupyter_gpupredict.mps.lease import hosted
from jupyter_gpupredict.run import device_watch


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Read the process lists for ten seconds while two clients are busy 20 % and 80 %."""
    with hosted(options.device) as host:
        busy = Client(work(1000, cycles=2_000_000, idle_s=0.0003), uncapped(host))
        idle = Client(work(1000, cycles=2_000_000, idle_s=0.005), uncapped(host))
        watch = device_watch()
        rows = []
        try:
            with started(busy, idle):
                busy.running()
                idle.running()
                for _ in range(10):
                    rows += [_row(one) for one in watch.read().devices]
                    time.sleep(1.0)
                pids = {"busy": busy.child.pid, "idle": idle.child.pid}
        finally:
            watch.close()
    return {"pids": pids, "rows": rows}


def _row(device: Any) -> dict[str, Any]:
    listed = device.processes
    return {
        "uuid": device.uuid,
        "utilization_ratio": device.utilization_ratio,
        "mps_clients": device.mps_clients,
        "processes": None
        if listed is None
        else [{"pid": p.pid, "memory_bytes": p.memory_bytes, "mps": p.mps} for p in listed],
        "reasons": dict(device.reasons),
    }


if __name__ == "__main__":
    raise SystemExit(main("E5: per-client use under Volta MPS", measure))
