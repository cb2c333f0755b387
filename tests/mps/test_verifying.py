"""Verify and sweep on a function whose speed depends on the share that its process is given."""

import dataclasses
import math
import random
import signal
import threading

import pytest

from jupyter_gpupredict.core.errors import InvalidOption, MpsError, VerifyRefused
from jupyter_gpupredict.core.progress import Phase, Progress
from jupyter_gpupredict.core.recommendation import AppliedShare
from jupyter_gpupredict.mps.child import Program
from jupyter_gpupredict.mps.isolation import Subject
from jupyter_gpupredict.mps.lease import Host, Lease
from jupyter_gpupredict.mps.verification import Bound, Count, common_unit, sweep, verify
from jupyter_gpupredict.predict import slowdown
from jupyter_gpupredict.run.sidecars import VERIFIED_NAME, VerifiedStore
from jupyter_gpupredict.run.store import build_store

SHARE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
NEEDS_40 = f"""
import os, time
from jupyter_gpupredict import track
share = int(os.environ.get("{SHARE}", 100))
step_s = 0.02 * max(1.0, 40 / share)  # needs 40 % of the SMs, and no more
def train(params):
    for _ in track(range(10_000), unit="step"):
        time.sleep(step_s)
"""
STAMPED = f"""
import os, time
share = int(os.environ.get("{SHARE}", 100))
step_s = 0.02 * max(1.0, 40 / share)
class Stamps:
    \"\"\"The steps of NEEDS_40 with the stamps that they would have on a machine of our own.\"\"\"
    def poll(self):
        if not hasattr(self, "told"):
            self.told = True
            for n in range(200):
                yield {{"mark": "progress", "time_s": n * step_s, "unit": "step", "done": n,
                       "total": None, "hint": "api"}}
def train(params):
    time.sleep(30)
"""
FINISHES = f"""
import os, time
def train(params):
    time.sleep(0.2 * max(1.0, 40 / int(os.environ.get("{SHARE}", 100))))
"""
SMS = f"""
import os
def sms():
    return 132 * int(os.environ.get("{SHARE}", 100)) // 100
"""
PROGRESS = "jupyter_gpupredict.mps.isolation:Listening"


def a_host(attached=True):
    def lease(percent, memory_mib):
        share = AppliedShare(active=True, percentage=percent)
        changes = {SHARE: None if percent is None else str(percent)}
        return Lease(changes, share, attached=lambda _: (attached, ""))

    return Host(lease, "A fake GPU", "1.2.3", 132)


def subject(text, code_hash="c0de", sms=SMS):
    progress = "train_fn:Stamps" if "class Stamps" in text else PROGRESS
    program = Program(text + sms, progress=progress, sm_count="train_fn:sms")
    return Subject(program, code_hash, "session")


def ledger():
    return VerifiedStore(build_store().root)


def test_a_share_that_is_wide_enough_is_verified_and_kept():
    told = []
    found = verify(subject(STAMPED), 60, Bound(seconds=1.0), 3, on_trial=told.append, host=a_host())
    assert found.unit == "step"
    assert [trial.percent for trial in told] == [100, 60, 60, 100, 100, 60]
    assert found.record.kept
    assert found.record.speed_ratio == pytest.approx(1.0)
    assert found.stored == ""
    kept = ledger().newest("c0de", "A fake GPU", "1.2.3")
    assert kept == found.record
    assert ledger().newest("c0de", "Another GPU", "1.2.3") is None
    assert ledger().newest("c0de", "A fake GPU", "9.9.9") is None
    assert ledger().newest("other", "A fake GPU", "1.2.3") is None
    assert ledger().newest(None, "A fake GPU", "1.2.3", "session") == kept


def test_a_share_that_is_too_narrow_is_not_kept_and_takes_back_what_was_said():
    wide = verify(subject(STAMPED), 80, Bound(seconds=1.0), 2, host=a_host())
    narrow = verify(subject(STAMPED), 20, Bound(seconds=1.0), 2, host=a_host())
    assert not narrow.record.kept
    assert narrow.record.slowdown == pytest.approx(2.0)  # 40 / 20
    assert ledger().newest("c0de", "A fake GPU", "1.2.3") == wide.record
    ledger().add(dataclasses.replace(wide.record, percent=90, kept=False))
    assert ledger().newest("c0de", "A fake GPU", "1.2.3") is None


