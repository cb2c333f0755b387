"""The card's words: each state of a run gives one word, and a figure that its evidence bears."""

import dataclasses
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.answer import answer, brief
from jupyter_gpupredict.core.card import SIGNS
from jupyter_gpupredict.core.recommendation import (
    AppliedShare,
    Confidence,
    MemoryEstimate,
    Recommendation,
    Verified,
    withheld,
)
from jupyter_gpupredict.core.run import fold
from jupyter_gpupredict.core.series import Device, Readings, Series
from jupyter_gpupredict.core.trace import event_from_json, event_to_json, without_nan

GIB = float(1 << 30)
UUIDS = [f"GPU-{number}1111111-2222-3333-4444-55555555555{number}" for number in range(8)]
SURE = Confidence(40.0, 1.5, 0.92, lower_ratio=0.55, upper_ratio=0.64)
FORBIDDEN = re.compile(r"\bis no\b|told of|covers .*\(converged\)|n_eff")


def advice(**changed):
    """A prediction of 60 % that settled after a minute and has held since."""
    given_ = {
        "state": "converged",
        "reason": "windows agree after 60 s of activity",
        "metric": "gpu_util_ratio",
        "basis": "time_share",
        "coverage_target_ratio": 0.95,
        "target_ratio": 0.60,
        "mean_ratio": 0.5,
        "coverage_ratio": 0.97,
        "watched_s": 720.0,
        "converged_at_s": 60.0,
        "memory": MemoryEstimate(6.9 * GIB, 7.935 * GIB, "process", "1.15 x the peak"),
        "confidence": SURE,
        "sampled_ratio": 1.0,
        "device": UUIDS[0],
        "active_s": 700.0,
        "observed_ratio": 0.66,
    }
    return Recommendation(**given_ | changed)


def made(recommendation, duration_s=720.0, outcome="running", error="", others=(), **changed):
    """A run with this recommendation."""
    metric = recommendation.metric if recommendation else "gpu_util_ratio"
    share = Series(metric, UUIDS[0])
    first = ev.SessionStarted(
        **{
            "seq": 0,
            "t_s": 0.0,
            "session_id": "20260102T030405Z-host-42-a1b2",
            "started_at": "2026-01-02T03:04:05+00:00",
            "source": "nvml",
            "simulated": False,
            "share": share,
            "memory": None,
            "period_s": 0.1,
            "devices": (Device(UUIDS[0], "NVIDIA A100-SXM4-80GB", 0, 80 << 30, 108),),
            "series": (share,),
            "config": {},
            "versions": {"driver": "550.1"},
        }
        | changed
    )
    found = [first]
    if recommendation is not None:
        found.append(ev.RecommendationUpdated(1, duration_s, recommendation, tuple(others)))
    if outcome == "running":
        return dataclasses.replace(fold(found), outcome="running", duration_s=duration_s)
    found.append(
        ev.SessionFinished(
            2, duration_s, outcome, recommendation, 100, duration_s, 0.1, others=tuple(others),
            error=error,
        )
    )  # fmt: skip
    return fold(found)


def test_a_settled_figure():
    told = answer(made(advice(total_s=2400.0, progress="6 of 20 epochs complete (from tqdm)")))
    assert (told.word, told.sign, told.tone) == ("settled", "●", "good")
    assert told.headline == "Busy 60 % of the time, needs 7.9 GiB"
    assert told.meaning == "covers 95 % of the time · peak 6.9 GiB + 15 %"
    assert told.evidence.startswith(
        "watched 12 min of about 40 min · held 97 % of the time since · epochs 6 of 20 · A100 80GB"
    )
    assert [one.id for one in told.actions] == ["export", "sweep", "details", "compare"]
    assert told.predicted


@pytest.mark.parametrize(
    ("changed", "duration_s", "word"),
    [
        ({"active_s": 30.0}, 720.0, "settled"),
        ({"active_s": 29.9}, 720.0, "settling"),
        ({"confidence": Confidence(5.0, 1.0, None)}, 720.0, "settled"),
        ({"confidence": Confidence(4.9, 1.0, None)}, 720.0, "settling"),
        ({"coverage_ratio": 0.90}, 720.0, "settled"),
        ({"coverage_ratio": 0.89}, 720.0, "provisional"),
        ({"coverage_ratio": 0.85}, 720.0, "provisional"),
        ({"coverage_ratio": 0.84}, 720.0, "changed"),
        ({"coverage_ratio": 0.84}, 79.9, "provisional"),  # 20 s after convergence at 60 s
        ({"coverage_ratio": None}, 720.0, "settled"),
        ({"state": "watching", "converged_at_s": None, "confidence": None}, 46.0, "settling"),
        ({"state": "stale", "target_ratio": None}, 240.0, "changed"),
        ({"state": "warming", "target_ratio": None, "active_s": 0.0}, 60.0, "not used yet"),
        ({}, 4.9, "too short"),
    ],
)
def test_words_while_it_runs(changed, duration_s, word):
    told = advice(**{"watched_s": duration_s} | changed)
    assert answer(made(told, duration_s)).word == word


