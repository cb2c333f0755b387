"""Mutated traces in the session store: all routes and verbs are asked about them.

`python -m benchmarks.hostile [CASES] [FIRST_SEED]`; 20,000 cases by default, over all cores. It
ends with status 1 when one of them gave neither a reply of its schema nor one line.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

from benchmarks.machine import header

CASES = 20_000
BATCH = 25
"""Traces in the store at one time, beside a good one."""
FULL_EVERY = 20
"""The others are shown to the routes that read, and to one verb in turn."""
GIVEN_EVERY = 200
"""One of so many goes to the verbs that take any file, and over the folder."""


def batches(first: int, count: int) -> tuple[Counter[str], list[str], float, int]:
    """Ask about some cases; returns what was asked, the failures, the slowest case, memory."""
    from tests.frontends.server import traces
    from tests.hostile import VERBS, Everything, mutated

    failures: list[str] = []
    slowest_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JUPYTER_DATA_DIR"] = folder
        every = Everything(Path(folder))
        for seed in range(first, first + count):
            run = traces.session_id(1 + seed % BATCH)
            begun_s = time.monotonic()
            try:
                path = every.put(run, mutated(Random(seed), run))
                every.ask(run, verbs=len(VERBS) if seed % FULL_EVERY == 0 else 1)
                if seed % BATCH == 0:
                    every.ask_lists()
                if seed % GIVEN_EVERY == 0:
                    every.ask_given(path)
                    every.ask_verbs_over_many()
            except BaseException:  # noqa: BLE001 - it is what is looked for
                failures.append(f"seed {seed}: {traceback.format_exc()[-1500:]}")
            slowest_s = max(slowest_s, time.monotonic() - begun_s)
        every.state.close()
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return every.asked, failures, slowest_s, peak_kib


def main() -> int:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else CASES
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    asked: Counter[str] = Counter()
    failures: list[str] = []
    slowest_s, peak_kib, step = 0.0, 0, 500
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        parts = [
            pool.submit(batches, seed, min(step, first + cases - seed))
            for seed in range(first, first + cases, step)
        ]
        for part in parts:
            some, wrong, longest_s, kib = part.result()
            asked += some
            failures += wrong
            slowest_s, peak_kib = max(slowest_s, longest_s), max(peak_kib, kib)
            print(f"{sum(asked.values())} answers, {len(failures)} failures", flush=True)
    print(header())
    for what, count in sorted(asked.items()):
        print(f"{count:8} {what}")
    print(f"{cases} cases, {sum(asked.values())} answers, {len(failures)} failures")
    print(f"slowest case {slowest_s:.1f} s, peak memory {peak_kib >> 10} MiB")
    print("\n".join(failures[:5]))
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
