"""An AMD GPU, read from the files of its Linux driver (amdgpu)."""

from pathlib import Path

from jupyter_gpupredict.core.errors import SourceLost, SourceUnavailable
from jupyter_gpupredict.core.series import Batch, Device, Readings, Series, SourceInfo


class RocmSource:
    """Busy time and memory of the first card below `path`, by itself /sys/class/drm."""

    def __init__(self, options, clock):
        self._root = Path(options.path or "/sys/class/drm")
        self._period_s = options.interval_s or 0.2
        self._clock = clock

    def open(self):
        found = sorted(self._root.glob("card*/device/gpu_busy_percent"))
        if not found:
            raise SourceUnavailable("there is no AMD GPU here", "no_device")
        self._card = found[0].parent
        total = int(self._file("mem_info_vram_total"))
        device = Device(self._file("unique_id"), "AMD GPU", 0, memory_total_bytes=total)
        self._share = Series("gpu_util_ratio", device.uuid)
        self._memory = Series("memory_used_bytes", device.uuid)
        return SourceInfo(
            source="rocm",
            devices=(device,),
            series=(self._share, self._memory),
            share=self._share,
            memory=self._memory,
            period_s=self._period_s,
        )

    def read(self, *, slow):
        now_s = self._clock.monotonic_s()
        try:
            busy = int(self._file("gpu_busy_percent")) / 100
            used = float(self._file("mem_info_vram_used"))
        except (OSError, ValueError) as error:
            raise SourceLost("the card's files cannot be read", "device_lost") from error
        return Batch(
            (
                Readings(self._share, (now_s,), (busy,)),
                Readings(self._memory, (now_s,), (used,)),
            )
        )

    def close(self):
        self._card = None

    def _file(self, name):
        return (self._card / name).read_text().strip()