@pytest.mark.parametrize(
    ("state", "outcome", "word"),
    [
        ("converged", "completed", "settled"),
        ("converged", "interrupted", "settled"),
        ("converged", "stopped", "settled"),
        ("converged", "failed", "observed"),
        ("abstained", "completed", "observed"),
        ("abstained", "interrupted", "observed"),
        ("watching", "lost", "observed"),
        ("stale", "completed", "changed"),
    ],
)
def test_words_of_a_run_that_is_over(state, outcome, word):
    run = made(advice(state=state), outcome="completed" if outcome == "lost" else outcome)
    assert answer(dataclasses.replace(run, outcome=outcome)).word == word


def test_a_withdrawn_figure_shows_what_was_observed():
    told = answer(
        made(advice(state="stale", target_ratio=None, withdrawn=(0.42, 130.0), confidence=None))
    )
    assert told.headline == "Busy 66 % of the time, peak 6.9 GiB: observed, not predicted"
    assert told.meaning.startswith(
        "usage rose above the predicted 42 % at 2 min 10 s; the prediction was withdrawn"
    )
    assert "learning again" in told.evidence
    assert (told.figure.high_ratio, told.predicted) == (0.66, False)
    assert told.actions[0].label == "Export anyway…"


def test_a_failure_is_named_first():
    full = advice(
        state="abstained", memory=MemoryEstimate(78.9 * GIB, None, "process", "it is young")
    )
    told = answer(made(full, outcome="failed", error="OutOfMemoryError"))
    assert told.headline.startswith("Stopped by OutOfMemoryError at 78.9 of 80.0 GiB; busy 60 %")
    assert told.word == "observed"
    other = answer(made(full, outcome="failed", error="ValueError"))
    assert other.headline.startswith("Stopped by ValueError; busy 60 % of the time, peak 78.9 GiB")


def test_an_unused_gpu_is_no_one_percent():
    idle = advice(state="warming", target_ratio=None, mean_ratio=None, active_s=0.0)
    told = answer(made(idle, 60.0))
    assert told.headline.startswith("The GPU was not used yet: busy 0 % of the time")
    assert told.figure is None


def test_the_cpu_says_so_first():
    host = MemoryEstimate(0.3 * GIB, None, "rss", "it is young")
    cpus = (Device("cpu", "CPU", cpu_count=4),)
    told = answer(made(advice(metric="cpu_util_ratio", memory=host), source="cpu", devices=cpus))
    assert told.headline == "CPU: uses 60 % of 4 CPU cores, at least 0.3 GiB of host memory so far"
    assert told.word == "no GPU"
    assert "sweep" not in [one.id for one in told.actions]


@pytest.mark.parametrize(
    ("source", "begin"),
    [("replay", "Replayed: "), ("recording", "Recorded: "), ("made", "Simulated: ")],
)
def test_what_is_not_measured_says_so_first(source, begin):
    told = answer(made(advice(), source=source, simulated=True))
    assert told.headline.startswith(begin)
    assert told.simulated


def test_shares_of_time_and_of_sms_are_never_mixed():
    breadth = advice(metric="breadth_ratio", basis="sm_share", target_ratio=0.41)
    assert answer(made(breadth)).headline == "Needs 41 % of the GPU's SMs and 7.9 GiB"
    tried = Verified(
        percent=38, kept=True, speed_ratio=0.98, low_ratio=0.97, high_ratio=0.99, method="verify",
        pairs=5, unit="step", code_hash=None, device="A100", driver="550.1", session_id="", at="",
    )  # fmt: skip
    told = answer(dataclasses.replace(made(advice()), verified=tried))
    assert told.headline == "Needs 38 % of the GPU's SMs and 7.9 GiB"
    assert told.meaning.startswith("keeps 98 % of full speed, tried")
    assert told.figure.method == "verified"


def test_a_capped_run_predicts_nothing():
    capped = withheld(advice(), "48 of 132 SMs")
    told = answer(made(capped, outcome="completed"))
    assert (told.word, told.predicted) == ("observed", False)
    assert "capped at 48 of 132 SMs" in told.meaning


