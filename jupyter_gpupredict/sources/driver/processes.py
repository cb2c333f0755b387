"""Processes: this one and its descendants, those that use a device, and where they all run.

Written for a cell that holds the GIL: every call that releases it has to queue for it again, up to
5 ms each. So the process itself is read with two calls, and the tree is walked rarely.

The driver counts processes in the host's PID namespace. Where ours is another one, its numbers say
nothing about us unless they happen to be listed, and then nothing is claimed.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import psutil

from jupyter_gpupredict.core.devices import Host
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.recommendation import HostPeak
from jupyter_gpupredict.sources.driver.cuda import driver_libraries
from jupyter_gpupredict.sources.driver.nvml import NvmlError, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from jupyter_gpupredict.sources.driver.nvml import Nvml

_clock = SystemClock()
_SIZE = re.compile(r"^(Pss|Pss_Shmem):\s+(\d+) kB$", re.MULTILINE)
HOST_EVERY_S, HOST_SHARE = 5.0, 0.01
"""How often a process tree's memory is read at most, and which share of the time it may take."""
WALK_SHARE = 0.05
"""Walking the process tree may take this share of the time."""
HOST_NAMESPACE = Path("pid:[4026531836]")
"""The kernel's fixed number of the first PID namespace (PROC_PID_INIT_INO)."""
OWN_MEMORY, OWN_UTIL = "process_memory_used_bytes", "process_util_ratio"
OWN_COUNT, OTHER_COUNT = "own_process_count", "other_process_count"
_SERVER = "nvidia-cuda-mps-server"[:15]
"""As far as the kernel keeps a process's name, proc(5)."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_CONTAINERS = {".dockerenv": "Docker", "run/.containerenv": "Podman"}
"""Files that container engines leave."""


class ProcessTree:
    """A process, this one by default, and its live descendants; nothing to read after its end."""

    def __init__(self, root_pid: int | None = None) -> None:
        self._own = psutil.Process(root_pid)
        self._is_this = root_pid in (None, os.getpid())
        self._children: dict[int, psutil.Process] = {}
        self._next_walk_s = -math.inf
        pid = self._own.pid
        self._by_kernel = Path(f"/proc/{pid}/task/{pid}/children").exists()
        try:
            self._statm = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._statm = -1  # not Linux: psutil answers

    def close(self) -> None:
        """Close the kernel's file; may be called twice."""
        if self._statm >= 0:
            os.close(self._statm)
            self._statm = -1

    def pids(self) -> frozenset[int]:
        """Return the process ids of the tree as of the last walk."""
        return frozenset((self._own.pid, *self._children))

    def walk(self, now_s: float) -> bool:
        """Look for new and ended children, unless that was done a moment ago; says whether."""
        if now_s < self._next_walk_s:
            return False
        began_s = _clock.monotonic_s()
        if self._by_kernel:
            found = self._descendants()
        else:
            found = {child.pid for child in self._own.children(recursive=True)}
        children = {}
        for pid in found:
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                process = psutil.Process(pid)
                children[pid] = self._children.get(pid) or process
        self._children = children
        self._next_walk_s = now_s + (_clock.monotonic_s() - began_s) / WALK_SHARE
        return True

    def cpu_s(self) -> dict[int, float]:
        """Return the CPU seconds of each live process, those of its ended children included."""
        used: dict[int, float] = {}
        others = dict(self._children)
        if self._is_this:
            times = os.times()
            used[self._own.pid] = process_time() + times.children_user + times.children_system
        else:
            others[self._own.pid] = self._own
        for pid, child in others.items():
            try:
                counted = child.cpu_times()
            except psutil.Error:
                continue  # it ended meanwhile; its parent has collected its time
            ended_s = (getattr(counted, f"children_{kind}", 0.0) for kind in ("user", "system"))
            used[pid] = counted.user + counted.system + sum(ended_s)
        return used

    def rss_bytes(self) -> float:
        """Return the resident memory of the tree, shared pages each time; NaN after its end."""
        try:
            if self._statm >= 0:
                total = float(os.pread(self._statm, 128, 0).split()[1]) * _PAGE_BYTES
            else:
                total = float(self._own.memory_info().rss)
        except (OSError, psutil.Error):
            return math.nan
        for child in self._children.values():
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                total += child.memory_info().rss
        return total

    def _descendants(self) -> set[int]:
        """Ask the kernel for the children of every thread, and theirs in turn."""
        found: set[int] = set()
        waiting = [self._own.pid]
        while waiting:
            try:
                tasks = list(Path(f"/proc/{waiting.pop()}/task").iterdir())
            except OSError:
                continue  # the process ended meanwhile
            for task in tasks:
                try:
                    with open(f"{task}/children") as file:  # noqa: PTH123 - half the system calls of read_text
                        children = {int(pid) for pid in file.read().split()}
                except OSError:
                    continue  # the thread ended meanwhile
                waiting += children - found
                found |= children
        return found


