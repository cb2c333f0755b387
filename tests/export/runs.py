"""Runs to export, made from events as a session writes them."""

import dataclasses

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.recommendation import Confidence, MemoryEstimate, Recommendation
from jupyter_gpupredict.core.run import fold
from jupyter_gpupredict.core.series import Device, Series
from jupyter_gpupredict.export import export_run, targets

SELECTOR = {"example.com/mps": "true"}
UUID = "GPU-00000000-0000-0000-0000-000000000000"
UNKNOWN = object()


def run(
    *, state="converged", source="nvml", metric="gpu_util_ratio", target=0.364, memory=5873.2,
    settled=True, total=143771, sm_count=None, uuid="GPU-1", origin="", basis="process",
    preallocated=False, outcome="completed", duration_s=700.0, total_s=None, total_high_s=None,
    name="NVIDIA H200", **more,
):  # fmt: skip
    """Return a run: 36.4 % of the time (or of the SMs) and 5873.2 MiB by default."""
    cpu = metric == "cpu_util_ratio"
    uuid = "cpu" if cpu else uuid
    share = Series(metric, uuid)
    told = Recommendation(
        state=state,
        reason="windows agree",
        metric=metric,
        basis="sm_share" if metric == "breadth_ratio" else "time_share",
        coverage_target_ratio=0.95,
        target_ratio=target,
        mean_ratio=0.3,
        coverage_ratio=0.97,
        watched_s=612.0,
        converged_at_s=612.0,
        memory=MemoryEstimate(
            memory * 2**20 / 1.15,
            memory * 2**20 if settled else None,
            "rss" if cpu else basis,
            "old enough",
            preallocated,
        ),
        confidence=Confidence(143.2, 4.19, 0.88),
        sampled_ratio=1.0,
        total_s=total_s,
        total_high_s=total_high_s,
    )
    device = Device(
        uuid, name, None if cpu else 0, None if total is None else total * 2**20, sm_count,
        4 if cpu else None,
    )  # fmt: skip
    started = ev.SessionStarted(
        seq=0, t_s=0.0, session_id="20260101T000000Z-host-1-abcd",
        started_at="2026-01-01T00:00:00+00:00", source=source,
        simulated=source in ("replay", "synthetic"), share=share, memory=None, period_s=0.2,
        devices=(device,), series=(share,), config={}, versions={}, code_hash="e" * 64,
        origin=origin, host="host",
    )  # fmt: skip
    found = fold([started, ev.SessionFinished(1, 700.0, outcome, told, 3000, duration_s, 0.1)])
    return dataclasses.replace(found, **more)


def breadth(**options):
    """Return a run that knows its share of the SMs."""
    return run(metric="breadth_ratio", **options)


def export(found, folder="unused", **options):
    """Export with what the pair needs."""
    chosen = {"workload": "job", "name": "train_resnet"} | options
    sharing = chosen.get("sharing")
    if sharing == "mps" and chosen["workload"] != "local":
        chosen.setdefault("node_selector", SELECTOR)
    if sharing == "mps-v3":
        chosen.setdefault("gpu_uuid", UUID)
    return export_run(found, output=folder, **chosen)


def ranked(found, count=3, **started):
    """The same of a distributed run, each of whose ranks needs that much."""
    main = dataclasses.replace(found.recommendation, device="")
    others = tuple(
        dataclasses.replace(main, device=f"GPU-{rank}", rank=rank) for rank in range(count)
    )
    header = dataclasses.replace(found.started, **started)
    return dataclasses.replace(found, started=header, recommendation=main, others=others)


def manifests(outcome):
    """Return path -> text of what a platform reads."""
    beside = ("gpupredict.json", "README.md", "deploy/Kustomization")
    return {path: text for path, text in outcome.texts.items() if path not in beside}


def judged(checked):
    """Return the findings of a checker from outside."""
    assert not checked.stderr, checked.stderr
    return checked.stdout.splitlines()


PAIRS = [(p["workload"], p["sharing"]) for p in targets() if p["supported"]]
