"""What the framework's own allocator says of its peak, beside the process figure.

The process figure holds the CUDA context, libraries and what the allocator keeps for later; the
allocator's tells what tensors really took. Frameworks are looked at where they are loaded, and
never imported; peaks are read and never reset, so they are those of the process.
"""

from __future__ import annotations

import sys
from typing import Any

from jupyter_gpupredict.core.recommendation import AllocatorPeak


def peak(device_uuid: str) -> AllocatorPeak | None:
    """Return PyTorch's peak on a device; None unless PyTorch uses CUDA in this process.

    Source: torch.cuda.max_memory_allocated, torch.cuda.max_memory_reserved.

    Args:
        device_uuid: As the driver names it; where PyTorch does not tell UUIDs, its current device
            is taken.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
        return None
    index = _index(torch, device_uuid)
    return AllocatorPeak(
        "torch",
        float(torch.cuda.max_memory_allocated(index)),
        float(torch.cuda.max_memory_reserved(index)),
    )


def _index(torch: Any, device_uuid: str) -> int:
    wanted = device_uuid.removeprefix("GPU-")
    for index in range(torch.cuda.device_count()):
        if str(getattr(torch.cuda.get_device_properties(index), "uuid", "")) == wanted:
            return index
    return int(torch.cuda.current_device())
