"""What windows of kernels cost the cell: time its thread stands blocked, inside and outside them.

Each turn runs three processes at once on the stand-in driver, in shuffled order: two without
`--kernels` and one with it. What else the machine does falls on all three alike, and two that do
the same show what is left of chance. The stand-in for cupti-python hands over a second's records as
fast as 10,000 kernels a second would come; a real one adds its own time to every launch.

Blocked is wall time less the thread's CPU and its wait for a processor, counted only where the
thread went to sleep meanwhile: one that is held up for the GIL does, one whose virtual processor is
taken away does not. Of that counts no more than the process's other threads had of a processor
meanwhile, since a thread that holds the GIL and waits for one itself is the load's doing.

Run: python -m benchmarks.windows [TURNS]
"""

from __future__ import annotations

import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import stand_in
from benchmarks.machine import header, interval

SECONDS, LENGTH_S = 8.0, 1.0
TURNS = 20
MOST_MS = 1.0
"""More blocked time a second outside windows than without any: what the interval must exclude."""
CONDITIONS = ("null A", "null B", "kernels")
TURN = """
import json, resource, sys, threading, time, types
condition, seconds, length_s = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
import jupyter_gpupredict as gp
from jupyter_gpupredict.run import windows
from jupyter_gpupredict.sources import tracers

RATE = 10000
spans = []

class Cupti(types.SimpleNamespace):
    ActivityKind = types.SimpleNamespace(DEVICE=1, CONCURRENT_KERNEL=2)
    def activity_register_callbacks(self, requested, completed):
        self.completed = completed
    def activity_enable(self, kind):
        self.began = time.perf_counter()
    def activity_disable(self, kind):
        pass
    def finalize(self):
        pass
    def activity_flush_all(self, flag):
        device = types.SimpleNamespace(
            kind=1, id=0, name="stand-in", compute_capability_major=9, compute_capability_minor=0,
            num_multiprocessors=132)
        count = int(RATE * (time.perf_counter() - self.began))
        self.completed([device, *(types.SimpleNamespace(
            kind=2, name=f"kernel_{n % 200}", device_id=0, start=n * 100000, end=n * 100000 + 50000,
            grid_x=40 + n % 200, grid_y=1, grid_z=1, block_x=256, block_y=1, block_z=1,
            registers_per_thread=32, static_shared_memory=0, dynamic_shared_memory=1024)
            for n in range(count))])

package = types.ModuleType("cupti")
package.__spec__ = types.SimpleNamespace(name="cupti")
sys.modules["cupti"], sys.modules["cupti.cupti"] = package, Cupti()
tracers.cuda.supported_version, tracers.cuda.compute_capability = lambda: (13, 0), lambda: (9, 0)
windows.FIRST_ACTIVE_S, windows.WINDOW_S, windows.DUTY_RATIO = 1.0, length_s, 1e9
windows.MOST_WINDOWS = 2
real = windows.KernelWindows._window
def window(self, *given):
    began = time.perf_counter()
    try:
        return real(self, *given)
    finally:
        spans.append((began, time.perf_counter()))
windows.KernelWindows._window = window

path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
def now():
    with open(path) as file:
        waited = int(file.read().split()[1]) / 1e9
    slept = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    wall, own = time.perf_counter(), time.thread_time()
    return wall, wall - own - waited, time.process_time() - own, slept

blocked = []
with gp.measure(source="nvml", kernels=condition == "kernels") as run:
    begin = last = now()
    end = begin[0] + seconds
    while last[0] < end:
        for _ in range(20):
            sum(range(2000))
        this = now()
        if this[3] != last[3]:
            held = min(this[1] - last[1], this[2] - last[2])
            blocked.append((last[0] - begin[0], this[0] - begin[0], held))
        last = this
print(json.dumps({
    "whole": last[0] - begin[0], "blocked": blocked, "errors": run.result.run.errors,
    "spans": [(a - begin[0], b - begin[0]) for a, b in spans]}))
"""


def shares(found: dict[str, Any], spans: list[tuple[float, float]]) -> tuple[float, float]:
    """Return blocked milliseconds a second, inside and outside windows.

    A slice counts as inside where it touches a window.
    """
    within_s = sum(min(b, found["whole"]) - a for a, b in spans)
    inside_s = outside_s = 0.0
    for begin, end, blocked_s in found["blocked"]:
        if any(begin < b and a < end for a, b in spans):
            inside_s += blocked_s
        else:
            outside_s += blocked_s
    return 1e3 * inside_s / within_s, 1e3 * outside_s / (found["whole"] - within_s)


def main() -> int:
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else TURNS
    draw = random.Random(0)
    print(header())
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in CONDITIONS}
    lengths_s: list[float] = []

    def one(name: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as home:
            words = (name, str(SECONDS), str(LENGTH_S))
            answer: dict[str, Any] = stand_in.turn(TURN, stand_in.environ(home), *words)
            return answer

    with ThreadPoolExecutor(len(CONDITIONS)) as pool:
        for _ in range(turns):
            order = draw.sample(CONDITIONS, len(CONDITIONS))
            found = dict(zip(order, pool.map(one, order), strict=True))
            if any(each["errors"] for each in found.values()):
                raise SystemExit(f"a turn went wrong: {found}")
            spans = found["kernels"]["spans"]
            lengths_s += [b - a for a, b in spans]
            for name, each in found.items():
                figures[name].append(shares(each, spans))
    words = f"{turns} turns of {SECONDS} s, {len(CONDITIONS)} at once; {len(lengths_s)} windows"
    print(f"{words} of {interval(lengths_s)} s")
    for name, both in figures.items():
        inside, outside = (interval([each[at] for each in both]) for at in (0, 1))
        print(f"{name:<8} blocked ms/s inside {inside:<26} outside {outside}")
    triples = list(zip(*(figures[name] for name in CONDITIONS), strict=True))
    paired = [c[1] - (a[1] + b[1]) / 2 for a, b, c in triples]
    null = [a[1] - b[1] for a, b, _ in triples]
    print(f"outside, paired: kernels - null {interval(paired)}; null - null {interval(null)}")
    proven = float(interval(paired).partition(", ")[2].rstrip("]")) <= MOST_MS
    print(f"{'proven' if proven else 'not proven'}: at most {MOST_MS:g} ms a second more outside")
    return int(not proven)


if __name__ == "__main__":
    sys.exit(main())
