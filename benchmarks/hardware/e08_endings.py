"""E8: what the end of one client does to another. Run this last, on a GPU that nobody else uses.

Some of these ways are those that NVIDIA calls undefined: `--really` is needed to try them. Our own
daemon is used and quit; no other client should be on the device.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from typing import Any

from benchmarks.hardware.clients import Client, answer, started, uncapped
from benchmarks.hardware.e06_percentages import COUNT
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import Lacking, main
from jupyter_gpupredict.mps.lease import hosted

WAYS = {
    "asked": None,
    "SIGINT": signal.SIGINT,
    "SIGTERM": signal.SIGTERM,
    "SIGKILL": signal.SIGKILL,
}
LONG = 20 * 1_500_000_000
"""Clock cycles of one kernel of some 20 s."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """End one client in each way, after and without `terminate_client`, and look at a witness."""
    if not options.really:
        raise Lacking("it ends clients in ways that may harm others: run it with --really")
    found: dict[str, Any] = {}
    for name, number in WAYS.items():
        for gently in (True, False) if number is not None else (True,):
            with hosted(options.device) as host:
                found[f"{name}{', terminate_client first' if gently else ''}"] = _one(
                    host, number, gently=gently
                )
    return found


def _one(host: Any, number: int | None, *, gently: bool) -> dict[str, Any]:
    lease = uncapped(host)
    witness = Client(work(8, idle_s=0.001), lease)
    victim = Client(work(8, cycles=LONG), lease)
    with started(witness, victim):
        witness.running()
        victim.for_seconds(5.0)
        pid, refused, began_s = victim.child.pid, "", time.monotonic()
        if number is None:
            victim.child.interrupt()
        else:
            if gently and lease.before_signal is not None:
                refused = lease.before_signal(pid)
            os.kill(pid, number)
        ended = victim.for_seconds(60.0)
        after_s = time.monotonic()
        died = witness.for_seconds(5.0)
        fresh_s = time.monotonic()
        fresh = answer(COUNT, lease, limit_s=60.0)
        return {
            "refused": refused,
            "ended": None if ended is None else ended.outcome,
            "ended_after_s": after_s - began_s,
            "witness_ended": None if died is None else died.outcome,
            "witness_error": died.error.message if died is not None and died.error else "",
            "witness_steps_per_s": witness.steps_per_s(after_s, time.monotonic()),
            "fresh_client": fresh,
            "fresh_client_s": time.monotonic() - fresh_s,
        }


if __name__ == "__main__":
    raise SystemExit(
        main(
            "E8: kill hazard",
            measure,
            more=lambda parser: parser.add_argument("--really", action="store_true"),
        )
    )
