"""What measuring a cluster costs and how late its readings are, on a Dask cluster of this machine.

Four worker processes with nannies, each under the tests' stand-in driver, all holding the GIL in a
pure Python loop. Latency is from the moment a worker sends a message to its arrival here, and from
the moment the stand-in driver has a reading to its merging into the series; of a reading with a
given value it is known when that was. For the cost, 64 simulated GPUs at 10 Hz with six metrics
come as messages of four hosts, as many as workers send, through source, analysis, events and trace;
the null is the same session without a reading. Recovery is from SIGKILL of a worker to the first
reading of the one that replaces it.

Run: python -m benchmarks.cluster [--seconds 30] [--kills 5]
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path

import distributed
import numpy as np

from benchmarks.machine import header, interval
from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.series import Device
from jupyter_gpupredict.run import SessionConfig, build_session, measuring
from jupyter_gpupredict.sources import cluster as source_module
from jupyter_gpupredict.sources.messages import Hello, NodeBatch, Offer, Taken, batch_s, message_of
from tests.integration.test_dask_cluster import (
    STEP_S,
    WORKERS,
    Cluster,
    Heard,
    begin,
    busy,
    kill,
    level,
    uuid,
)

METRICS = (
    "gpu_util_ratio",
    "memory_used_bytes",
    "power_watts",
    "mem_util_ratio",
    "dram_active_ratio",
    "tensor_active_ratio",
)
HOSTS, GPUS, HZ = 4, 16, 10


def latency(cluster: Cluster, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds from a worker's sending to its arrival here, and from reading to merging."""
    arrived: list[float] = []
    merged: list[float] = []
    merger, source = source_module.Merger, source_module.ClusterSource
    plain, plainly = merger.batch, source._take_message
    numbers = {uuid(number): number for number in range(WORKERS)}

    def taken(self, said, now_s):
        plain(self, said, now_s)
        for one in said.taken:
            if one.metric == "gpu_util_ratio":
                for stamp_s, value in zip(one.times_s, one.values, strict=True):
                    read_s = read_at_s(cluster, numbers[one.uuid], stamp_s, value)
                    merged.append(1000 * (time.time() - read_s))  # one machine, one clock

    def came(self, message):
        if message["kind"] == "batch":
            arrived.append(1000 * (time.time() - message["sent_s"]))
        plainly(self, message)

    merger.batch, source._take_message = taken, came
    try:
        session, _ = begin(cluster)
        arrived.clear()
        merged.clear()  # at first the driver's buffer holds old readings
        work = busy(cluster, seconds)
        cluster.client.gather(work)
        session.stop("completed")
    finally:
        merger.batch, source._take_message = plain, plainly
    return sorted(arrived), sorted(merged)


def read_at_s(cluster: Cluster, number: int, stamp_s: float, value: float) -> float:
    """When the stand-in driver had a reading, whose own stamp is right to an interval or two."""
    near = round((stamp_s - cluster.start_s) / STEP_S) - 1
    steps = (near + shift for shift in range(-4, 5))
    step = next(step for step in steps if level(number, step) == round(100 * value))
    return cluster.start_s + STEP_S * (step + 1)


def recovery(cluster: Cluster, kills: int) -> tuple[list[float], int]:
    """(seconds from the kill to the first reading afterwards, readings that were lost again)."""
    found, lost = [], 0
    for number in range(kills):
        cluster.client.wait_for_workers(WORKERS, timeout=30)
        session, heard = begin(cluster)
        victim = number % WORKERS
        while heard.count(uuid(victim)) < 15:
            time.sleep(0.02)
        before = list(heard.readings()[uuid(victim)])
        killed_s = kill(cluster, victim)
        while time.monotonic() - killed_s < 60.0:
            pairs = heard.readings()[uuid(victim)]
            if pairs[-1][0] + session._emitter.began_s > killed_s + 0.2:
                break
            time.sleep(0.01)
        found.append(time.monotonic() - killed_s)  # a minute: it never came
        lost += sum(a != b for a, b in zip(before, pairs, strict=False))
        session.stop("completed")
    return found, lost


