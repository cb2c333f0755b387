"""E12: what a daemon costs and allows: start, first client, quit; two at a time on one GPU."""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from benchmarks.hardware.clients import answer, uncapped
from benchmarks.hardware.e06_percentages import COUNT
from benchmarks.hardware.record import main
from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.mps import client, daemon, surroundings
from jupyter_gpupredict.mps.control import require_server
from jupyter_gpupredict.mps.lease import Lease, hosted


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time five daemons, then start a second one beside the first."""
    rows = []
    for _ in range(5):
        began_s = time.monotonic()
        with hosted(options.device) as host:
            started_s = time.monotonic()
            first = answer(COUNT, uncapped(host))
            first_s = time.monotonic()
            second = answer(COUNT, uncapped(host))
            second_s = time.monotonic()
        rows.append(
            {
                "start_s": started_s - began_s,
                "first_client_s": first_s - started_s,
                "second_client_s": second_s - first_s,
                "quit_s": time.monotonic() - second_s,
                "clients": [first, second],
            }
        )
    typical = statistics.median(row["first_client_s"] for row in rows)
    return {"rows": rows, "median_first_client_s": typical, "two": _two(options)}


def _two(options: argparse.Namespace) -> dict[str, Any]:
    """Start a second daemon on the same device, and give each a client."""
    import os

    device = surroundings.device(options.device, os.environ)
    running = []
    try:
        for _ in range(2):
            running.append(daemon.start(device.uuid))
            require_server(running[-1].directory)
        return {
            str(number): answer(COUNT, Lease(client.own_client(one.directory.pipe, device.uuid)))
            for number, one in enumerate(running)
        }
    except GpuPredictError as error:
        return {"error": str(error)}
    finally:
        for one in running:
            one.quit()


if __name__ == "__main__":
    raise SystemExit(main("E12: daemon costs and limits", measure))
