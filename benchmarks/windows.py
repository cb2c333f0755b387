"""What windows of kernels cost the cell: time its thread stands blocked, inside and outside them.

Each turn is a fresh process on the stand-in driver, with a stand-in for cupti-python that hands
over a second's records as fast as 10,000 kernels a second would come; a real one adds its own time
to every launch. Windows are taken from the first second on, with two of them in a turn. The null is
the same run without `--kernels`, split at the times at which the former turn had its windows.

Run: python -m benchmarks.windows
"""

from __future__ import annotations

import tempfile

from benchmarks import stand_in
from benchmarks.machine import header, interval

SECONDS, LENGTH_S = 8.0, 1.0
ROUNDS = 7
CONDITIONS = ("null A", "null B", "kernels")
TURN = """
import json, sys, threading, time, types
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
real = windows.KernelWindows._record
def record(self, *given):
    began = time.perf_counter()
    try:
        return real(self, *given)
    finally:
        spans.append((began, time.perf_counter()))
windows.KernelWindows._record = record

path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
def now():
    with open(path) as file:
        waited = int(file.read().split()[1]) / 1e9
    wall = time.perf_counter()
    return wall, wall - time.thread_time() - waited

marks = []
with gp.measure(source="nvml", kernels=condition == "kernels") as run:
    marks.append(now())
    end = marks[0][0] + seconds
    while marks[-1][0] < end:
        for _ in range(20):
            sum(range(2000))
        marks.append(now())
begin = marks[0][0]
spans = [(a - begin, b - begin) for a, b in spans] or json.loads(sys.argv[4])
inside = outside = within = 0.0
for (wall, blocked), (then, later) in zip(marks, marks[1:]):
    if any(a <= then - begin and wall - begin <= b for a, b in spans):
        inside, within = inside + later - blocked, within + then - wall
    else:
        outside += later - blocked
whole = marks[-1][0] - begin
print(json.dumps([1000 * inside / within if within else 0.0, 1000 * outside / (whole - within),
                  spans, run.result.run.errors]))
"""


def main() -> None:
    print(header())
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CONDITIONS}
    lengths: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        environ = stand_in.environ(home)
        spans: list[list[float]] = [[1.5, 2.5], [3.5, 4.5]]
        for number in range(ROUNDS):
            for place in range(len(CONDITIONS)):
                name = CONDITIONS[(number + place) % len(CONDITIONS)]
                words = (name, str(SECONDS), str(LENGTH_S), str(spans).replace("'", '"'))
                inside, outside, had, errors = stand_in.turn(TURN, environ, *words)
                if errors:
                    raise SystemExit(f"a turn went wrong: {errors}")
                if name == "kernels":
                    spans = had
                    lengths += [end - begin for begin, end in had]
                found[name].append((inside, outside))
    print(f"{ROUNDS} turns of {SECONDS} s; {len(lengths)} windows of {interval(lengths)} s")
    for name, figures in found.items():
        inside_words, outside_words = (interval([one[i] for one in figures]) for i in (0, 1))
        print(f"{name:<8} blocked ms/s inside {inside_words:<26} outside {outside_words}")
    null = [a[1] - b[1] for a, b in zip(found["null A"], found["null B"], strict=True)]
    paired = [a[1] - b[1] for a, b in zip(found["kernels"], found["null A"], strict=True)]
    print(f"outside, paired: kernels - null {interval(paired)}; null - null {interval(null)}")


if __name__ == "__main__":
    main()
