"""What a driver that does not answer costs a script: each call hung for ever, and dragging for 2 s.

Each turn is a fresh process on the stand-in driver that measures half a second of sleep. Growth is
what the measured block takes beyond that; exit, what the process takes to end after it.

Run: python -m benchmarks.hanging
"""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

from benchmarks import stand_in
from benchmarks.machine import header
from tests.fake_nvml.build import SOURCES, library_dir
from tests.fake_nvml.scenario import FakeGpu, Script

SLEEP_S = 0.5
TURN = f"""
import json, sys, time
import jupyter_gpupredict.frontends.measure as m
import jupyter_gpupredict.run.analysis, jupyter_gpupredict.run.session
began = time.monotonic()
with m.measure(source=sys.argv[1], quiet=True) as run:
    time.sleep({SLEEP_S})
growth = time.monotonic() - began - {SLEEP_S}
samples = 0 if run.result is None else run.result.run.samples
print(json.dumps([growth, samples, time.time()]))
"""


def functions() -> list[str]:
    """Return every function of the stand-in that a script can hang."""
    text = Path("tests/fake_nvml", SOURCES["libnvidia-ml.so.1"]).read_text()
    return sorted({"nvmlInitWithFlags", *re.findall(r'GATE\("(\w+)"\)', text)})


def turn(source: str, how: str) -> tuple[float, float, int]:
    """Return (growth, seconds to exit, readings)."""
    gpu = FakeGpu(processes=[("self", 700, 30)], gpm=True, cores=(16896, "9.0"))
    with tempfile.TemporaryDirectory() as home:
        control = Path(home, "control.txt")
        control.write_text(how + "\n")
        environ = Script(gpus=[gpu]).environ(Path(home)) | {
            "LD_LIBRARY_PATH": str(library_dir()),
            "FAKE_NVML_CONTROL": str(control),
            "JUPYTER_DATA_DIR": home,
        }
        growth, samples, ended = stand_in.turn(TURN, environ, source, timeout_s=60)
        return growth, time.time() - ended, samples


def main() -> None:
    print(header())
    for source in ("gpm", "nvml"):
        for how in ("hang {}", "slow {} 2"):
            found = {name: turn(source, how.format(name)) for name in [*functions(), "*"]}
            worst = max(found, key=lambda name: found[name][0])
            slowest = max(found, key=lambda name: found[name][1])
            print(
                f"{source:<5} {how.format('f'):<9} {len(found)} functions: "
                f"growth at most {found[worst][0]:.2f} s ({worst}), "
                f"exit at most {found[slowest][1]:.2f} s ({slowest})"
            )


if __name__ == "__main__":
    main()
