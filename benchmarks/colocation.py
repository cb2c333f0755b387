"""Two functions at their shares on one GPU, against each alone and against time-slicing.

`python -m benchmarks.colocation FOLDER:PERCENT FOLDER:PERCENT` takes exported folders and the
shares that were predicted or verified for them; without arguments, two loops of known width. On a
machine without GPU or MPS it says so and ends with status 0.

Four conditions, in rounds whose order alternates: each function alone and without a cap, both under
MPS at their shares, both under MPS without limits, both without MPS (the driver slices the time).
Reported are the slowdown of each function, and the throughput: the sum of the parts of their own
full speed that both keep, where 1 is what running one after the other gives.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hardware.clients import Client, alone, started
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import Lacking
from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.mps.directory import members
from jupyter_gpupredict.mps.lease import Host, Lease, hosted

PAIRED = ("at their shares", "MPS, no limits", "time-slicing")


@dataclass(frozen=True)
class Function:
    """One function and its share."""

    name: str
    text: str
    percent: int


def functions(words: Sequence[str]) -> list[Function]:
    """Return the functions that are named, or two loops of known width.

    Raises:
        Lacking: A folder has no code, or the words are not two.
    """
    if not words:  # blocks of 1024 threads: 40 of them are some 20 to 40 SMs wide
        return [Function("loop A", work(40), 35), Function("loop B", work(40, idle_s=0.001), 35)]
    found = []
    for word in words:
        folder, _, percent = word.rpartition(":")
        path = Path(folder, "train_fn.py")
        if not path.is_file() or not percent.isdecimal() or not 1 <= int(percent) <= 100:
            raise Lacking(f"{word!r} is no exported folder with a share: write FOLDER:PERCENT")
        found.append(Function(Path(folder).name, path.read_text(encoding="utf-8"), int(percent)))
    if len(found) != 2:
        raise Lacking("two functions are compared: FOLDER:PERCENT FOLDER:PERCENT")
    return found


def speeds(clients: Sequence[Client], warm_s: float, seconds: float) -> list[float]:
    """Run clients at the same time; return the steps a second of each, while all of them ran.

    Raises:
        Lacking: One has ended early, or tells of no steps.
    """
    with started(*clients):
        for client in clients:
            client.running()
        until_s = time.monotonic() + warm_s + seconds
        from_s = until_s - seconds
        while time.monotonic() < until_s:
            for client in clients:
                if client.for_seconds(0.05) is not None:
                    raise Lacking("a function ended before it was measured: give it more to do")
        for client in clients:
            client.for_seconds(0.3)  # marks that are under way
            attached, _ = client.lease.attached(members(client.child.pid))
            if client.lease.share.active and attached is False:
                raise Lacking("a function ran without MPS, so its share was not applied")
        found = [client.steps_per_s(from_s, until_s) for client in clients]
    if any(one is None for one in found):
        raise Lacking("a function tells of no steps: mark its loop with track(), or use tqdm")
    return [one for one in found if one is not None]


def compare(
    pair: Sequence[Function], host: Host, rounds: int, warm_s: float, seconds: float
) -> dict[str, list[list[float]]]:
    """Return condition -> rounds of steps a second of both functions."""

    def both(leases: Callable[[Function], Lease]) -> list[float]:
        return speeds([Client(one.text, leases(one)) for one in pair], warm_s, seconds)

    conditions: dict[str, Callable[[], list[float]]] = {
        "alone": lambda: [speeds([Client(one.text, alone())], warm_s, seconds)[0] for one in pair],
        "at their shares": lambda: both(lambda one: host.lease(one.percent, None)),
        "MPS, no limits": lambda: both(lambda _: host.lease(None, None)),
        "time-slicing": lambda: both(lambda _: alone()),
    }
    found: dict[str, list[list[float]]] = {name: [] for name in conditions}
    for number in range(rounds):
        order = list(conditions) if number % 2 == 0 else list(reversed(conditions))
        for name in order:
            found[name].append(conditions[name]())
    return found


def report(pair: Sequence[Function], found: dict[str, list[list[float]]]) -> dict[str, object]:
    """Return slowdowns and throughput of each condition; per round, and their geometric means."""
    told: dict[str, object] = {}
    for condition in PAIRED:
        kept = [
            [speed / full for speed, full in zip(now, alone_, strict=True)]
            for now, alone_ in zip(found[condition], found["alone"], strict=True)
        ]
        told[condition] = {
            "slowdown": {
                one.name: _mean([1.0 / parts[n] for parts in kept]) for n, one in enumerate(pair)
            },
            "throughput": statistics.fmean(sum(parts) for parts in kept),
            "throughput_of_rounds": [sum(parts) for parts in kept],
        }
    return told


def _mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def main() -> int:
    """Print the comparison; without a GPU, why there is none."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("functions", nargs="*", metavar="FOLDER:PERCENT")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--warm-up", type=float, default=5.0)
    parser.add_argument("--device", metavar="UUID|INDEX")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    try:
        pair = functions(options.functions)
        with hosted(options.device) as host:
            found = compare(pair, host, options.rounds, options.warm_up, options.seconds)
            told = report(pair, found)
            where = f"{host.device_name}, driver {host.driver}"
    except (Lacking, GpuPredictError) as reason:
        print(f"skipped: {reason}")
        return 0
    print(f"on {where}: {', '.join(f'{one.name} at {one.percent} %' for one in pair)}")
    print(json.dumps(told, indent=1))
    if options.json:
        raw = {"device": where, "steps_per_s": found, "report": told}
        Path(options.json).write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
