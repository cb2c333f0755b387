"""This process and its descendants: CPU time, resident memory, and which PIDs are ours.

Written for a cell that holds the GIL: every call that releases it has to queue for it again, up to
5 ms each. So the process itself is read with two calls, and the tree is walked rarely.
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import psutil

from jupyter_gpupredict.core.protocols import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_clock = SystemClock()
WALK_SHARE = 0.05
"""Walking the process tree may take this share of the time."""
HOST_NAMESPACE = Path("pid:[4026531836]")
"""The kernel's fixed number of the first PID namespace (PROC_PID_INIT_INO)."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class ProcessTree:
    """A process and its live descendants.

    Args:
        root_pid: The process; None: this one. After its end there is nothing to read.
    """

    def __init__(self, root_pid: int | None = None) -> None:
        self._own = psutil.Process(root_pid)
        self._is_this = root_pid in (None, os.getpid())
        self._children: dict[int, psutil.Process] = {}
        self._next_walk_s = float("-inf")
        pid = self._own.pid
        self._by_kernel = Path(f"/proc/{pid}/task/{pid}/children").exists()
        try:
            self._statm = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._statm = -1  # not Linux: psutil answers

    def close(self) -> None:
        """Let go of the kernel's file; may be called twice."""
        if self._statm >= 0:
            os.close(self._statm)
            self._statm = -1

    def pids(self) -> frozenset[int]:
        """Return the process ids of the tree as of the last walk."""
        return frozenset((self._own.pid, *self._children))

    def walk(self, now_s: float) -> bool:
        """Look for new and ended children, unless that was done a moment ago.

        Returns:
            Whether it was done now.
        """
        if now_s < self._next_walk_s:
            return False
        began_s = _clock.monotonic_s()
        found = self._descendants() if self._by_kernel else self._descendants_by_psutil()
        self._children = {
            pid: self._children.get(pid) or process
            for pid in found
            if (process := _process(pid)) is not None
        }
        self._next_walk_s = now_s + (_clock.monotonic_s() - began_s) / WALK_SHARE
        return True

    def cpu_s(self) -> dict[int, float]:
        """Return the CPU seconds of each live process, those of its ended children included."""
        used: dict[int, float] = {}
        others = dict(self._children)
        if self._is_this:
            times = os.times()
            own_s = process_time() + times.children_user + times.children_system
            used[self._own.pid] = own_s
        else:
            others[self._own.pid] = self._own
        for pid, child in others.items():
            try:
                counted = child.cpu_times()
            except psutil.Error:
                continue  # it ended meanwhile; its parent has collected its time
            ended_s = getattr(counted, "children_user", 0.0) + getattr(
                counted, "children_system", 0.0
            )
            used[pid] = counted.user + counted.system + ended_s
        return used

    def rss_bytes(self) -> float:
        """Return the resident memory of the tree; shared pages count once for each process.

        NaN once the process at its root has ended.
        """
        try:
            if self._statm >= 0:
                total = float(os.pread(self._statm, 128, 0).split()[1]) * _PAGE_BYTES
            else:
                total = float(self._own.memory_info().rss)
        except (OSError, psutil.Error):
            return math.nan
        for child in self._children.values():
            try:
                total += child.memory_info().rss
            except psutil.Error:
                continue  # it ended meanwhile
        return total

    def _descendants(self) -> set[int]:
        """Ask the kernel for the children of every thread, and theirs in turn."""
        found: set[int] = set()
        waiting = [self._own.pid]
        while waiting:
            for task in _tasks(waiting.pop()):
                try:
                    with open(task) as file:  # noqa: PTH123 - half the system calls of read_text
                        children = {int(pid) for pid in file.read().split()}
                except OSError:
                    continue  # the thread ended meanwhile
                waiting += children - found
                found |= children
        return found

    def _descendants_by_psutil(self) -> set[int]:
        return {child.pid for child in self._own.children(recursive=True)}


class Family:
    """The process trees of a run on this machine: one of its own, and those of its peers.

    Args:
        root_pid: As of `ProcessTree`.
        peers: Returns the roots of the other trees.
    """

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
        """Let go of every tree; may be called twice."""
        for tree in (self._own, *self._others.values()):
            tree.close()


def usable_cpus() -> int:
    """Return how many CPUs this process may use: its affinity, and its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpus = allowed or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cpus = min(cpus, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return cpus  # no such quota here
    return cpus


def sees_host_pids() -> bool:
    """Return whether the driver's process numbers mean the same processes here."""
    try:
        return Path("/proc/self/ns/pid").readlink() == HOST_NAMESPACE
    except OSError:
        return False


def process_name(pid: int) -> str:
    """Return a process's name; empty where the driver's number may mean another process here.

    The driver counts in the host's PID namespace, so a name is looked up only in that one.
    """
    if not sees_host_pids():
        return ""
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return ""


def _tasks(pid: int) -> list[str]:
    try:
        return [f"{task}/children" for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None