def test_a_real_loop_is_counted_by_the_clock():
    found = verify(subject(NEEDS_40), 10, Bound(seconds=2.0), 2, host=a_host())
    assert found.unit == "step"
    assert not found.record.kept
    assert 2.0 < found.record.slowdown < 5.0  # 40 / 10 on a machine with nothing else to do


def test_steps_bound_the_runs_too():
    found = verify(subject(NEEDS_40), 50, Bound(steps=30), 2, host=a_host())
    assert found.unit == "step"
    assert all(trial.runs_per_s is None for trial in found.trials)


def test_a_function_without_steps_is_timed_to_its_end():
    found = verify(subject(FINISHES), 20, Bound(seconds=20.0), 2, host=a_host())
    assert found.unit == "run"
    assert found.record.speed_ratio == pytest.approx(0.5, abs=0.1)


def test_neither_steps_nor_an_end_is_refused_with_the_way_out():
    text = "import time\ndef train(p):\n    time.sleep(60)\n"
    with pytest.raises(VerifyRefused, match=r"its speed is not known.*track"):
        verify(subject(text), 50, Bound(seconds=0.5), 2, host=a_host())
    assert not (build_store().root / VERIFIED_NAME).exists()


def test_a_function_that_fails_verifies_nothing():
    text = "def train(p):\n    raise RuntimeError('CUDA out of memory')\n"
    with pytest.raises(VerifyRefused, match="at 100 % the function raised RuntimeError: CUDA out"):
        verify(subject(text), 50, Bound(seconds=5.0), 2, host=a_host())


def test_a_process_that_is_no_client_verifies_nothing():
    with pytest.raises(VerifyRefused, match="was not seen as a client of MPS"):
        verify(subject(STAMPED), 60, Bound(seconds=1.0), 2, host=a_host(attached=False))
    assert not (build_store().root / VERIFIED_NAME).exists()


@pytest.mark.parametrize("attached", [True, None])
@pytest.mark.parametrize(
    ("gives", "refused"),
    [
        ("132", "at 60 % the function was given all of the 132 SMs: its share was not applied"),
        ("52", "without a cap was given 52 of 132 SMs: something else limits it"),
        ("None", "not known how many SMs CUDA gave"),
    ],
)
def test_a_share_that_was_not_shown_to_be_applied_verifies_nothing(attached, gives, refused):
    """Without its daemon CUDA runs on uncapped: a ratio of 1 would mean nothing."""
    told = f"\ndef sms():\n    return {gives}\n"
    for find in (
        lambda of: verify(of, 60, Bound(seconds=1.0), 2, host=a_host(attached)),
        lambda of: sweep(of, (60, 25), Bound(seconds=1.0), host=a_host(attached)),
    ):
        with pytest.raises(VerifyRefused, match=refused):
            find(subject(STAMPED, sms=told))
    assert not (build_store().root / VERIFIED_NAME).exists()


def test_runs_that_were_given_other_sms_than_the_ones_before_verify_nothing(tmp_path):
    once = tmp_path / "once"
    told = (
        SMS
        + f"""
def sms():
    from pathlib import Path
    if int(os.environ["{SHARE}"]) == 100:
        return 132
    seen = Path({str(once)!r}).exists()
    Path({str(once)!r}).touch()
    return 52 if seen else 79
"""
    )
    with pytest.raises(VerifyRefused, match="at 60 % the runs were given 52 and 79 SMs"):
        verify(subject(STAMPED, sms=told), 60, Bound(seconds=1.0), 2, host=a_host())
    assert not (build_store().root / VERIFIED_NAME).exists()


def test_a_device_whose_sms_are_not_known_verifies_nothing():
    unknown = dataclasses.replace(a_host(), device_sm_count=None)
    with pytest.raises(VerifyRefused, match="not known how many SMs the device has"):
        verify(subject(STAMPED), 60, Bound(seconds=1.0), 2, host=unknown)


