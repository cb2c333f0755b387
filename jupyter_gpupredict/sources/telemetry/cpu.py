"""CPU use of this process and its descendants: the real source where there is no GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

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

PERIOD_S = 0.5
SHARE = Series("cpu_util_ratio", "cpu")
MEMORY = Series("rss_bytes", "cpu")


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