class Family:
    """The process trees of a run on this machine: its own, and those whose roots are its peers."""

    def __init__(
        self, root_pid: int | None = None, peers: Callable[[], Collection[int]] = tuple
    ) -> None:
        self._own = ProcessTree(root_pid)
        self._peers = peers
        self._others: dict[int, ProcessTree] = {}

    def trees(self) -> tuple[ProcessTree, ...]:
        """Return its own tree and those of the peers that are there now."""
        wanted = self._peers()
        for pid in [pid for pid in self._others if pid not in wanted]:
            self._others.pop(pid).close()
        for pid in wanted:
            if pid not in self._others:
                with contextlib.suppress(psutil.Error):  # it has ended
                    self._others[pid] = ProcessTree(pid)
        return (self._own, *self._others.values())

    def close(self) -> None:
        """Close every tree; may be called twice."""
        for tree in (self._own, *self._others.values()):
            tree.close()


class DeviceProcesses:
    """The compute processes of one device, of this run and others; raises `NvmlError` as `Nvml`."""

    def __init__(self, nvml: Nvml, uuid: str) -> None:
        self._nvml, self._uuid = nvml, uuid
        self._since_us: int | None = None
        self._own: frozenset[int] = frozenset()
        """Ours that were on the device at the last `count`."""
        self.through_mps = False
        """Whether these were clients of an MPS server."""
        self._seen: tuple[frozenset[int], tuple[ProcessTree, ...]] = (frozenset(), ())
        """The processes listed, and our trees, when these were last walked."""
        self._servers: frozenset[int] = frozenset()
        """MPS servers among those listed."""
        self._countable = sees_host_pids()

    def count(self, trees: tuple[ProcessTree, ...], now_s: float) -> dict[str, float]:
        """Return the memory of our processes and how many of ours and of others there are.

        NaN: none of ours is there, or it cannot be known which ones are ours. An MPS server counts
        for nothing by itself: its clients are counted. Our trees are walked only when others are
        listed than before: the walk costs more than all that is asked of the driver.
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
        driver is not asked where none is, and the first answer, which is about the time before, is
        NaN. Not to be asked while `through_mps`: the driver then sees the server at work.
        """
        if not self._own:
            self._since_us = None
            return math.nan
        first = self._since_us is None
        samples = self._nvml.process_samples(self._uuid, self._since_us or 0)
        self._since_us = samples[-1].time_us if samples else self._since_us or 0
        if first:
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


class MemoryWatch:
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
        self.close()
        if not self._memory_bytes:
            return None
        return HostPeak(self._memory_bytes, self._shared_bytes)

    def close(self) -> None:
        """Forget the processes; may be called twice."""
        if self._tree is not None:
            self._tree.close()
            self._tree = None


def _proportional(path: Path) -> tuple[float, float]:
    """Return (proportional size, what of it is shared memory) of a process; 0 after its end."""
    try:
        text = path.read_text()
    except OSError:
        return 0.0, 0.0
    sizes = {name: 1024.0 * int(size) for name, size in _SIZE.findall(text)}
    return sizes.get("Pss", 0.0), sizes.get("Pss_Shmem", 0.0)


class CudaWatch:
    """Says whether a process tree holds CUDA's driver library: without it nobody uses a GPU."""

    def __init__(self, root_pid: int | None = None, root: Path = Path("/proc")) -> None:
        self._root_pid, self._root = root_pid, root

    def unused(self) -> bool:
        """Return whether no process of the tree has it mapped; False where that is not known.

        Source: /proc/PID/maps, proc(5).
        """
        try:
            with contextlib.closing(ProcessTree(self._root_pid)) as tree:
                tree.walk(_clock.monotonic_s())
                each = (self._root / str(pid) / "maps" for pid in tree.pids())
                maps = [one.read_text(errors="replace") for one in each]
        except (OSError, psutil.Error):
            return False  # not Linux, another user's, or it has ended
        return any(maps) and not any(any(driver_libraries(one)) for one in maps)

    def close(self) -> None:
        """Nothing is held."""


class HostWatch:
    """Says what kind of machine this is, by the marks that container engines leave."""

    def __init__(
        self, root: Path = Path("/"), release: str = "", environ: Mapping[str, str] = os.environ
    ) -> None:
        self._root, self._release, self._environ = root, release or platform.release(), environ

    def read(self) -> Host:
        """Return what was found."""
        found = (kind for mark, kind in _CONTAINERS.items() if (self._root / mark).exists())
        in_pod = "KUBERNETES_SERVICE_HOST" in self._environ
        container = next(found, "Kubernetes" if in_pod else "")
        return Host(container, sees_host_pids(), "microsoft" in self._release.lower())

    def close(self) -> None:
        """Nothing is held."""


def usable_cpus() -> int:
    """Return how many CPUs this process may use: its affinity, and its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpus = allowed or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cpus if quota == "max" else min(cpus, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return cpus  # no such quota here


def sees_host_pids() -> bool:
    """Return whether the driver's process numbers mean the same processes here."""
    try:
        return Path("/proc/self/ns/pid").readlink() == HOST_NAMESPACE
    except OSError:
        return False


def process_name(pid: int) -> str:
    """Return a process's name; empty where the driver's number may mean another process here."""
    if sees_host_pids():
        with contextlib.suppress(psutil.Error):
            return psutil.Process(pid).name()
    return ""
