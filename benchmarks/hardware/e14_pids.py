"""E14: under which number a client is known: its own, NSpid, the driver's lists, the daemon's.

Run it on the host and in containers; the file says in which PID namespace it was made.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from benchmarks.hardware.clients import Client, started, uncapped
from benchmarks.hardware.e05_client_use import _row
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import main
from jupyter_gpupredict.core.errors import MpsError
from jupyter_gpupredict.mps.lease import hosted
from jupyter_gpupredict.mps.process import process_mps
from jupyter_gpupredict.run import device_watch


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Read every list while one client works, then end it through MPS by its own number."""
    with hosted(options.device) as host:
        lease = uncapped(host)
        client = Client(work(8, idle_s=0.001), lease)
        watch = device_watch()
        try:
            with started(client):
                client.running()
                pid = client.child.pid
                running = process_mps().daemon
                clients = {} if running is None else running.control.clients()
                devices = [_row(one) for one in watch.read().devices]
                status = Path(f"/proc/{pid}/status").read_text()
                try:
                    said = lease.before_signal(pid) if lease.before_signal else "no MPS"
                except MpsError as error:
                    said = str(error)
        finally:
            watch.close()
    return {
        "namespace": str(Path("/proc/self/ns/pid").readlink()),
        "own": os.getpid(),
        "client": pid,
        "nspid": [line for line in status.splitlines() if line.startswith("NSpid")],
        "clients": {str(server): pids for server, pids in clients.items()},
        "devices": devices,
        "terminate_client": said or "done",
    }


if __name__ == "__main__":
    raise SystemExit(main("E14: PIDs", measure))