def test_devices_are_told_apart():
    mig = [f"MIG-{number}1111111-2222-3333-4444-55555555abc{number}" for number in range(8)]
    devices = tuple(
        Device(uuid, "NVIDIA H100 80GB HBM3 MIG 1g.10gb", number) for number, uuid in enumerate(mig)
    )
    others = [
        advice(device=uuid, target_ratio=0.1 * number) for number, uuid in enumerate(mig) if number
    ]
    told = answer(
        made(
            advice(device=mig[0], target_ratio=0.05),
            others=others,
            share=Series("gpu_util_ratio", mig[0]),
            devices=devices,
        )
    )
    assert len({(one.index, one.mig, one.ending) for one in told.devices}) == 8
    assert {(one.name, one.mig) for one in told.devices} == {("H100 80GB", "1g.10gb")}
    assert told.devices[7].share == "70 % of the time"


def test_what_changes_the_meaning_is_a_note():
    around = ev.Surroundings(
        other_processes=2, throttled={"power cap": 0.2, "sync boost": 0.01}, missing_s=100.0,
        lost_reason="GPU is lost",
    )  # fmt: skip
    finished = ev.SessionFinished(
        2, 720.0, "completed", advice(), 0, 720.0, 0.1, surroundings=around
    )
    notes = answer(fold([made(advice()).started, finished])).notes
    assert [one.split(":")[0] for one in notes] == [
        "2 others on the GPU",
        "the clocks were held down",
        "no readings for 2 min of 12 min",
        "the driver stopped answering",
    ]
    assert "sync boost" not in " ".join(notes)


def test_a_reader_of_both_ends_answers_as_a_reader_of_all():
    started = made(advice()).started
    series = Series("other_process_count", UUIDS[0])
    events = [
        started,
        ev.SamplesTaken(1, 1.0, (Readings(started.share, (0.5, 1.0), (0.5, 0.6)),)),
        ev.SamplesTaken(2, 2.0, (Readings(series, (2.0,), (1.0,)),)),
        ev.GapObserved(3, 300.0, 100.0, 300.0, "source"),
    ]
    around = ev.Surroundings(other_processes=1, missing_s=200.0)
    finished = ev.SessionFinished(
        4, 720.0, "completed", advice(), 2, 720.0, 0.1, surroundings=around
    )
    stored = [event_from_json(event_to_json(one)) for one in (started, finished)]
    assert answer(fold([*events, finished])) == answer(fold(stored))


ratios = st.none() | st.floats(0.0, 1.0)
advices = st.builds(
    advice,
    state=st.sampled_from(["warming", "watching", "converged", "stale", "abstained"]),
    target_ratio=ratios,
    mean_ratio=ratios,
    observed_ratio=ratios,
    coverage_ratio=ratios,
    active_s=st.none() | st.floats(0.0, 1e6),
    confidence=st.none() | st.builds(Confidence, st.floats(0.0, 1e4), st.just(1.0), ratios),
    memory=st.none()
    | st.builds(
        MemoryEstimate,
        st.just(math.nan) | st.floats(0.0, 1e12),
        st.none() | st.floats(1.0, 1e12),
        st.sampled_from(["process", "device-wide", "rss"]),
        st.just("said"),
        st.booleans(),
    ),
    metric=st.sampled_from(["gpu_util_ratio", "cpu_util_ratio"]),
    converged_at_s=st.none() | st.floats(0.0, 1e5),
)
outcomes = st.sampled_from(["running", "completed", "failed", "interrupted", "stopped"])


@given(st.none() | advices, st.floats(0.0, 1e6), outcomes, st.sampled_from(["", "KeyError"]))
def test_every_run_has_an_answer(recommendation, duration_s, outcome, error):
    told = answer(made(recommendation, duration_s, outcome, error))
    assert (told.sign, told.tone) == SIGNS[told.word]
    assert brief(made(recommendation, duration_s, outcome, error)).headline == told.headline
    details = told.details
    rows = [*details.usage, *details.memory, *details.measuring]
    assert len(rows) <= 12
    assert all(row.value for row in rows)
    shown = [
        told.headline,
        told.meaning,
        told.evidence,
        *told.notes,
        *(a.label for a in told.actions),
    ]
    assert all(shown[:1])
    assert not FORBIDDEN.search("\n".join(shown))
    if duration_s >= 5.0 and recommendation is not None:
        assert re.search(r"\d", told.headline)
    if told.word == "settled":
        assert told.predicted
        assert recommendation.state == "converged"
    json.dumps(without_nan(told.as_dict()), allow_nan=False)


def test_an_mps_refusal_is_a_note():
    run = dataclasses.replace(made(advice()), applied=AppliedShare(False, reason="no daemon"))
    assert answer(run).notes == ("ran without MPS: no daemon",)
