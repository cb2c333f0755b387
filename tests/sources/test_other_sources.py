import subprocess
import sys
import time

import pytest

from jupyter_gpupredict.core.errors import SourceUnavailable, UnknownName
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.series import SourceOptions
from jupyter_gpupredict.run import SessionConfig, build_session, build_store, predict_recording
from jupyter_gpupredict.sources.telemetry.cpu import CpuSource
from jupyter_gpupredict.sources.telemetry.simulated import SCENARIOS, ReplaySource, SyntheticSource


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


TICK_S = 0.03
"""The system counts in hundredths of a second; ours and its children's are rounded."""


def used_s():
    return time.monotonic(), time.process_time()


def test_cpu_counts_this_process():
    source = CpuSource(SourceOptions(), SystemClock())
    before = used_s()
    info = source.open()
    begun = used_s()
    assert not info.simulated
    assert info.scope == "process_tree"
    burn(0.2)
    asked = used_s()
    share, memory = source.read(slow=True).readings
    told = used_s()
    cpus = int(info.devices[0].name.split()[0])
    # the reading lies between `asked` and `told`, and counts from between `before` and `begun`
    least = (asked[1] - begun[1] - TICK_S) / (told[0] - before[0])
    most = (told[1] - before[1] + TICK_S) / (asked[0] - begun[0])
    assert least <= share.values[0] * cpus <= most
    assert least > 0.0
    assert memory.values[0] > 2**20
    source.close()


def test_cpu_counts_children_that_live_and_that_ended():
    source = CpuSource(SourceOptions(), SystemClock())
    source.open()
    code = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    before_s = time.monotonic()
    cpus = int(source.open().devices[0].name.split()[0])  # begins to count anew
    subprocess.run([sys.executable, "-c", code], check=True)
    share, _ = source.read(slow=True).readings
    assert share.values[0] * cpus * (time.monotonic() - before_s) > 0.3 - TICK_S
    source.close()


def test_synthetic_is_labelled_and_repeats(clock):
    def play(seed):
        source = SyntheticSource(SourceOptions(scenario="steady", seed=seed), clock)
        info = source.open()
        assert info.simulated
        clock.advance(5.0)
        return source.read(slow=False).readings[0].values

    assert play(1) == play(1)
    assert play(1) != play(2)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_gives_ratios(clock, scenario):
    source = SyntheticSource(SourceOptions(scenario=scenario), clock)
    source.open()
    clock.advance(100.0)
    share = source.read(slow=False).readings[0]
    assert len(share.values) in (999, 1000)
    assert all(0.0 <= value <= 1.0 for value in share.values)


def test_an_unknown_scenario(clock):
    with pytest.raises(UnknownName, match="steady"):
        SyntheticSource(SourceOptions(scenario="stedy"), clock).open()


@pytest.mark.parametrize(("speed", "seen"), [(None, 2), (2.0, 3), (0.0, 4)])
def test_replay_keeps_the_traces_own_times(clock, tmp_path, speed, seen):
    path = tmp_path / "t.csv"
    path.write_text("t_s,gpu_util_pct\n0,10\n1,20\n2,30\n3,40\n")
    source = ReplaySource(SourceOptions(path=str(path), speed=speed), clock)
    info = source.open()
    assert info.simulated
    assert info.origin == "csv"
    clock.advance(1.0)
    batch = source.read(slow=False)
    assert len(batch.readings[0].values) == seen
    assert batch.exhausted is (seen == 4)


def test_replay_of_nothing(clock):
    with pytest.raises(SourceUnavailable):
        ReplaySource(SourceOptions(path="none.csv"), clock).open()


def test_a_replay_brings_the_progress_that_was_recorded(tmp_path, data_dir):
    """A run that its epochs made converge converges again, at the same time and figure."""
    rows = [
        f"{second},{80 if (second - 1) % 20 < 16 else 30},{(second - 1) // 20}\n"
        for second in range(1, 161)
    ]
    file = tmp_path / "run.csv"
    file.write_text("# epochs_total=8\nt_s,gpu_util_pct,epoch\n" + "".join(rows))
    first = predict_recording(str(file))
    # the third epoch ends at 60 s, which the first reading of the fourth shows
    assert first["converged_at_s"] == 61.0

    def replayed(path):
        options = SessionConfig(source="replay", path=str(path), speed=0.0)
        session = build_session(options)
        session.start()
        deadline = time.monotonic() + 10
        while session.recommendation is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return session.stop("completed")

    run = replayed(file)
    told = run.recommendation
    # the replay begins some microseconds before its session does
    assert (told.state, told.target_ratio) == ("converged", 0.8)
    assert told.converged_at_s == pytest.approx(61.0, abs=0.01)
    assert told.progress == "7 of 8 epochs complete (from trace)"
    again = replayed(build_store().path(run.session_id)).recommendation
    assert again.target_ratio == 0.8
    assert again.converged_at_s == pytest.approx(61.0, abs=0.01)