class Simulated:
    """An engine of four hosts with 16 GPUs each, whose messages come from a thread."""

    def __init__(self, speaks: bool) -> None:
        self.speaks = speaks
        self.cpu_s = 0.0
        """Of making the messages, which is not the notebook's work."""

    def start(self, sources, on_message) -> None:
        self.on_message = on_message
        self.stopping = threading.Event()
        offer = Offer(
            "nvml",
            METRICS[0],
            "",
            METRICS[1],
            "",
            (),
            METRICS,
            1 / HZ,
            True,
            False,
            "",
            "device",
            "580",
        )
        for host in range(HOSTS):
            devices = tuple(Device(f"GPU-{host:02d}{n:02d}", "GPU") for n in range(GPUS))
            self.on_message(
                message_of(
                    Hello(
                        f"a{host}",
                        f"w{host}",
                        f"h{host}",
                        "b",
                        "n",
                        1,
                        None,
                        __version__,
                        devices,
                        offer,
                    )
                )
            )
        self.thread = threading.Thread(target=self._speak)
        self.thread.start()

    def _speak(self) -> None:
        seq, draw = 0, np.random.default_rng(0)
        last_s = time.time()
        while not self.stopping.wait(batch_s(HOSTS * GPUS)):
            now_s = time.time()
            count = round((now_s - last_s) * HZ)
            times = tuple(last_s + (n + 1) / HZ for n in range(count))
            last_s = times[-1] if times else last_s
            for host in range(HOSTS):
                taken = ()
                if self.speaks:
                    taken = tuple(
                        Taken(metric, f"GPU-{host:02d}{n:02d}", times, tuple(draw.random(count)))
                        for n in range(GPUS)
                        for metric in METRICS
                    )
                self.on_message(message_of(NodeBatch(f"a{host}", seq, now_s, taken)))
            seq += 1
        self.cpu_s = time.thread_time()

    def tend(self, table):
        return {f"a{host}": time.time() for host in range(HOSTS)}

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join()


def cost(seconds: float, speaks: bool) -> float:
    """Percent of a core that a session of 64 GPUs takes in the notebook's process."""
    engine = Simulated(speaks)
    settings = SessionConfig(source="nvml", cluster="simulated")
    plain = measuring.make_engine
    measuring.make_engine = lambda *_: engine
    try:
        session = build_session(settings, subscribers=[Heard()], live=True)
        session.start()
        began, used = time.monotonic(), time.process_time()
        time.sleep(seconds)
        used, took = time.process_time() - used, time.monotonic() - began
        session.stop("completed")
    finally:
        measuring.make_engine = plain
    return 100 * (used - engine.cpu_s * took / (took + 0.5)) / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(header())
    print(f"distributed {distributed.__version__}, {WORKERS} workers that hold the GIL")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JUPYTER_DATA_DIR"] = folder
        spent = {True: [], False: []}
        for number in range(2 * options.rounds):
            speaks = bool(number % 2)
            spent[speaks].append(cost(10.0, speaks))
        print(f"64 GPUs at 10 Hz, six metrics, % of a core: {interval(spent[True])}")
        print(f"the same without a reading: {interval(spent[False])}")
        cluster = Cluster(Path(folder))
        try:
            names = ("arrived, messages", "merged, readings")
            for name, late in zip(names, latency(cluster, options.seconds), strict=True):
                p50, p99 = statistics.median(late), late[int(0.99 * len(late))]
                print(
                    f"{name}, ms, {len(late)} of them: p50 {p50:.0f}, p99 {p99:.0f}, "
                    f"max {late[-1]:.0f}"
                )
            back, lost = recovery(cluster, options.kills)
            times = ", ".join(f"{one:.2f}" for one in back)
            print(f"back after SIGKILL, s: {times}; readings sent and lost: {lost}")
        finally:
            cluster.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