def test_the_uncapped_runs_ask_for_all_of_the_sms():
    """Else a percentage in the kernel's own environment, or the daemon's default, would stand."""
    asked = []

    def lease(percent, memory_mib):
        asked.append(percent)
        return a_host().lease(percent, memory_mib)

    verify(
        subject(STAMPED),
        60,
        Bound(seconds=1.0),
        2,
        host=dataclasses.replace(a_host(), lease=lease),
    )
    assert asked == [100, 60, 60, 100]


def test_the_function_sees_the_device_that_is_asked_for():
    """Also where a daemon that serves several was joined."""
    shows = "\nassert os.environ['CUDA_VISIBLE_DEVICES'] == 'GPU-7'\n"
    named = dataclasses.replace(a_host(), device_uuid="GPU-7")
    found = verify(subject(STAMPED + shows), 60, Bound(seconds=1.0), 2, host=named)
    assert found.record.kept


def test_a_sweep_finds_the_knee_between_measured_shares():
    told = []
    found = sweep(
        subject(STAMPED), (70, 50, 25), Bound(seconds=1.0), on_trial=told.append, host=a_host()
    )
    assert [trial.percent for trial in told] == [100, 70, 50, 25, 25, 50, 70, 100]
    # 25 % gives 25/40 = 0.625 of the speed; the line from (50, 1) to (25, 0.625) is at 0.9
    # where 50 - 25 * 0.1 / 0.375 = 43.3
    assert found.ratios == pytest.approx({100: 1.0, 70: 1.0, 50: 1.0, 25: 0.625})
    assert found.knee.measured == 50
    assert found.knee.between == pytest.approx(43.33, abs=0.01)
    assert (found.record.percent, found.record.method) == (50, "sweep")
    assert ledger().newest("c0de", "A fake GPU", "1.2.3").percent == 50


def test_a_sweep_of_what_needs_everything_keeps_nothing():
    text = STAMPED.replace("40 / share", "100 / share")
    found = sweep(subject(text), (50,), Bound(seconds=1.0), host=a_host())
    assert (found.record, found.knee.measured) == (None, 100)
    assert ledger().newest("c0de", "A fake GPU", "1.2.3") is None


def test_a_sweep_takes_back_what_it_refutes():
    """The code is the same and its data has grown: 15 % was enough once."""
    small = STAMPED.replace("40 / share", "10 / share")
    sweep(subject(small), (70, 15), Bound(seconds=1.0), host=a_host())
    assert ledger().newest("c0de", "A fake GPU", "1.2.3").percent == 15
    found = sweep(subject(STAMPED), (70, 30, 15), Bound(seconds=1.0), host=a_host())
    assert found.record.percent == 70
    assert ledger().newest("c0de", "A fake GPU", "1.2.3") == found.record
    whole = STAMPED.replace("40 / share", "100 / share")
    sweep(subject(whole), (80, 15), Bound(seconds=1.0), host=a_host())
    assert ledger().newest("c0de", "A fake GPU", "1.2.3") is None


def test_an_interrupt_ends_the_run_and_stores_nothing():
    main = threading.main_thread().ident
    timer = threading.Timer(1.0, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        verify(subject(NEEDS_40), 60, Bound(seconds=20.0), 2, host=a_host())
    timer.join()
    assert not (build_store().root / VERIFIED_NAME).exists()


def test_without_mps_one_line_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MpsError) as refused:
        verify(subject(NEEDS_40), 60, Bound(), 2)
    assert "\n" not in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize("at", [0, 100, 101])
def test_shares_out_of_range_are_refused(at):
    with pytest.raises(InvalidOption):
        verify(subject(NEEDS_40), at, Bound(), 2, host=a_host())


@pytest.mark.parametrize("shares", [(), (100,), (0, 50), (50, 101)])
def test_sweeps_of_nothing_are_refused(shares):
    with pytest.raises(InvalidOption):
        sweep(subject(NEEDS_40), shares, Bound(), host=a_host())


