"""E9: what counts towards the memory limit, and where it ends."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.hardware.clients import answer
from benchmarks.hardware.record import main
from jupyter_gpupredict.mps.lease import hosted

FILL = """
import ctypes
def train(params):
    cuda = ctypes.CDLL("libcuda.so.1")
    assert cuda.cuInit(0) == 0
    device, context = ctypes.c_int(), ctypes.c_void_p()
    assert cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
    made = cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device)
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    size, taken, code = 16 << 20, 0, 0
    def allocate():
        pointer = ctypes.c_void_p()
        if params["how"] == "managed":
            return cuda.cuMemAllocManaged(ctypes.byref(pointer), ctypes.c_size_t(size), 1)
        if params["how"] == "host":
            return cuda.cuMemHostAlloc(ctypes.byref(pointer), ctypes.c_size_t(size), 0)
        if params["how"] == "async":
            return cuda.cuMemAllocAsync(ctypes.byref(pointer), ctypes.c_size_t(size), None)
        return cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size))
    while taken < params["most"]:
        code = allocate()
        if code:
            break
        taken += size
    cuda.cuCtxSynchronize()
    return {"context": made, "free": free.value, "total": total.value, "taken": taken,
            "code": code}
"""
WAYS = ("plain", "async", "managed", "host")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Allocate 16 MiB at a time, until it is refused or twice the limit is taken."""
    found: dict[str, Any] = {}
    with hosted(options.device) as host:
        for mib in (1024, 2048, 4096, 8192):
            for how in WAYS:
                given = {"how": how, "most": 2 * mib << 20}
                found[f"{mib} MiB, {how}"] = answer(FILL, host.lease(None, mib), given)
        for percent in (10, 25, 50, 75, 100):  # the context's own size
            given = {"how": "plain", "most": 0}
            found[f"context at {percent} %"] = answer(FILL, host.lease(percent, None), given)
    return found


if __name__ == "__main__":
    raise SystemExit(main("E9: memory-limit accounting", measure))
