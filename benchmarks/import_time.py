"""What `import jupyter_gpupredict` and `%load_ext` add to Python's own start.

Run: python -m benchmarks.import_time
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.machine import header, interval, shuffled_rounds

LOAD = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
import time
began = time.perf_counter()
shell.run_line_magic("load_ext", "jupyter_gpupredict")
print(time.perf_counter() - began)
"""


def wall(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return 1000 * (time.perf_counter() - began)


def load_ext() -> float:
    done = subprocess.run([sys.executable, "-c", LOAD], check=True, capture_output=True, text=True)
    return 1000 * float(done.stdout)


if __name__ == "__main__":
    print(header())
    found = shuffled_rounds(
        {
            "start": lambda: wall("pass"),
            "start (null)": lambda: wall("pass"),
            "import": lambda: wall("import jupyter_gpupredict"),
            "load_ext": load_ext,
        },
        21,
    )
    for name in ("start (null)", "import"):
        added = [a - b for a, b in zip(found[name], found["start"], strict=True)]
        print(f"{name:<14} added to Python's start, ms: {interval(added)}")
    print(f"%load_ext in a running shell, ms: {interval(found['load_ext'])}")
