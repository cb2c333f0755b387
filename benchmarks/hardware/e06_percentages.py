"""E6: how many SMs a client gets for each percentage: the step, and which way it is rounded."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.hardware.clients import answer
from benchmarks.hardware.record import main
from jupyter_gpupredict.mps.lease import hosted

COUNT = """
import ctypes
def train(params):
    cuda = ctypes.CDLL("libcuda.so.1")
    assert cuda.cuInit(0) == 0
    device, count, context = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p()
    assert cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
    before = cuda.cuDeviceGetAttribute(ctypes.byref(count), 16, device), count.value
    made = cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device)
    after = cuda.cuDeviceGetAttribute(ctypes.byref(count), 16, device), count.value
    return {"before_context": before, "context": made, "after_context": after}
"""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Count in one fresh client for each percentage."""
    with hosted(options.device) as host:
        found = {p: answer(COUNT, host.lease(p, None)) for p in range(1, 101, options.step)}
        found["none"] = answer(COUNT, host.lease(None, None))
    return {"sms": {str(percent): one for percent, one in found.items()}}


if __name__ == "__main__":
    raise SystemExit(
        main(
            "E6: percentage -> SMs",
            measure,
            more=lambda parser: parser.add_argument("--step", type=int, default=1),
        )
    )
