"""What an isolated cell costs: its start, and its output, against a bare Python process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from benchmarks.machine import header, interval, shuffled_rounds
from jupyter_gpupredict.mps.child import Child, Program

NOTHING = "def train(params):\n    return None\n"
PROGRESS = "jupyter_gpupredict.mps.isolation:Listening"
SIZE = 64 << 20
WRITES = f"""
def train(params):
    line = "x" * 99
    for _ in range({SIZE // 100}):
        print(line)
"""


def whole(progress: str) -> float:
    """Return the seconds from start to end of a function that does nothing."""
    child = Child(Program(NOTHING, progress=progress), dict(os.environ), on_output=lambda *_: None)
    began_s = time.perf_counter()
    child.start()
    child.go()
    child.wait()
    child.stop()
    return time.perf_counter() - began_s


def bare() -> float:
    """Return the seconds of a process that does nothing."""
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-c", "pass"], check=True)
    return time.perf_counter() - began_s


def output() -> float:
    """Return MB/s of lines that a child prints."""
    taken = 0

    def take(_: str, text: str) -> None:
        nonlocal taken
        taken += len(text)

    child = Child(Program(WRITES), dict(os.environ), on_output=take)
    child.start()
    began_s = time.perf_counter()
    child.go()
    child.wait()
    took_s = time.perf_counter() - began_s
    child.stop()
    assert taken == SIZE // 100 * 100
    return taken / 1e6 / took_s


def main() -> None:
    """Print the figures."""
    print(header())
    conditions = {
        "bare": bare,
        "child": lambda: whole(""),
        "child with progress": lambda: whole(PROGRESS),
    }
    for name, seconds in shuffled_rounds(conditions, 15).items():
        print(f"{name}: {interval([1000 * one for one in seconds])} ms")
    print(f"lines of 100 characters: {statistics.median(output() for _ in range(3)):.0f} MB/s")


if __name__ == "__main__":
    main()
