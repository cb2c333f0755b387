"""Runs as their events, made by hand."""

from __future__ import annotations

import math

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.recommendation import Confidence, MemoryEstimate, Recommendation
from jupyter_gpupredict.core.run import Run, fold
from jupyter_gpupredict.core.series import Device, Readings, Series

SHARE = Series("gpu_util_ratio", "GPU-1")
MEMORY = Series("memory_used_bytes", "GPU-1")
GIB = 1 << 30


def recommendation(state: str = "converged", **changes) -> Recommendation:
    fields = {
        "state": state,
        "reason": "windows agree after 900 s of activity",
        "metric": "gpu_util_ratio",
        "basis": "time_share",
        "coverage_target_ratio": 0.95,
        "target_ratio": 0.87,
        "mean_ratio": 0.714,
        "coverage_ratio": 0.968,
        "watched_s": 900.0,
        "converged_at_s": 900.0,
        "memory": MemoryEstimate(9 * GIB, int(10.35 * GIB), "process", "peak 8 min old x 1.15"),
        "confidence": Confidence(143.2, 4.19, 0.88),
        "sampled_ratio": 1.0,
    }
    return Recommendation(**{**fields, **changes})


def started(**changes) -> ev.SessionStarted:
    fields = {
        "session_id": "20260101T000000Z-host-1-abcd",
        "started_at": "2026-01-01T00:00:00+00:00",
        "source": "nvml",
        "simulated": False,
        "share": SHARE,
        "memory": MEMORY,
        "period_s": 0.2,
        "devices": (Device("GPU-1", "NVIDIA H200"),),
        "series": (SHARE, MEMORY),
        "config": {},
        "versions": {},
    }
    return ev.SessionStarted(0, 0.0, **{**fields, **changes})


def events(seconds: float = 60.0, told: Recommendation | None = None, **changes) -> list[ev.Event]:
    """A run of one batch a second at 5 Hz, a hole at 10 to 12 s, windows of a tenth of it."""
    told = told or recommendation()
    found: list[ev.Event] = [started(**changes)]
    for second in range(1, int(seconds) + 1):
        at = tuple(second - 1 + k / 5 for k in range(5))
        value = math.nan if 10 <= second < 12 else 0.5 + 0.4 * math.sin(second / 7)
        found.append(
            ev.SamplesTaken(
                len(found),
                float(second),
                (
                    Readings(SHARE, at, (value,) * 5),
                    Readings(MEMORY, (float(second),), (GIB * (1 + second / seconds),)),
                ),
            )
        )
    for tenth in range(10):
        span = (seconds * tenth / 10, seconds * (tenth + 1) / 10)
        found.append(ev.WindowClosed(len(found), seconds, *span, 1.0, 0.87, 0.7, False))
    found.append(ev.StateChanged(len(found), seconds, "watching", told.state, told.reason))
    found.append(ev.RecommendationUpdated(len(found), seconds, told))
    return found


def finished(found: list[ev.Event], **changes) -> ev.SessionFinished:
    fields = {
        "outcome": "completed",
        "recommendation": None,
        "samples": 5 * len(found),
        "duration_s": found[-1].t_s,
        "overhead_s": 0.1,
        "errors": (),
    }
    return ev.SessionFinished(len(found), found[-1].t_s, **{**fields, **changes})


def run(seconds: float = 60.0, told: Recommendation | None = None, **changes) -> Run:
    """A finished run."""
    found = events(seconds, told, **changes)
    return fold([*found, finished(found)])
