import math

from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.recommendation import (
    AppliedShare,
    Confidence,
    MemoryEstimate,
    Recommendation,
)
from jupyter_gpupredict.core.run import History
from jupyter_gpupredict.core.series import Device, Readings, Series
from jupyter_gpupredict.core.trace import event_from_json, event_to_json

SHARE = Series("gpu_util_ratio", "GPU-1")
TOLD = Recommendation(
    state="converged",
    reason="windows agree",
    metric="gpu_util_ratio",
    basis="time_share",
    coverage_target_ratio=0.95,
    target_ratio=0.5,
    mean_ratio=0.4,
    coverage_ratio=None,
    watched_s=10.0,
    converged_at_s=9.0,
    memory=MemoryEstimate(1e9, None, "process", "young"),
    confidence=Confidence(20.0, 2.0, 0.68),
    sampled_ratio=1.0,
)
STARTED = ev.SessionStarted(
    seq=0,
    t_s=0.0,
    session_id="s",
    started_at="2026-01-01T00:00:00+00:00",
    source="nvml",
    simulated=False,
    share=SHARE,
    memory=None,
    period_s=0.2,
    devices=(Device("GPU-1", "H200", 0, 1 << 37, 132),),
    series=(SHARE,),
    config={"rule": "default", "window_s": None, "agree": 2, "until_converged": False},
    versions={"driver": "580"},
)
EVENTS = [
    STARTED,
    ev.SamplesTaken(1, 0.5, (Readings(SHARE, (0.1, 0.2), (0.5, 1.0)),)),
    ev.WindowClosed(2, 1.0, 0.0, 1.0, 1.0, 0.5, 0.4, False),
    ev.MetricUnavailable(3, 1.0, SHARE, "no_permission", "x"),
    ev.GapObserved(4, 1.0, 0.2, 0.9, "source"),
    ev.SourceLost(5, 1.0, "nvml", "device_lost"),
    ev.SourceRecovered(6, 2.0, "nvml", 1.0),
    ev.ProgressMade(7, 2.0, "epoch", 1.0, None, "tqdm"),
    ev.PhaseEntered(8, 2.0, "validation", "api"),
    ev.RecommendationUpdated(9, 2.0, TOLD),
    ev.StateChanged(10, 2.0, "watching", "converged", "agree"),
    ev.SubscriberDetached(11, 2.0, "trace", "disk full"),
    ev.ShareApplied(12, 2.0, AppliedShare(True, 37, None, "/run/x", False, None)),
    ev.SessionFinished(13, 3.0, "completed", TOLD, 2, 3.0, 0.01, ("x",)),
]


def test_every_event_survives_its_line_of_json():
    assert {type(e).__name__ for e in EVENTS} == set(ev.EVENTS)
    for event in EVENTS:
        line = event_to_json(event)
        assert "\n" not in line
        assert event_from_json(line) == event


def test_nan_travels_as_null():
    event = ev.SamplesTaken(0, 0.0, (Readings(SHARE, (0.1,), (math.nan,)),))
    line = event_to_json(event)
    assert "NaN" not in line
    assert math.isnan(event_from_json(line).readings[0].values[0])


def test_an_unknown_field_is_ignored():
    line = event_to_json(EVENTS[4]).replace('"cause"', '"new":1,"cause"')
    assert event_from_json(line) == EVENTS[4]


@given(st.lists(st.floats(0, 1), max_size=500), st.integers(2, 40))
def test_a_history_is_bounded_and_keeps_the_extremes(values, most):
    history = History(most)
    for number, value in enumerate(values):
        history.add(float(number), value)
    rows = history.rows()
    assert len(rows) == len(history) <= most
    if values:
        assert min(low for _, low, _ in rows) == min(values)
        assert max(high for _, _, high in rows) == max(values)
        assert rows[-1][0] == len(values) - 1
    assert [t for t, _, _ in rows] == sorted({t for t, _, _ in rows})
