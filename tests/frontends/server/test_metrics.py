"""`metrics`: the runs as a Prometheus server sees them."""

import builtins
import time
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.errors import MissingExtra
from jupyter_gpupredict.core.summary import Summary
from jupyter_gpupredict.frontends.server import replies
from tests.frontends.server import traces


def read(text):
    """Return {(metric, session): (labels, value)}."""
    return {
        (sample.name, sample.labels["session"]): (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def now():
    return datetime.now(UTC).isoformat(timespec="milliseconds")


async def test_a_live_run(client, store):
    run = traces.session_id(1)
    told = ev.RecommendationUpdated(2, 2.0, traces.advice())
    begun = traces.started(run, started_at=now())
    traces.write(store, run, [begun, traces.samples(1, [0.5, 0.25]), told])
    status, text = await client.get("metrics")
    assert status == 200
    found = read(text)
    labels, value = found["gpupredict_session_info", run]
    assert value == 1.0
    assert labels["device"] == traces.UUID
    assert labels["basis"] == "time_share"
    assert labels["simulated"] == "false"
    assert found["gpupredict_session_state", run][0]["state"] == "converged"
    assert found["gpupredict_session_state", run][0]["outcome"] == "running"
    figures = {name: value for (name, _), (_, value) in found.items() if "session" not in name}
    assert figures == {
        "gpupredict_utilization_ratio": 0.25,
        "gpupredict_predicted_share_ratio": 0.43,
        "gpupredict_predicted_memory_bytes": 3.45e9,
        "gpupredict_mean_utilization_ratio": 0.31,
        "gpupredict_coverage_ratio": 0.97,
        "gpupredict_coverage_target_ratio": 0.95,
        "gpupredict_memory_peak_bytes": 3e9,
        "gpupredict_duration_seconds": 2.0,
    }


async def test_what_is_not_known_has_no_series(client, store):
    """No reading is NaN or 0; what is only observed is not a prediction."""
    run = traces.session_id(1)
    watching = ev.RecommendationUpdated(2, 2.0, traces.advice("watching"))
    begun = traces.started(run, started_at=now())
    traces.write(store, run, [begun, traces.samples(1, [float("nan")]), watching])
    names = {name for name, _ in read((await client.get("metrics"))[1])}
    assert "gpupredict_mean_utilization_ratio" in names
    assert not names & {
        "gpupredict_utilization_ratio",
        "gpupredict_predicted_share_ratio",
        "gpupredict_predicted_memory_bytes",
    }


async def test_only_live_runs_and_those_that_ended_lately(client, store):
    lately, long_ago = traces.session_id(1), traces.session_id(2)
    traces.whole_run(store, lately, started_at=now())
    traces.whole_run(store, long_ago)
    found = read((await client.get("metrics"))[1])
    assert {session for _, session in found} == {lately}
    assert found["gpupredict_session_state", lately][0]["outcome"] == "completed"
    assert ("gpupredict_utilization_ratio", lately) not in found


async def test_nothing_is_told_where_there_is_nothing(client):
    status, text = await client.get("metrics")
    assert (status, read(text)) == (200, {})


def summary(**changes):
    plain = dict(
        session_id="s", kernel_id='k"\n\\', host="h" * 5000, pid=1, started_at=now(),
        source="nvml", origin="", simulated=True, scope="device", metric="gpu_util_ratio",
        devices=(("GPU-1", "x"),), code_hash=None, last_time="", outcome="running",
    )  # fmt: skip
    return Summary(**{**plain, **changes})


def test_labels_are_bounded_and_quoted():
    labels, _ = read(replies.exposition([(summary(), 0.5)]))["gpupredict_session_info", "s"]
    assert labels["kernel"] == 'k" \\'  # no line of its own
    assert len(labels["host"]) == replies.LABEL_CHARACTERS


def test_a_missing_library_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"jupyter_gpupredict\[prometheus\]"):
        replies.exposition([])


async def test_fifty_live_runs_are_told_quickly(client, store):
    for number in range(60):
        run = traces.session_id(number)
        traces.write(store, run, [traces.started(run, started_at=now())])
    began = time.monotonic()
    found = read((await client.get("metrics"))[1])
    assert len({session for _, session in found}) == replies.NEWEST
    assert time.monotonic() - began < 10.0
