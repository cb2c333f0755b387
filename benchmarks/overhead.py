"""What a cell pays for being watched: time its thread stands blocked, and CPU added elsewhere.

Throughput is not judged: on a shared machine two conditions that do nothing differ by more. Each
turn is a fresh process on the stand-in driver (a real driver adds its own time to every call).
Blocked is wall time less the thread's CPU and its wait for a processor.

Run: python -m benchmarks.overhead
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import stand_in
from benchmarks.machine import header, interval

SECONDS = 5.5
ROUNDS = 7
TURN = """
import contextlib, json, sys, threading, time
import numpy as np
from pathlib import Path
condition, kind, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
import jupyter_gpupredict as gp

def waited():
    path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    return int(path.read_text().split()[1]) / 1e9

def spin(until):
    while time.perf_counter() < until:
        sum(range(2000))

def multiply(until):
    a = np.random.default_rng(0).random((200, 200))
    while time.perf_counter() < until:
        np.tanh(a @ a * 1e-3)

work = {"gil": spin, "numpy": multiply}[kind]
if condition == "poll":
    import pynvml
    pynvml.nvmlInit()
    handle, stop = pynvml.nvmlDeviceGetHandleByIndex(0), threading.Event()
    bins = [0] * 101
    def poll():
        while not stop.wait(0.1):
            bins[pynvml.nvmlDeviceGetUtilizationRates(handle).gpu] += 1
            pynvml.nvmlDeviceGetMemoryInfo(handle)
    @contextlib.contextmanager
    def watch():
        thread = threading.Thread(target=poll); thread.start()
        yield
        stop.set(); thread.join()
elif condition == "gpupredict":
    @contextlib.contextmanager
    def watch():
        with gp.measure(source="nvml") as run:
            yield
        Path(sys.argv[4]).write_text(str(run.result.run.samples))
else:
    watch = contextlib.nullcontext
with watch():
    wall, cpu = time.perf_counter(), time.thread_time()
    wait, process = waited(), time.process_time()
    work(wall + seconds)
    wall, cpu, wait = time.perf_counter() - wall, time.thread_time() - cpu, waited() - wait
    process = time.process_time() - process
print(json.dumps([1000 * (wall - cpu - wait) / wall, 60 * (process - cpu) / wall]))
"""


def turn(condition: str, kind: str, environ: dict[str, str], samples: Path) -> tuple[float, float]:
    words = (condition, kind, str(SECONDS), str(samples))
    blocked, added = stand_in.turn(TURN, environ, *words)
    return blocked, added


def main() -> None:
    print(header())
    with tempfile.TemporaryDirectory() as home:
        environ = stand_in.environ(home) | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        samples = Path(home) / "samples"
        for kind in ("gil", "numpy"):
            found: dict[str, list[tuple[float, float]]] = {}
            for number in range(ROUNDS):
                names = ["null A", "null B", "poll", "gpupredict"]
                for name in names[number % 4 :] + names[: number % 4]:
                    found.setdefault(name, []).append(turn(name, kind, environ, samples))
            print(f"\n{kind} cell, {ROUNDS} turns of {SECONDS} s; readings: {samples.read_text()}")
            for name, figures in found.items():
                blocked = interval([one[0] for one in figures])
                added = interval([one[1] for one in figures])
                print(f"{name:<12} blocked ms/s {blocked:<28} CPU added s/min {added}")


if __name__ == "__main__":
    main()
