"""A kernel killed in the middle of a run leaves a trace that reads."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.stand_in import environ
from jupyter_gpupredict.run import build_store, read_run
from tests.integration.kernels import Kernel
from tests.integration.killed import IN_A_WINDOW, MOST_S, newest_age_s, newest_at_s
from tests.traces import stored_ends

pytestmark = pytest.mark.integration


def test_a_trace_survives_kill_9(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    with Kernel(JUPYTER_DATA_DIR=str(tmp_path), IPYTHONDIR=str(tmp_path / "ip")) as kernel:
        kernel.client.execute(
            "%%gpupredict --source cpu --interval 0.1\nimport time\ntime.sleep(60)"
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if build_store().ids() and read_run("last").samples >= 5:
                break
            time.sleep(0.1)
        kernel.manager.signal_kernel(9)
        time.sleep(0.5)
    found = read_run("last")
    assert found.outcome == "lost"
    assert len(found.share) >= 5
    assert not stored_ends()[0].ended


@pytest.mark.parametrize(("view", "after_s"), [("view", 1.1), ("none", 1.5)])
def test_kill_9_costs_no_more_than_the_newest_readings(tmp_path, view, after_s):
    # a reading may still come between the look at the clock and the signal
    assert newest_age_s(tmp_path, view, after_s) <= MOST_S[view]


@pytest.mark.parametrize("way", ["torch.profiler", "jax.profiler", "CUPTI"])
def test_kill_9_inside_a_window_loses_nothing_and_leaves_nothing(tmp_path, monkeypatch, way):
    samples = Path(__file__).parents[1] / "data" / "recordings"
    left = tmp_path / "left"
    left.mkdir()
    command = [sys.executable, "-c", IN_A_WINDOW, way, str(samples)]
    given = environ(str(tmp_path)) | {"TMPDIR": str(left)}
    with subprocess.Popen(command, env=given, stdout=subprocess.PIPE, text=True) as process:
        try:
            opened_s = float(process.stdout.readline())
            while (stored_s := newest_at_s(tmp_path)) <= opened_s:
                assert process.poll() is None
                time.sleep(0.05)
        finally:
            process.kill()
    assert not list(left.iterdir())
    assert newest_at_s(tmp_path) >= stored_s  # the readings of the window itself
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    found = read_run("last")
    assert (found.outcome, stored_ends()[0].ended, found.errors) == ("lost", False, ())
    need = found.recommendation.geometry
    assert (need.by, need.windows) == (way, 1)  # what the window before told
    assert need.kernels
