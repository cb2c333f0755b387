"""The event fixtures that Python and TypeScript share: one of each kind, and the words for them.

`python -m tests.core.test_event_fixtures` writes them anew after a change of the events.
"""

import dataclasses
import json
import math
from pathlib import Path

from jupyter_gpupredict.core import events as kinds
from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.events import EVENTS
from jupyter_gpupredict.core.recommendation import (
    AllocatorPeak,
    AppliedShare,
    Block,
    Confidence,
    MemoryEstimate,
    Profile,
    Recommendation,
    SmNeed,
)
from jupyter_gpupredict.core.run import RunFold
from jupyter_gpupredict.core.series import Device, Readings, Series
from jupyter_gpupredict.core.trace import event_from_json, event_to_json, without_nan

FOLDER = Path(__file__).resolve().parents[1] / "data" / "events"
UUID = "GPU-11111111-2222-3333-4444-555555555555"
SHARE = Series("gpu_util_ratio", UUID)
MEMORY = Series("process_memory_used_bytes", UUID)
GIB = float(1 << 30)


def recommendation(**changed):
    """A settled recommendation, with the given fields changed."""
    return dataclasses.replace(
        Recommendation(
            state="converged",
            reason="three windows agree within 3 points",
            metric="gpu_util_ratio",
            basis="time_share",
            coverage_target_ratio=0.95,
            target_ratio=0.43,
            mean_ratio=0.31,
            coverage_ratio=0.98,
            watched_s=92.5,
            converged_at_s=61.0,
            memory=MemoryEstimate(10 * GIB, 11.5 * GIB, "process", "1.15 x the peak"),
            confidence=Confidence(40.0, 1.5, 0.92, lower_ratio=0.4, upper_ratio=0.46),
            sampled_ratio=0.997,
            remaining_s=300.0,
            remaining_low_s=280.0,
            remaining_high_s=330.0,
            total_s=392.5,
            total_high_s=422.5,
            progress="epoch 3 of 10, from tqdm",
            device=UUID,
            slowdown=(1.02, 1.3),
            active_s=90.0,
            observed_ratio=0.41,
            withdrawn=(0.35, 20.0),
            geometry=SmNeed(
                sms=132,
                low_sms=20,
                high_sms=44,
                speed_ratio=0.9,
                curve=((50.0, 1.0, 1.05),),
                kernels=5200,
                by="torch.profiler",
                collective_sms=8,
                windows=3,
                watched_s=3.0,
                not_understood_ratio=0.01,
            ),
        ),
        **changed,
    )


def every_kind():
    """One event of each kind, numbered; every optional field is filled."""
    started = kinds.SessionStarted(
        seq=0,
        t_s=0.0,
        session_id="20250102T030405Z-host-4242-a1b2",
        started_at="2025-01-02T03:04:05+00:00",
        source="nvml",
        simulated=False,
        share=SHARE,
        memory=MEMORY,
        period_s=0.1,
        devices=(Device(UUID, "NVIDIA H200", 0, 143771 << 20, 132, assumed=True),),
        series=(SHARE, MEMORY),
        config={"coverage": 0.95, "rule": "windows", "until_converged": False, "device": None},
        versions={"jupyter_gpupredict": "0.1.0", "driver": "550.1"},
        notes=("device-wide: other processes are in it",),
        buffer_s=14.0,
        kernel_id="11111111-2222-3333-4444-555555555555",
        host="host",
        pid=4242,
        code_hash="0" * 64,
        last_time="43 % last time",
        environment="0123456789abcdef",
        notebook="work/train.ipynb",
        cell_id="a1b2c3d4",
        first_line="train(model, epochs=10)",
        tuning={"epochs": 10.0},
        outline_hash="1" * 64,
        changed="epochs 5 → 10 since the run of 2025-01-01, whose figures are not used",
    )
    readings = (
        Readings(SHARE, (0.1, 0.2, 0.3), (0.4, math.nan, 0.5)),
        Readings(MEMORY, (0.3,), (10 * GIB,)),
    )
    beside = recommendation(metric="breadth_ratio", basis="sm_share", target_ratio=0.25)
    around = kinds.Surroundings(2, {"power cap": 0.25}, 1.5, 0.1, "code 15", (UUID,))
    block = Block(((40, 29.0), (43, 1.0)), 0.401)
    return [
        started,
        kinds.SamplesTaken(1, 0.35, readings),
        kinds.WindowClosed(2, 10.0, 0.0, 10.0, 0.99, 0.43, 0.31, void=False),
        kinds.MetricUnavailable(3, 10.1, Series("power_watts", UUID), "no_permission", "code 4"),
        kinds.GapObserved(4, 12.0, 11.0, 12.0, "late_thread"),
        kinds.SourceLost(5, 13.0, "nvml", "device_lost", "code 15"),
        kinds.SourceRecovered(6, 15.0, "nvml", 2.0),
        kinds.ProgressMade(7, 16.0, "epoch", 3.0, 10.0, "tqdm"),
        kinds.PhaseEntered(8, 17.0, "validate", "explicit"),
        kinds.RecommendationUpdated(9, 61.0, recommendation(), (beside,), around),
        kinds.StateChanged(10, 61.0, "watching", "converged", "three windows agree"),
        kinds.SubscriberDetached(11, 70.0, "widget", "OSError: gone"),
        kinds.ShareApplied(
            12,
            80.0,
            AppliedShare(
                True, 37, 2 << 30, "/tmp/gpupredict-mps-0-a1b2/pipe", False, True, 48, 132, "said"
            ),
        ),
        kinds.SessionFinished(
            13,
            392.5,
            "completed",
            recommendation(remaining_s=None, remaining_low_s=None, remaining_high_s=None),
            3900,
            392.5,
            0.8,
            ("widget: OSError: gone",),
            Profile(30.0, (block,), block, 392.0),
            (beside,),
            AllocatorPeak("torch", 9 * GIB, 9.5 * GIB),
            own_processes={UUID: 2},
            joined=(Device("GPU-2", "NVIDIA H200", 1, 143771 << 20, 132),),
            hosts=2,
            surroundings=around,
            error="KeyboardInterrupt",
        ),
    ]


def answers():
    """The whole run's answer, and that of one which is still measured: what the panel shows."""
    events = every_kind()
    return [
        without_nan(answer(made.record(live=True)).as_dict())
        for made in (_folded(events), _folded(events[:10]))
    ]


def _folded(events):
    made = RunFold()
    for event in events:
        made.add(event)
    return made


def texts():
    """File name -> text of each fixture."""
    return {
        "every-kind.jsonl": "".join(event_to_json(event) + "\n" for event in every_kind()),
        "answers.json": json.dumps(answers(), indent=1, ensure_ascii=False) + "\n",
    }


def test_one_of_each_kind_in_a_row():
    events = every_kind()
    assert {type(event).__name__ for event in events} == set(EVENTS)
    assert [event.seq for event in events] == list(range(len(events)))


def test_every_field_is_filled():
    """Else TypeScript would not learn of it; NaN in the readings is there on purpose."""
    for event in every_kind():
        if not isinstance(event, kinds.SessionFinished):  # of a finished run nothing is left
            assert None not in json.loads(event_to_json(event)).values()


def test_the_fixtures_are_what_python_writes():
    for name, text in texts().items():
        assert (FOLDER / name).read_text() == text, f"{name}: write the fixtures anew"


def test_python_reads_them_back():
    lines = (FOLDER / "every-kind.jsonl").read_text().splitlines()
    assert [event_to_json(event_from_json(line)) for line in lines] == lines


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, content in texts().items():
        (FOLDER / file).write_text(content)
