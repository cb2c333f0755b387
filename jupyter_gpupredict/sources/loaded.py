"""What a framework that the user has imported shows of itself; none is imported or started."""

from __future__ import annotations

import sys
from typing import Any


def jax_gpus() -> list[Any]:
    """Return the GPUs that JAX uses in this process; empty before its first use of one.

    `jax.devices` and `jax.default_backend` would start a backend, which takes most of the memory.
    """
    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    backends = dict(getattr(bridge, "_backends", None) or {})
    backend = backends.get("cuda") or backends.get("gpu")
    return [] if backend is None else list(backend.local_devices())
