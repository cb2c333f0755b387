"""E18: whether a sweep of speeds lies inside the bracket by kernel geometry, for four loops."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.hardware.clients import PROGRESS
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import main
from jupyter_gpupredict.mps import Bound, Subject, sweep
from jupyter_gpupredict.mps.child import Program
from jupyter_gpupredict.predict.geometry import Kernels, Launches, need_of
from jupyter_gpupredict.predict.occupancy import blocks_per_sm, limits_of

SHARES = (100, 70, 50, 35, 20, 10)
LOOPS = ((20, 0.0), (60, 0.0005), (130, 0.0005), (400, 0.0))
"""(blocks of 1,024 threads, idle seconds after each kernel of about a millisecond a wave)."""
ONE_BLOCK = np.array([1024]), np.array([16]), np.array([0])
"""Threads, registers of each, shared bytes."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Sweep each loop, and say what the geometry of its one kernel says of the same shares."""
    if options.sms is None or options.compute_capability is None:
        raise SystemExit("E18 needs --sms and --compute-capability of the GPU")
    major, minor = (int(one) for one in options.compute_capability.split("."))
    sm = limits_of((major, minor))
    if sm is None:
        raise SystemExit(f"nothing is known of compute capability {major}.{minor}")
    found: dict[str, Any] = {}
    for blocks, idle_s in LOOPS:
        subject = Subject(Program(work(blocks, idle_s=idle_s), progress=PROGRESS), None)
        done = sweep(subject, SHARES, Bound(seconds=options.seconds))
        resident = options.sms * int(blocks_per_sm(*ONE_BLOCK, sm)[0])
        each_us, gap_us = 1000.0 * -(-blocks // resident), 1e6 * idle_s
        kernels = Kernels(options.sms, sm)
        kernels.add(
            Launches.of(
                (number * (each_us + gap_us), each_us, blocks, 1024, 16, 0, 0)
                for number in range(2000)
            )
        )
        geometry = kernels.geometry()
        need = None if geometry is None else need_of(geometry, "loop")
        found[f"{blocks} blocks, {idle_s} s idle"] = {
            "speeds": {str(share): ratio for share, ratio in done.ratios.items()},
            "curve": [] if need is None else need.curve,
        }
    return found


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--sms", type=int, help="of the whole GPU")
    parser.add_argument("--compute-capability", help="such as 8.0")


if __name__ == "__main__":
    raise SystemExit(main("E18: the bracket against a sweep", measure, more=_options))
