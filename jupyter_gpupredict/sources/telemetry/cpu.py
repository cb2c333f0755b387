"""CPU use of this process and its descendants: the real source where there is no GPU."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.recommendation import HostPeak
from jupyter_gpupredict.core.series import (
    Batch,
    Device,
    Readings,
    Series,
    SourceInfo,
    SourceOptions,
)
from jupyter_gpupredict.sources.driver.processes import ProcessTree, usable_cpus

if TYPE_CHECKING:
    from jupyter_gpupredict.core.protocols import Clock

_clock = SystemClock()
PERIOD_S = 0.5
SHARE = Series("cpu_util_ratio", "cpu")
MEMORY = Series("rss_bytes", "cpu")
HOST_EVERY_S, HOST_SHARE = 5.0, 0.01
"""How often a process tree's memory is read at most, and which share of the time it may take."""
_SIZE = re.compile(r"^(Pss|Pss_Shmem):\s+(\d+) kB$", re.MULTILINE)


class CpuSource:
    """CPU seconds of the process tree / (wall seconds x CPUs it may use), and its resident memory.

    A child that lived between two walks of the tree is counted by what its parent collected of it.
    """

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._period_s = options.interval_s or PERIOD_S
        self._root_pid = options.root_pid
        self._clock = clock
        self._tree: ProcessTree | None = None
        self._cpu_s: dict[int, float] = {}
        self._last_s = 0.0
        self._cpus = 1

    def open(self) -> SourceInfo:
        """Begin to count from here."""
        self.close()
        self._tree = ProcessTree(self._root_pid)
        self._cpus = usable_cpus()
        self._last_s = self._clock.monotonic_s()
        self._tree.walk(self._last_s)
        self._cpu_s = self._tree.cpu_s()
        name = f"{self._cpus} of {psutil.cpu_count() or self._cpus} CPUs"
        total = psutil.virtual_memory().total
        device = Device("cpu", name, memory_total_bytes=total, cpu_count=self._cpus)
        return SourceInfo(
            source="cpu",
            devices=(device,),
            series=(SHARE, MEMORY),
            share=SHARE,
            memory=MEMORY,
            period_s=self._period_s,
            scope="process_tree",
            versions=(("psutil", psutil.__version__),),
        )

    def read(self, *, slow: bool) -> Batch:
        """Return one reading of each series, for the time since the last call."""
        tree = self._tree
        now_s = self._clock.monotonic_s()
        elapsed_s = now_s - self._last_s
        if tree is None or elapsed_s <= 0.0:
            return Batch()
        if slow:
            tree.walk(now_s)
        counted = tree.cpu_s()
        # Sums, not a difference for each process: a child that ended moves into its parent's count.
        used_s = sum(counted.values()) - sum(self._cpu_s.values())
        self._cpu_s, self._last_s = counted, now_s
        ratio = min(1.0, max(0.0, used_s / (elapsed_s * self._cpus)))
        found = ((SHARE, ratio), (MEMORY, tree.rss_bytes()))
        return Batch(tuple(Readings(series, (now_s,), (value,)) for series, value in found))

    def close(self) -> None:
        """Forget the processes; may be called twice."""
        if self._tree is not None:
            self._tree.close()
            self._tree = None


class HostMemory:
    """Keeps the most memory that a process tree held, by the kernel's proportional set sizes.

    The kernel walks all pages for an answer, so it is asked every few seconds, and less often where
    that takes long. What is not Linux gives no figure.
    """

    def __init__(self, root_pid: int | None = None, root: Path = Path("/proc")) -> None:
        self._root_pid, self._root = root_pid, root
        self._tree: ProcessTree | None = None
        self._next_s = -math.inf
        self._memory_bytes = self._shared_bytes = 0.0

    def look(self, now_s: float) -> None:
        """Take a reading, unless one was taken a moment ago."""
        if now_s < self._next_s:
            return
        began_s = _clock.monotonic_s()
        try:
            if self._tree is None:
                self._tree = ProcessTree(self._root_pid)
            self._tree.walk(now_s)
            pids = self._tree.pids()
        except psutil.Error:
            return  # it has ended
        each = [_proportional(self._root / str(pid) / "smaps_rollup") for pid in pids]
        self._memory_bytes = max(self._memory_bytes, sum(total for total, _ in each))
        self._shared_bytes = max(self._shared_bytes, sum(shared for _, shared in each))
        took_s = _clock.monotonic_s() - began_s
        self._next_s = now_s + max(HOST_EVERY_S, took_s / HOST_SHARE)

    def peak(self) -> HostPeak | None:
        """Look once more, and return the most that was seen; None where nothing was."""
        self.look(math.inf)
        if self._tree is not None:
            self._tree.close()
            self._tree = None
        if not self._memory_bytes:
            return None
        return HostPeak(self._memory_bytes, self._shared_bytes)


def _proportional(path: Path) -> tuple[float, float]:
    """Return (proportional size, what of it is shared memory) of a process; 0 after its end."""
    try:
        text = path.read_text()
    except OSError:
        return 0.0, 0.0
    sizes = {name: 1024.0 * int(size) for name, size in _SIZE.findall(text)}
    return sizes.get("Pss", 0.0), sizes.get("Pss_Shmem", 0.0)
