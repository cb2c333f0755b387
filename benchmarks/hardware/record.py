"""What every script here does alike: see that there is a GPU, write its readings, end in time."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.mps.process import mps_status
from jupyter_gpupredict.run import device_watch

Readings = dict[str, Any]


class Lacking(Exception):
    """The question cannot be asked on this machine."""


def main(
    question: str,
    measure: Callable[[argparse.Namespace], Readings],
    *,
    needs_mps: bool = True,
    more: Callable[[argparse.ArgumentParser], None] = lambda _: None,
) -> int:
    """Ask one question of this machine's GPU and write what was read; returns the exit status.

    No setting of device or driver is changed. Without GPU or MPS the status is 0, with the reason:
    there is nothing that could have failed.

    Args:
        question: Such as `E6: percentage -> SMs`; its first word names the file.
        measure: Returns the raw readings.
        needs_mps: Whether the MPS control program must be there.
        more: Adds the script's own options.
    """
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("-o", dest="output", metavar="FILE", help="default: build/hardware/En.json")
    parser.add_argument("--device", metavar="UUID|INDEX")
    more(parser)
    options = parser.parse_args()
    name = question.partition(":")[0]
    try:
        header = _machine(options.device, needs_mps=needs_mps)
        readings = measure(options)
    except (Lacking, GpuPredictError) as reason:
        print(f"{name} skipped: {reason}")
        return 0
    path = Path(options.output or f"build/hardware/{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"question": question, **header, "readings": readings}
    path.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"{name}: wrote {path}")
    return 0


def _machine(wanted: str | None, *, needs_mps: bool) -> Readings:
    watch = device_watch()
    try:
        table = watch.read()
    except GpuPredictError as error:
        raise Lacking(f"no GPU: {error}") from error
    finally:
        watch.close()
    if not table.devices:
        raise Lacking("no GPU: the driver sees none")
    status = mps_status(wanted)
    if needs_mps and not status.program:
        raise Lacking("no MPS: nvidia-cuda-mps-control is not installed")
    return {
        "devices": [{"name": one.name, "uuid": one.uuid} for one in table.devices],
        "driver": table.driver_version,
        "mps": status.commands,
        "compute_mode": status.compute_mode,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", *sys.orig_argv[2:]]),
    }
