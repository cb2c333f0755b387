"""Traces as the recorder writes them, made without a run."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.recommendation import MemoryEstimate, Recommendation
from jupyter_gpupredict.core.series import Device, Readings, Series
from jupyter_gpupredict.core.trace import event_to_json

KERNEL = "3f1e5c1a-0000-4000-8000-000000000001"
UUID = "GPU-11111111-2222-3333-4444-555555555555"
SHARE = Series("gpu_util_ratio", UUID)
MEMORY = Series("memory_used_bytes", UUID)


def session_id(number: int, host: str = "gpu7") -> str:
    """Return the id of the n-th run: one a minute."""
    hours, minutes = divmod(number, 60)
    days, hours = divmod(hours, 24)
    return f"202601{1 + days:02d}T{hours:02d}{minutes:02d}00Z-{host}-4711-{number % 65536:04x}"


def started(run: str, **changes: object) -> ev.SessionStarted:
    made = ev.SessionStarted(
        seq=0,
        t_s=0.0,
        session_id=run,
        started_at="2026-01-01T00:00:00.000+00:00",
        source="nvml",
        simulated=False,
        share=SHARE,
        memory=MEMORY,
        period_s=0.2,
        devices=(Device(UUID, "NVIDIA H200", 0, 143771 << 20),),
        series=(SHARE, MEMORY),
        config={"rule": "default"},
        versions={"jupyter_gpupredict": "0.1.0", "driver": "580.00"},
        kernel_id=KERNEL,
        host=socket.gethostname(),
        pid=os.getpid(),
        code_hash="ab" * 32,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def samples(seq: int, values: Sequence[float], memory: float = 1e9) -> ev.SamplesTaken:
    """One read of a second: its values end at second `seq`."""
    times = tuple(seq - 1 + (n + 1) / len(values) for n in range(len(values)))
    return ev.SamplesTaken(
        seq,
        float(seq),
        (Readings(SHARE, times, tuple(values)), Readings(MEMORY, (float(seq),), (memory,))),
    )


def advice(state: str = "converged", target: float | None = 0.43) -> Recommendation:
    return Recommendation(
        state=state,  # type: ignore[arg-type]
        reason="2 windows agree",
        metric="gpu_util_ratio",
        basis="time_share",
        coverage_target_ratio=0.95,
        target_ratio=target,
        mean_ratio=0.31,
        coverage_ratio=0.97,
        watched_s=600.0,
        converged_at_s=600.0,
        memory=MemoryEstimate(3e9, 3.45e9, "device-wide", "peak with margin"),
        confidence=None,
        sampled_ratio=1.0,
    )


def finished(seq: int, outcome: str = "completed", **changes: object) -> ev.SessionFinished:
    made = ev.SessionFinished(seq, float(seq), outcome, advice(), 10 * seq, float(seq), 0.1)
    return replace(made, **changes)  # type: ignore[arg-type]


def write(root: Path, run: str, events: Sequence[ev.Event]) -> Path:
    """Append events to a run's trace."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{run}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.writelines(event_to_json(event) + "\n" for event in events)
    return path


def whole_run(root: Path, run: str, **changes: object) -> Path:
    """Write a run that has its end."""
    middle = [samples(1, [0.1, 0.9]), ev.RecommendationUpdated(2, 2.0, advice())]
    return write(root, run, [started(run, **changes), *middle, finished(3)])
