"""The memory of a process tree: pages that several processes share count once."""

import math
import mmap
import os
import sys
import time

import pytest

from jupyter_gpupredict.sources.driver.processes import HOST_EVERY_S, MemoryWatch

MIB = 1 << 20
pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/smaps_rollup"),  # noqa: PTH110
    reason="the kernel gives no proportional sizes",
)


def written(folder, pss_kb, shared_kb):
    path = folder / str(os.getpid()) / "smaps_rollup"
    path.parent.mkdir(exist_ok=True)
    lines = ("Rss: 999999 kB", f"Pss: {pss_kb} kB", "Pss_Anon: 1 kB", f"Pss_Shmem: {shared_kb} kB")
    path.write_text("5500-7fff ---p 00000000 00:00 0 [rollup]\n" + "\n".join(lines) + "\n")


def test_the_peak_is_kept_and_readings_are_rare(tmp_path):
    watch = MemoryWatch(root=tmp_path)
    for now_s, pss_kb, shared_kb in (
        (0.0, 2048, 10),
        (HOST_EVERY_S / 2, 9000, 9000),  # not looked at: too early
        (HOST_EVERY_S, 4096, 5),
        (2 * HOST_EVERY_S, 1024, 0),
    ):
        written(tmp_path, pss_kb, shared_kb)
        watch.look(now_s)
    peak = watch.peak()
    assert (peak.memory_bytes, peak.shared_bytes) == (4096 * 1024, 10 * 1024)


def test_where_the_kernel_says_nothing_there_is_no_figure(tmp_path):
    watch = MemoryWatch(root=tmp_path)
    watch.look(0.0)
    assert watch.peak() is None


def test_a_process_that_has_ended_is_no_error():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    watch = MemoryWatch(child)
    watch.look(0.0)
    assert watch.peak() is None


def test_forked_processes_share_their_pages_and_shared_memory_is_seen():
    watch = MemoryWatch()
    before = watch.peak()
    block, shared = bytearray(os.urandom(MIB)) * 200, mmap.mmap(-1, 50 * MIB)
    shared.write(b"x" * (50 * MIB))
    read, write = os.pipe()
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)  # until the other end is closed
            os._exit(0)
        children.append(child)
    try:
        deadline, peak = time.monotonic() + 10, None
        while peak is None and time.monotonic() < deadline:
            watch.look(math.inf)
            peak = watch.peak()
    finally:
        os.close(write)
        os.close(read)
        for child in children:
            os.waitpid(child, 0)
    assert len(block) == 200 * MIB
    shared.close()
    grown = (peak.memory_bytes - before.memory_bytes) / MIB
    # 200 + 50 MiB once, and not four times; the children's own pages are small
    assert 240 < grown < 400, sys.version
    assert (peak.shared_bytes - before.shared_bytes) / MIB == pytest.approx(50, abs=5)
