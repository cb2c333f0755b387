"""Work for a GPU through libcuda alone: no framework is needed, and what runs is known.

One kernel, in PTX, spins for a given number of clock cycles in as many one-warp blocks as asked for
(`breadth`), so its time and its width are set apart. `work` makes a module text for a child.
"""

from __future__ import annotations

PTX = """.version 6.0
.target sm_70
.address_size 64
.visible .entry spin(.param .u64 cycles)
{
  .reg .u64 %r<5>;
  .reg .pred %p;
  ld.param.u64 %r1, [cycles];
  mov.u64 %r2, %clock64;
again:
  mov.u64 %r3, %clock64;
  sub.u64 %r4, %r3, %r2;
  setp.lt.u64 %p, %r4, %r1;
  @%p bra again;
  ret;
}
"""

_TEXT = '''
import ctypes, time
from jupyter_gpupredict import track

PTX = {ptx!r}


def _check(code, what):
    if code:
        raise RuntimeError(f"{{what}} returned {{code}}")


class Gpu:
    """One context, one kernel."""

    def __init__(self):
        self.cuda = cuda = ctypes.CDLL("libcuda.so.1")
        _check(cuda.cuInit(0), "cuInit")
        device, self.context = ctypes.c_int(), ctypes.c_void_p()
        _check(cuda.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
        _check(cuda.cuCtxCreate_v2(ctypes.byref(self.context), 0, device), "cuCtxCreate")
        module, self.kernel = ctypes.c_void_p(), ctypes.c_void_p()
        _check(cuda.cuModuleLoadData(ctypes.byref(module), PTX.encode()), "cuModuleLoadData")
        _check(cuda.cuModuleGetFunction(ctypes.byref(self.kernel), module, b"spin"), "spin")

    def spin(self, blocks, cycles):
        """Have every block spin for so many cycles, and wait for it."""
        value = ctypes.c_uint64(cycles)
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(value))
        grid = (blocks, 1, 1, 1024, 1, 1)  # a block of 1024 threads fills half an SM, or all of it
        _check(self.cuda.cuLaunchKernel(self.kernel, *grid, 0, None, arguments, None), "launch")
        _check(self.cuda.cuCtxSynchronize(), "cuCtxSynchronize")


def train(params):
    gpu = Gpu()
    for _ in track(range(params.get("steps", {steps})), unit="step"):
        gpu.spin({blocks}, {cycles})
        time.sleep({idle_s})
    return {{}}
'''


def work(
    blocks: int, cycles: int = 2_000_000, idle_s: float = 0.0, steps: int = 1_000_000_000
) -> str:
    """Return a module whose `train` loops over one kernel.

    Args:
        blocks: How many blocks of 1024 threads; two of them fit on an SM of most devices.
        cycles: How long each spins: two million are about a millisecond.
        idle_s: What passes between two kernels.
        steps: How often.
    """
    return _TEXT.format(ptx=PTX, blocks=blocks, cycles=cycles, idle_s=idle_s, steps=steps)
