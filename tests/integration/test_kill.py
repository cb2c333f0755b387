"""A kernel killed in the middle of a run leaves a trace that reads."""

import time

import pytest

from jupyter_gpupredict.run import list_runs, read_run
from tests.integration.kernels import Kernel
from tests.integration.killed import MOST_S, newest_age_s

pytestmark = pytest.mark.integration


def test_a_trace_survives_kill_9(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    with Kernel(JUPYTER_DATA_DIR=str(tmp_path), IPYTHONDIR=str(tmp_path / "ip")) as kernel:
        kernel.client.execute(
            "%%gpupredict --source cpu --interval 0.1\nimport time\ntime.sleep(60)"
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if list_runs() and read_run("last").samples >= 5:
                break
            time.sleep(0.1)
        kernel.manager.signal_kernel(9)
        time.sleep(0.5)
    found = read_run("last")
    assert found.outcome == "lost"
    assert len(found.share) >= 5
    assert list_runs()[0].finished is None


@pytest.mark.parametrize(("view", "after_s"), [("view", 1.1), ("none", 1.5)])
def test_kill_9_costs_no_more_than_the_newest_readings(tmp_path, view, after_s):
    assert 0.0 < newest_age_s(tmp_path, view, after_s) <= MOST_S[view]
