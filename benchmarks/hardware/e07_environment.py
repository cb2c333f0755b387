"""E7: up to when the environment counts: before import, after it, after cuInit, after a context."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.hardware.clients import alone, answer
from benchmarks.hardware.record import main
from jupyter_gpupredict.mps.lease import hosted

LATE = """
import ctypes, os
from jupyter_gpupredict.sources.driver.cuda import initialised_because
def train(params):
    told = {"before": initialised_because()}
    if params["when"] == "before_load":
        os.environ.update(params["environ"])
    cuda = ctypes.CDLL("libcuda.so.1")
    told["loaded"] = initialised_because()
    if params["when"] == "after_load":
        os.environ.update(params["environ"])
    assert cuda.cuInit(0) == 0
    told["initialised"] = initialised_because()
    if params["when"] == "after_init":
        os.environ.update(params["environ"])
    device, count, context = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p()
    assert cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
    made = cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device)
    told["context"] = initialised_because()
    if params["when"] == "after_context":
        os.environ.update(params["environ"])
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    asked = cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    cuda.cuDeviceGetAttribute(ctypes.byref(count), 16, device)
    return {"detected": told, "made": made, "sms": count.value,
            "memory": [asked, free.value, total.value]}
"""
MOMENTS = ("before_load", "after_load", "after_init", "after_context")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Set the client's variables at each moment, in a process of its own."""
    with hosted(options.device) as host:
        limits = {k: v for k, v in host.lease(40, 2048).changes.items() if v is not None}
        found = {when: answer(LATE, alone(), {"when": when, "environ": limits}) for when in MOMENTS}
        found["at_start"] = answer(LATE, host.lease(40, 2048), {"when": "", "environ": {}})
    return {"limits": {k: v for k, v in limits.items() if "LIMIT" in k or "PERCENT" in k}} | found


if __name__ == "__main__":
    raise SystemExit(main("E7: when the environment is read", measure))
