"""What kill -9 costs: how old the newest stored reading is, at random moments of a run.

`python -m benchmarks.kills [KILLS]`; 50 by default with a view attached, and as many without.
"""

from __future__ import annotations

import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.machine import header
from tests.integration.killed import MOST_S, newest_age_s

KILLS = 50
AT_ONCE = 4


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    draw = random.Random(0)
    print(header())
    wrong = 0
    for view, most_s in MOST_S.items():
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
            homes = [Path(folder, str(number)) for number in range(kills)]
            for home in homes:
                home.mkdir()
            ages_s = sorted(
                pool.map(
                    lambda home, after_s, view=view: newest_age_s(home, view, after_s),
                    homes,
                    [draw.uniform(0.5, 8.0) for _ in homes],
                )
            )
        over = sum(age_s > most_s for age_s in ages_s)
        wrong += over
        print(f"view: {view}; {kills} kills; age of the newest stored reading: ", end="")
        print(f"median {ages_s[kills // 2]:.2f} s, at most {ages_s[-1]:.2f} s; ", end="")
        print(f"{over} above {most_s:g} s")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
