"""How many blocks of a kernel one SM holds, by NVIDIA's own rules.

Source: `cuda_occupancy.h` of CUDA 13.5; limits per compute capability from the CUDA C++ Programming
Guide, "Compute Capabilities".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

WARP_THREADS = 32
_REGISTER_UNIT = 256
"""Registers are given to a warp in multiples of these."""
_PARTITIONS = 4
"""Of an SM; a warp's registers lie in one of them."""


@dataclass(frozen=True, slots=True)
class SmLimits:
    """What one SM holds."""

    threads: int
    blocks: int
    shared_bytes: int
    """For all its blocks together, what the system takes of it included."""
    reserved_bytes: int
    """Taken by the system for each block."""
    shared_unit: int
    """Bytes; shared memory is given to a block in multiples of these."""
    registers: int = 65536
    assumed: bool = False
    """Whether a limit is a guess, because the capability is unknown."""


_VOLTA = SmLimits(2048, 32, 98304, 0, 256)
_TURING = SmLimits(1024, 16, 65536, 0, 256)
_AMPERE = SmLimits(2048, 32, 167936, 1024, 128)
_GA10X = SmLimits(1536, 16, 102400, 1024, 128)
_ADA = SmLimits(1536, 24, 102400, 1024, 128)
_HOPPER = SmLimits(2048, 32, 233472, 1024, 128)
LIMITS = {
    (6, 0): SmLimits(2048, 32, 65536, 0, 256),
    (6, 1): SmLimits(2048, 32, 98304, 0, 256),
    (7, 0): _VOLTA,
    (7, 5): _TURING,
    (8, 0): _AMPERE,
    (8, 6): _GA10X,
    (8, 7): replace(_GA10X, shared_bytes=167936),
    (8, 9): _ADA,
    (9, 0): _HOPPER,
    (10, 0): _HOPPER,
    (10, 3): _HOPPER,
    (11, 0): replace(_HOPPER, threads=1536, blocks=24),
    (12, 0): _ADA,
    (12, 1): _ADA,
}
"""(major, minor) -> what an SM of it holds."""


def limits_of(
    capability: tuple[int, int] | None,
    *,
    threads: int = 0,
    blocks: int = 0,
    shared_bytes: int = 0,
    registers: int = 0,
) -> SmLimits | None:
    """Return what an SM holds: by its capability, else by what a profile says of the device.

    None where neither is known. What a profile leaves out is taken from Hopper, and `assumed`.
    """
    if capability in LIMITS:
        return LIMITS[capability]
    if not (threads and shared_bytes):
        return None
    return SmLimits(
        threads,
        blocks or _HOPPER.blocks,
        shared_bytes,
        _HOPPER.reserved_bytes,
        _HOPPER.shared_unit,
        registers or _HOPPER.registers,
        assumed=True,
    )


def blocks_per_sm(threads: Array, registers: Array, shared_bytes: Array, sm: SmLimits) -> Array:
    """Return how many blocks of each kernel fit on one SM; 0: it cannot be launched.

    Args:
        threads: Of a block, shape (n,).
        registers: Of a thread, shape (n,); 0: not known, and no limit.
        shared_bytes: Of a block, static and dynamic, shape (n,).
        sm: What one SM holds.

    >>> one = np.array([256]), np.array([64]), np.array([49152])
    >>> blocks_per_sm(*one, LIMITS[8, 0]).tolist()
    [3]
    """
    warps = np.maximum(1, -(-threads // WARP_THREADS))
    fit = np.minimum(sm.blocks, sm.threads // WARP_THREADS // warps)
    of_warp = -(-registers * WARP_THREADS // _REGISTER_UNIT) * _REGISTER_UNIT
    in_partition = sm.registers // _PARTITIONS // np.maximum(1, of_warp)
    fit = np.where(registers > 0, np.minimum(fit, _PARTITIONS * in_partition // warps), fit)
    of_block = -(-(shared_bytes + sm.reserved_bytes) // sm.shared_unit) * sm.shared_unit
    fit = np.where(of_block > 0, np.minimum(fit, sm.shared_bytes // np.maximum(1, of_block)), fit)
    return np.where(threads > 0, fit, 0)
