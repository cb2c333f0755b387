"""E15: static partitions of the SMs: chunks, SMs for each, and what happens when all are taken."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from typing import Any

from benchmarks.hardware.clients import answer
from benchmarks.hardware.e06_percentages import COUNT
from benchmarks.hardware.record import main
from jupyter_gpupredict.config.tenancy import Tenancy
from jupyter_gpupredict.core.errors import LimitRefused, MpsError
from jupyter_gpupredict.mps import daemon, limiter, surroundings


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Give one client one, two, four and eight chunks; then take chunks until none is left."""
    device = surroundings.device(options.device, os.environ)
    running = daemon.start(device.uuid, static_partitions=True)
    control = running.control
    found: dict[str, Any] = {}
    made: list[str] = []
    try:
        found["empty"] = [asdict(row) for row in control.lspart()]
        for chunks in (1, 2, 4, 8):
            part = control.sm_partition_add(device.uuid, chunks)
            for percent in (None, 50):
                limits = limiter.Limits(percent, partition=part)
                changes = limiter.own_client(running.pipe_directory, device.uuid, limits)
                found[f"{chunks} chunks, {percent or 100} %"] = answer(COUNT, Tenancy(changes))
            control.sm_partition_rm(part)
        try:
            while len(made) < 64:
                made.append(control.sm_partition_add(device.uuid, 1))
        except LimitRefused as error:
            found["full"] = str(error)
        found["taken"] = len(made)
        found["rows"] = [asdict(row) for row in control.lspart()]
    except MpsError as error:
        found["error"] = str(error)
    finally:
        for part in made:
            control.sm_partition_rm(part)
        running.quit()
    return found


if __name__ == "__main__":
    raise SystemExit(main("E15: static partitions", measure))
