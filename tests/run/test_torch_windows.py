"""The real PyTorch without a GPU: a window that is asked for costs one line, and nothing else."""

import threading
import time

import pytest

from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.run import windows as module
from jupyter_gpupredict.run.windows import KernelWindows
from jupyter_gpupredict.sources import tracers
from jupyter_gpupredict.sources.tracers import BUSY, CuptiTracer, TorchTracer, usable
from tests.run.test_windows import Clock, advice

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-frameworks`")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
CPU = [torch.profiler.ProfilerActivity.CPU]


def flag():
    return torch.autograd.profiler._is_profiler_enabled


def problem_of(tracer, monkeypatch):
    """Return what a run says whose window is due."""
    for name, value in (("WINDOW_S", 0.05), ("LEAST_S", 0.01), ("DUTY_RATIO", 1e9)):
        monkeypatch.setattr(module, name, value)
    needs = []
    windows = KernelWindows(Clock(), (tracer,), look_s=0.005)
    windows.begin(advice, needs.append, None)
    windows._thread.join(60)
    windows.end()
    assert not needs
    assert not windows._thread.is_alive()
    return windows.problem


def test_pytorch_without_a_gpu_is_refused_before_anything_starts(monkeypatch):
    said = problem_of(TorchTracer(), monkeypatch)
    assert said.startswith("nothing can record kernels here: PyTorch has not used a GPU")
    assert "\n" not in said
    assert not flag()


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_kineto_that_finds_no_driver_fails_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    said = problem_of(TorchTracer(), monkeypatch)
    assert said
    assert "\n" not in said
    assert not flag()
    with torch.profiler.profile(activities=CPU) as users:  # the user's works as before
        torch.ones(4).sum()
    assert any("sum" in one.key for one in users.key_averages())


def test_a_users_profiler_is_seen_while_it_records(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with torch.profiler.profile(activities=CPU):
        assert TorchTracer().refusal() == BUSY
        with pytest.raises(SourceUnavailable, match=BUSY):
            usable((TorchTracer(), CuptiTracer()))
    assert TorchTracer().refusal() == ""


def test_a_users_profiler_is_seen_while_its_schedule_lets_it_wait_and_warm_up(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    schedule = torch.profiler.schedule(wait=1, warmup=1, active=1, repeat=1)
    with torch.profiler.profile(activities=CPU, schedule=schedule) as users:
        for recording in (False, False, True):
            assert flag() == recording
            assert TorchTracer().refusal() == BUSY
            torch.ones(4).sum()
            users.step()
    assert TorchTracer().refusal() == ""


def test_a_window_leaves_no_trace_in_pytorch(monkeypatch):
    real = torch.profiler.profile
    monkeypatch.setattr(torch.profiler, "profile", lambda activities: real(activities=CPU))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    TorchTracer().record(lambda taken: taken(), None)
    assert TorchTracer().refusal() == ""


def test_a_users_profile_that_begins_inside_a_window_is_whole(monkeypatch):
    """Ours records the CPU here, so that Kineto runs for real in both."""
    real = torch.profiler.profile
    monkeypatch.setattr(torch.profiler, "profile", lambda activities: real(activities=CPU))
    opened, caught = threading.Event(), []

    def waits(taken):
        opened.set()
        end_s = time.monotonic() + 30
        while not taken() and time.monotonic() < end_s:
            time.sleep(0.005)
        return taken()

    def window():
        with pytest.raises(SourceUnavailable) as error:
            TorchTracer().record(waits, None)
        caught.append(error.value.message)

    thread = threading.Thread(target=window)
    thread.start()
    assert opened.wait(60)
    assert not flag()
    with real(activities=CPU) as users:
        torch.ones(4).sum()
        thread.join(60)
        torch.ones(4).prod()
    assert caught == [tracers.YIELDED]
    assert {"aten::sum", "aten::prod"} <= {one.key for one in users.key_averages()}
    assert not flag()
