"""What the framework's own allocator says, asked once a second while a run is measured.

A framework is never imported and never started: it is asked only once it uses the GPU in this
process. Its peaks are read and never reset, since the user's own figures hang on them; so a peak is
the run's only where it rose during the run, and otherwise what was seen in use is a lower bound.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.devices import jax_gpus
from jupyter_gpupredict.core.recommendation import AllocatorPeak
from jupyter_gpupredict.core.series import Readings, Series
from jupyter_gpupredict.predict.memory import PEAK, RESERVED, USED

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Use:
    """What an allocator says now, in bytes; NaN for what it does not say."""

    framework: str
    used_bytes: float
    peak_bytes: float
    """Most that was in use at one time since the process began."""
    reserved_bytes: float = math.nan
    """Held from the driver, used or not."""
    most_reserved_bytes: float = math.nan


class AllocatorPoll:
    """Asks the framework about one device, from the run's beginning on."""

    def __init__(self, device_uuid: str) -> None:
        self._device_uuid = device_uuid
        self._framework = ""
        self._before_bytes = self._before_reserved_bytes = math.nan
        """Peaks of the process when the run began; 0 where the framework had not started."""
        self._used_bytes = self._reserved_bytes = 0.0
        """Most that was seen."""
        self._last: Use | None = None

    def poll(self, time_s: float) -> tuple[Readings, ...]:
        """Return what the framework says at a time; nothing while it does not use the device."""
        use = ask(self._device_uuid)
        if math.isnan(self._before_bytes):
            self._before_bytes = use.peak_bytes if use else 0.0
            self._before_reserved_bytes = use.most_reserved_bytes if use else 0.0
        if use is None:
            return ()
        self._last = use
        self._used_bytes = max(self._used_bytes, use.used_bytes)
        if not math.isnan(use.reserved_bytes):
            self._reserved_bytes = max(self._reserved_bytes, use.reserved_bytes)
        said = {USED: use.used_bytes, RESERVED: use.reserved_bytes}
        if use.peak_bytes > self._before_bytes:
            said[PEAK] = use.peak_bytes
        return tuple(
            Readings(Series(metric, self._device_uuid), (time_s,), (value,))
            for metric, value in said.items()
            if not math.isnan(value)
        )

    def ended(self) -> AllocatorPeak | None:
        """Ask once more; returns the run's peak, or a lower bound; None where there is none."""
        self.poll(0.0)
        last = self._last
        if last is None:
            return None
        rose = last.peak_bytes > self._before_bytes
        grew = last.most_reserved_bytes > self._before_reserved_bytes
        return AllocatorPeak(
            last.framework,
            last.peak_bytes if rose else self._used_bytes,
            last.most_reserved_bytes if grew else self._reserved_bytes,
            at_least=not rose,
        )


def ask(device_uuid: str) -> Use | None:
    """Return what the framework that uses the GPU in this process says; None where none does.

    What a framework raises comes through: it is the user's, in any state.

    Args:
        device_uuid: As the driver names it; where a framework knows no UUIDs, the device that it
            uses by itself is taken.
    """
    asked: tuple[Callable[[str], Use | None], ...] = (_torch, _jax, _tensorflow)
    return next((use for one in asked if (use := one(device_uuid)) is not None), None)


def _torch(device_uuid: str) -> Use | None:
    """Source: torch.cuda, memory_allocated and the like; none of them waits for the device."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
        return None
    cuda, wanted = torch.cuda, device_uuid.removeprefix("GPU-")
    uuids = [
        str(getattr(cuda.get_device_properties(index), "uuid", ""))
        for index in range(cuda.device_count())
    ]
    index = uuids.index(wanted) if wanted in uuids else int(cuda.current_device())
    return Use(
        "torch",
        float(cuda.memory_allocated(index)),
        float(cuda.max_memory_allocated(index)),
        float(cuda.memory_reserved(index)),
        float(cuda.max_memory_reserved(index)),
    )


def _jax(device_uuid: str) -> Use | None:
    """Source: jax.Device.memory_stats."""
    said = next((stats for one in jax_gpus()[:1] if (stats := one.memory_stats())), None)
    if said is None or "peak_bytes_in_use" not in said:
        return None
    pool = said.get("pool_bytes", said.get("bytes_reserved", math.nan))
    most = said.get("peak_pool_bytes", said.get("peak_bytes_reserved", pool))
    used = (float(said["bytes_in_use"]), float(said["peak_bytes_in_use"]))
    return Use("jax", *used, float(pool), float(most))


def _tensorflow(device_uuid: str) -> Use | None:
    """Source: tf.config.experimental.get_memory_info, of the first GPU that it sees."""
    eager: Any = sys.modules.get("tensorflow.python.eager.context")
    context = getattr(eager, "_context", None)
    if context is None or not getattr(context, "_initialized", False):
        return None
    tensorflow: Any = sys.modules.get("tensorflow")
    if tensorflow is None or not tensorflow.config.list_logical_devices("GPU"):
        return None
    said = tensorflow.config.experimental.get_memory_info("GPU:0")
    return Use("tensorflow", float(said["current"]), float(said["peak"]))
