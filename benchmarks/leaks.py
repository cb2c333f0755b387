"""What 500 measurements leave behind in their process: threads, descriptors, memory.

One process on the stand-in driver starts and stops measuring again and again. The first turns load
what measuring needs, and have Python double its table of interned strings: they are not counted.

Run: python -m benchmarks.leaks
"""

from __future__ import annotations

import tempfile

from benchmarks import stand_in
from benchmarks.machine import header

TURNS, WARM_UP = 500, 200
LOOP = """
import gc, json, sys, threading
import psutil
from jupyter_gpupredict import measure

def census():
    gc.collect()
    me = psutil.Process()
    return [threading.active_count(), me.num_fds(), me.memory_info().rss / 2**20]

def turns(count):
    for _ in range(count):
        with measure(source="nvml", quiet=True):
            pass

turns(int(sys.argv[1]))
before = census()
turns(int(sys.argv[2]))
print(json.dumps([b - a for a, b in zip(before, census())]))
"""


def left(turns: int, warm_up: int) -> tuple[int, int, float]:
    """Return the threads, descriptors and MiB that so many turns have added."""
    with tempfile.TemporaryDirectory() as home:
        environ = stand_in.environ(home)
        threads, descriptors, mib = stand_in.turn(LOOP, environ, str(warm_up), str(turns))
    return threads, descriptors, mib


def main() -> None:
    print(header())
    threads, descriptors, mib = left(TURNS, WARM_UP)
    print(f"{TURNS} turns: {threads:+d} threads, {descriptors:+d} descriptors, {mib:+.2f} MiB")


if __name__ == "__main__":
    main()
