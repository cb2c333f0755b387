"""Who uses a device: the processes of this run, and others.

The driver counts processes in the host's PID namespace. Where ours is another one, its numbers say
nothing about us unless they happen to be listed, and then nothing is claimed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from jupyter_gpupredict.sources.driver.buffer import ratio
from jupyter_gpupredict.sources.driver.nvml import NvmlError
from jupyter_gpupredict.sources.driver.processes import process_name, sees_host_pids

if TYPE_CHECKING:
    from jupyter_gpupredict.sources.driver.nvml import Nvml
    from jupyter_gpupredict.sources.driver.processes import ProcessTree

OWN_MEMORY, OWN_UTIL = "process_memory_used_bytes", "process_util_ratio"
OWN_COUNT, OTHER_COUNT = "own_process_count", "other_process_count"
_SERVER = "nvidia-cuda-mps-server"[:15]
"""As far as the kernel keeps a process's name, proc(5)."""


class Tenants:
    """The compute processes of one device, told apart."""

    def __init__(self, nvml: Nvml, uuid: str) -> None:
        self._nvml = nvml
        self._uuid = uuid
        self._since_us: int | None = None
        self._own: frozenset[int] = frozenset()
        """Ours that were on the device at the last `census`."""
        self.through_mps = False
        """Whether ours were clients of an MPS server there at the last `census`."""
        self._seen: tuple[frozenset[int], tuple[ProcessTree, ...]] = (frozenset(), ())
        """The processes listed, and our trees, when these were last walked."""
        self._servers: frozenset[int] = frozenset()
        """MPS servers among those listed."""
        self._countable = sees_host_pids()

    def census(self, trees: tuple[ProcessTree, ...], now_s: float) -> dict[str, float]:
        """Return the memory of our processes and how many of ours and of others there are.

        Our trees are walked only when others are listed than before: the walk costs more than all
        that is asked of the driver.

        NaN: none of ours is there, or it cannot be known which ones are ours. An MPS server, ours
        or another's, is nobody by itself: its clients are counted.

        Raises:
            NvmlError: The list cannot be had.
        """
        listed = self._nvml.process_memory_bytes(self._uuid)
        seen = (frozenset(listed), trees)
        if seen != self._seen and all([tree.walk(now_s) for tree in trees]):
            self._seen = seen
            self._servers = frozenset(p for p in listed if process_name(p).startswith(_SERVER))
        users = listed.keys() - self._servers
        own = frozenset().union(*(tree.pids() for tree in trees)) & users
        if own != self._own:
            self._own, self.through_mps = own, bool(own & self._mps_pids())
        known = [size for pid in self._own if (size := listed[pid]) is not None]
        counted = bool(self._own) or self._countable
        return {
            OWN_MEMORY: math.fsum(known) if known else math.nan,
            OWN_COUNT: float(len(self._own)) if counted else math.nan,
            OTHER_COUNT: float(len(users) - len(self._own)) if counted else math.nan,
        }

    def utilization(self) -> float:
        """Return the share of the time that our processes kept the device busy since the last call.

        A process that did nothing is not listed: 0 as long as one of ours is on the device. The
        driver is not asked where none is, and the first answer is NaN: it tells of what was before.
        Nothing to ask while `through_mps`: the driver sees the server at work, not its clients.

        Raises:
            NvmlError: It cannot be had.
        """
        if not self._own:
            self._since_us = None
            return math.nan
        first = self._since_us is None
        samples = self._nvml.process_samples(self._uuid, self._since_us or 0)
        self._since_us = samples[-1].time_us if samples else self._since_us or 0
        if first:  # there is only what was before
            return math.nan
        each: dict[int, list[float]] = {}
        for sample in samples:
            if sample.pid in self._own:
                each.setdefault(sample.pid, []).append(sample.percent)
        means = (math.fsum(values) / len(values) for values in each.values())
        return ratio(min(100.0, math.fsum(means)))

    def _mps_pids(self) -> frozenset[int]:
        try:
            return self._nvml.mps_pids(self._uuid)
        except NvmlError as error:
            if error.gone:
                raise
            return frozenset()  # drivers that keep no such list