@pytest.mark.parametrize(("steps", "seconds"), [(1, None), (None, 0.1), (None, math.inf)])
def test_bounds_out_of_range_are_refused(steps, seconds):
    with pytest.raises(InvalidOption):
        Bound(steps, seconds)


def test_one_pair_is_refused():
    with pytest.raises(InvalidOption, match="one has no interval"):
        verify(subject(NEEDS_40), 50, Bound(), 1, host=a_host())


# ---- counting ------------------------------------------------------------------------------------


def counted(bounded, *marks):
    count = Count(bounded)
    for mark in marks:
        count.take(mark)
    return count


def test_loops_that_begin_anew_are_added_up():
    """Steps 0..10 in one second, three epochs long: ten a second all along."""
    marks = [Progress(e + s / 10, "step", s, 10, "tqdm") for e in range(3) for s in range(11)]
    count = counted(Bound(steps=20), *marks)
    assert count.enough
    assert count.speeds()[0] == pytest.approx(10.0)


def test_the_warm_up_does_not_count():
    """The first step takes 10 s, as compiling does; then ten a second."""
    marks = [Progress(0.0, "step", 0, None, "api"), Progress(10.0, "step", 1, None, "api")]
    marks += [Progress(10.0 + n / 10, "step", 1 + n, None, "api") for n in range(1, 31)]
    assert counted(Bound(steps=20), *marks).speeds()[0] == pytest.approx(10.0)
    assert counted(Bound(seconds=10.0), *marks).speeds()[0] == pytest.approx(10.0)


def test_the_better_hint_is_believed_and_phases_do_not_disturb():
    marks = [
        Progress(0.0, "step", 0, None, "api"),
        Progress(0.5, "step", 500, None, "tqdm"),
        Phase(0.7, "validation", "api"),
        *(Progress(1.0 + n, "step", 1 + n, None, "api") for n in range(5)),
    ]
    assert counted(Bound(steps=3), *marks).speeds()[0] == pytest.approx(1.0)


def test_epochs_count_where_there_are_no_steps():
    marks = [Progress(2.0 * n, "epoch", n, 9, "api") for n in range(6)]
    count = counted(Bound(steps=3), *marks)
    assert count.enough
    assert count.speeds() == (None, pytest.approx(0.5))


def test_nothing_heard_is_no_speed():
    assert counted(Bound(steps=3)).speeds() == (None, None)
    assert common_unit([]) is None


def test_the_ledger_passes_over_what_is_no_entry(tmp_path):
    found = VerifiedStore(tmp_path)
    assert found.newest("c0de", "GPU", "1") is None
    (tmp_path / VERIFIED_NAME).write_bytes(
        b'rubbish\n{"percent": 5}\n[1]\n\xff\xfe\n{"percent":"x"}\n'
    )
    assert found.newest("c0de", "GPU", "1") is None


def test_the_ledger_is_its_owners_alone():
    sweep(subject(STAMPED), (80,), Bound(seconds=1.0), host=a_host())
    assert (build_store().root / VERIFIED_NAME).stat().st_mode & 0o777 == 0o600


def test_an_interval_holds_what_it_should():
    """Pairs of ratio 0.95 with 3 % of noise: 95 % of the intervals hold 0.95 (400 of them)."""
    source = random.Random(7)
    hits = 0
    for _ in range(400):
        base = [100.0 * math.exp(source.gauss(0, 0.05)) for _ in range(4)]
        capped = [b * 0.95 * math.exp(source.gauss(0, 0.03)) for b in base]
        found = slowdown.compare(capped, base)
        hits += found.low <= 0.95 <= found.high
    assert 366 <= hits <= 394  # 380 expected, three standard deviations of 4.4 each way


def test_a_frameworks_progress_is_heard_from_the_child():
    text = """
import time
from tqdm.std import tqdm
def train(params):
    for _ in tqdm(range(10_000), mininterval=0.05):
        time.sleep(0.02)
"""
    pytest.importorskip("tqdm")
    found = verify(subject(text), 50, Bound(seconds=2.0), 2, host=a_host())
    assert found.unit in ("step", "epoch")  # a single bar is taken for epochs
    assert found.ratios[50] == pytest.approx(1.0, abs=0.3)
