"""What beginning and ending a measurement takes, and the memory that it adds to the process.

Each turn is a fresh process on the stand-in driver: a script, or a notebook's kernel, where
`%load_ext` has loaded the magic. The first start of a process loads the driver's library and what
measuring needs beside; the second is what every further cell pays. Memory is resident memory after
a run over that before the import, with NumPy loaded before.

Run: python -m benchmarks.start_stop
"""

from __future__ import annotations

import tempfile

from benchmarks import stand_in
from benchmarks.machine import header, interval

ROUNDS = 7
TURN = """
import contextlib, json, sys, time
import numpy, psutil
rss = psutil.Process().memory_info().rss
if sys.argv[1] == "nothing":
    measure = lambda **_: contextlib.nullcontext()
else:
    from jupyter_gpupredict import measure
if sys.argv[1] == "notebook":
    import jupyter_gpupredict.frontends.magic
found = []
for _ in range(2):
    began = time.perf_counter()
    watch = measure(source="nvml")
    watch.__enter__()
    started = time.perf_counter()
    time.sleep(2.5)
    ending = time.perf_counter()
    watch.__exit__(None, None, None)
    found += [1000 * (started - began), 1000 * (time.perf_counter() - ending)]
print(json.dumps([*found, (psutil.Process().memory_info().rss - rss) / 2**20]))
"""
NAMES = ("first start, ms", "first stop, ms", "next start, ms", "next stop, ms", "memory, MiB")


def main() -> None:
    print(header())
    with tempfile.TemporaryDirectory() as home:
        environ = stand_in.environ(home)
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installation has its bytecode
        found: dict[str, list[list[float]]] = {"nothing": [], "notebook": [], "script": []}
        for number in range(ROUNDS):
            for what in sorted(found, reverse=number % 2 == 1):  # the middle one stays there
                found[what].append(stand_in.turn(TURN, environ, what))
    for at, name in enumerate(NAMES):
        for what, turns in found.items():
            print(f"{name:<16} {what:<10} {interval([one[at] for one in turns])}")


if __name__ == "__main__":
    main()
