"""The driver's library with one device, for questions about the library itself."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.hardware.record import Lacking
from jupyter_gpupredict.core.devices import choose
from jupyter_gpupredict.sources.driver import inventory
from jupyter_gpupredict.sources.driver.nvml import Nvml, NvmlError


@contextlib.contextmanager
def opened(wanted: str | None) -> Iterator[tuple[Nvml, str]]:
    """Give the library and the UUID of the device that is asked about.

    Raises:
        Lacking: No such device is visible.
    """
    nvml = Nvml()
    nvml.open()
    try:
        chosen = choose(inventory.devices(nvml), wanted, os.environ)
        if not chosen:
            raise Lacking("no GPU is visible")
        yield nvml, chosen[0].uuid
    finally:
        nvml.close()


def asked(call: Callable[[], Any]) -> dict[str, Any]:
    """Return what a call gave, or its code, and how long it took."""
    began_s = time.perf_counter()
    try:
        found = {"value": call()}
    except NvmlError as error:
        found = {"code": error.code}
    return {**found, "took_us": 1e6 * (time.perf_counter() - began_s)}


def polled(call: Callable[[], Any], period_s: float, seconds: float) -> list[dict[str, Any]]:
    """Ask at absolute deadlines; each answer with its time since the beginning."""
    began_s = time.monotonic()
    rows: list[dict[str, Any]] = []
    while (at_s := time.monotonic() - began_s) < seconds:
        rows.append({"at_s": at_s, **asked(call)})
        time.sleep(max(0.0, began_s + len(rows) * period_s - time.monotonic()))
    return rows
