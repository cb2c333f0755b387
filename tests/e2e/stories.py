"""Runs as their events, one for each word of an answer: made up, and so marked as simulated."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.recommendation import Confidence, MemoryEstimate, Recommendation
from jupyter_gpupredict.core.series import Device, Readings, Series

GIB = 1 << 30
CARD = Device("GPU-1f3a5c7e-0000-4000-8000-00000000a100", "NVIDIA A100-SXM4-80GB", 0, 80 * GIB, 108)
WORDS = (
    "settled",
    "provisional",
    "settling",
    "changed",
    "observed",
    "not used yet",
    "no GPU",
    "too short",
)
ENDS = {"settled": 720, "too short": 4, "settling": 46, "changed": 240, "not used yet": 60}
"""Word -> seconds of its run; 300 of others."""


def session_id(number: int, pid: int = 4711) -> str:
    """Return the id of a run: the higher the number, the newer."""
    began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - 86_400 + number))
    return f"{began}-{socket.gethostname()}-{pid}-{number % 65536:04x}"


def usage(word: str, second: int) -> float:
    """Return the share at a second: waves, with a validation once a minute."""
    if word == "not used yet":
        return 0.0
    wave = 0.03 * math.sin(second / 7) + 0.02 * math.sin(second / 2.3)
    level = 0.57 if second % 60 < 54 else 0.12
    if word == "changed" and second > 130:
        level += 0.22
    return min(1.0, max(0.0, level + wave))


def advice(word: str, end_s: float, device: str, **changes: Any) -> Recommendation:
    """Return what is recommended at the end of such a run."""
    gpu = word != "no GPU"
    state: Any = {"settling": "watching", "changed": "stale", "not used yet": "warming"}.get(
        word, "abstained" if word in ("observed", "too short") else "converged"
    )
    known = state == "converged"
    memory = MemoryEstimate(6.9 * GIB, 7.93 * GIB if known else None, "process", "1.15 x the peak")
    made = Recommendation(
        state=state,
        reason="three windows agree" if known else "the windows do not agree yet",
        metric="gpu_util_ratio" if gpu else "cpu_util_ratio",
        basis="time_share",
        coverage_target_ratio=0.95,
        target_ratio=0.6 if known or state == "watching" else None,
        mean_ratio=0.53,
        coverage_ratio={"settled": 0.97, "provisional": 0.88}.get(word, 0.95 if known else None),
        watched_s=end_s,
        converged_at_s=120.0 if known else None,
        memory=memory if gpu else replace(memory, basis="rss"),
        confidence=Confidence(40.0, 1.5, 0.92, lower_ratio=0.57, upper_ratio=0.64),
        sampled_ratio=1.0,
        total_s=2400.0 if word == "settled" else None,
        device=device,
        active_s=0.0 if word == "not used yet" else end_s,
        observed_ratio=0.82 if word == "changed" else 0.6,
        withdrawn=(0.6, 130.0) if word == "changed" else None,
    )
    return replace(made, **changes)


def run(
    session: str, word: str, *, kernel: str = "", over: bool = True, **changes: Any
) -> list[ev.Event]:
    """Return the events of a run that ends with this word.

    Args:
        session: Its id.
        word: What its answer says.
        kernel: Its kernel's id.
        over: Whether it has ended.
        changes: Of `SessionStarted`.
    """
    return list(_numbered(session, word, kernel, over, changes))


def _numbered(
    session: str, word: str, kernel: str, over: bool, changes: dict[str, Any]
) -> Iterator[ev.Event]:
    for seq, event in enumerate(_events(session, word, kernel, over, changes)):
        yield replace(event, seq=seq)


def _events(
    session: str, word: str, kernel: str, over: bool, changes: dict[str, Any]
) -> Iterator[ev.Event]:
    gpu = word != "no GPU"
    devices = changes.pop("devices", (CARD,) if gpu else (Device("cpu", "x86_64", cpu_count=8),))
    main = devices[0].uuid
    shares = [Series("gpu_util_ratio" if gpu else "cpu_util_ratio", one.uuid) for one in devices]
    memory = Series("process_memory_used_bytes" if gpu else "rss_bytes", main)
    at_s = time.time() - 86_400
    began = time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", time.gmtime(at_s))
    end = ENDS.get(word, 300)
    made = ev.SessionStarted(
        0, 0.0, session, began, "synthetic" if gpu else "cpu", gpu, shares[0], memory, 1.0, devices,
        (*shares, memory), {"rule": "default"}, {"jupyter_gpupredict": "0.1.0"},
        origin="made up for this picture", kernel_id=kernel or None, host=socket.gethostname(),
        pid=4711, code_hash="ab" * 32, notebook="train.ipynb", first_line="train(model, data)",
    )  # fmt: skip
    yield replace(made, **changes)
    state = "warming"
    for second in range(1, end + 1):
        at = float(second)
        rows = [
            Readings(one, (at,), (usage(word, second + 7 * n),)) for n, one in enumerate(shares)
        ]
        held = (Readings(memory, (at,), ((4 + 2.9 * min(1.0, second / 90)) * GIB,)),)
        yield ev.SamplesTaken(0, at, (*rows, *held))
        if second % 60 == 0:
            yield ev.WindowClosed(0, at, at - 60, at, 1.0, 0.6, 0.53, False)
            yield ev.ProgressMade(0, at, "epoch", second // 60, 40, "tqdm")
        if second == 120 and word in ("settled", "provisional", "changed"):
            yield ev.StateChanged(0, at, state, "converged", "three windows agree")
            state = "converged"
        if second == 130 and word == "changed":
            yield ev.StateChanged(0, at, state, "stale", "usage rose above the figure")
    last = advice(word, float(end), main)
    others = tuple(
        advice("settled", float(end), one.uuid, target_ratio=0.3 + n / 20)
        for n, one in enumerate(devices[1:])
    )
    yield ev.RecommendationUpdated(0, float(end), last, others)
    if over:
        outcome = "interrupted" if word == "observed" else "completed"
        yield ev.SessionFinished(
            0, float(end), outcome, last, end, float(end), 0.4, others=others,
            own_processes={one.uuid: 1 for one in devices},
        )  # fmt: skip


def with_mig() -> tuple[Device, ...]:
    """Return seven instances of a card that MIG has cut, and a whole card beside them."""
    name = "NVIDIA H100 80GB HBM3"
    instances = [
        Device(f"MIG-{n:08x}-0000-4000-8000-0000000{n:05x}", f"{name} MIG 1g.10gb", 0, 10 * GIB)
        for n in range(1, 8)
    ]
    return (*instances, Device("GPU-9b1d3f5e-0000-4000-8000-00000000f00d", name, 1, 80 * GIB, 132))
