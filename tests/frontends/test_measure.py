"""`with measure()` and `@measured`, without IPython."""

import asyncio
import signal
import threading
import time

import pytest

import jupyter_gpupredict as gp
from jupyter_gpupredict.core.errors import ConfigError
from jupyter_gpupredict.frontends.measure import ConvergenceStop

FAST = {"source": "synthetic", "scenario": "steady", "speed": 50.0, "window_s": 2.0, "agree": 2}


def test_a_block_is_measured():
    with gp.measure(source="cpu", interval_s=0.05) as run:
        time.sleep(0.3)
    assert run.result.run.outcome == "completed"
    assert run.result.run.samples > 2
    assert gp.last() is run.result


def test_the_blocks_own_error_passes():
    with pytest.raises(ZeroDivisionError), gp.measure(source="synthetic") as run:
        raise ZeroDivisionError
    assert run.result.run.outcome == "failed"


def test_a_wrong_option_is_refused_before_the_block():
    with pytest.raises(ConfigError):
        gp.measure(interval_s=-1.0)


def test_what_cannot_be_measured_runs_anyway(capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    ran = False
    with gp.measure(source="nvml") as run:
        ran = True
    assert ran
    assert run.result is None
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    with gp.measure(source="nvml", quiet=True):
        pass
    assert capsys.readouterr().err == ""


def test_an_interrupt_before_the_block_ends_the_run(monkeypatch):
    monkeypatch.setattr(gp.measure, "_attend", lambda self, session: signal.raise_signal(2))
    run = gp.measure(source="cpu")
    with pytest.raises(KeyboardInterrupt), run:
        raise AssertionError("the block was entered")
    assert run.result.run.outcome == "interrupted"


@pytest.fixture
def interrupts():
    """Sets what an interrupt does in this process, and puts it back."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("handler", "nap_s"),
    [
        (signal.default_int_handler, 60.0),  # a system call that only a signal wakes
        (signal.SIG_IGN, 0.01),  # a script in the background
        (signal.SIG_DFL, 0.01),
    ],
)
def test_until_converged_ends_the_block(capsys, interrupts, steady_recording, handler, nap_s):
    interrupts(handler)
    whole = False
    replayed = {"source": "replay", "path": str(steady_recording), "speed": 40.0, "window_s": 10.0}
    with gp.measure(until_converged=True, tolerance_points=20.0, agree=2, **replayed) as run:
        for _ in range(round(60.0 / nap_s)):
            time.sleep(nap_s)
        whole = True
    assert not whole
    assert run.result.state == "converged"
    assert "stopped" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is handler


def test_until_converged_off_the_main_thread_only_watches(capsys):
    found = []

    def work():
        with gp.measure(until_converged=True, tolerance_points=9.0, **FAST) as run:
            time.sleep(1)
        found.append(run.result)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].run.outcome == "completed"
    assert "main thread" in capsys.readouterr().err


def test_functions_and_coroutines():
    @gp.measured(source="synthetic")
    def double(x):
        """Doubles."""
        return 2 * x

    @gp.measured(source="synthetic")
    async def later(x):
        await asyncio.sleep(0.01)
        return x

    @gp.measured
    def plain():
        return 1

    assert double.last_result is None
    assert double(21) == 42
    assert double.__doc__ == "Doubles."
    assert double.last_result.source == "synthetic"
    assert asyncio.run(later(5)) == 5
    assert later.last_result.run.outcome == "completed"
    assert plain() == 1


def test_a_stop_that_was_not_armed_or_came_late_does_nothing():
    stop = ConvergenceStop()
    assert not stop.fire()
    assert stop.arm()
    stop.disarm()
    assert not stop.fire()


def test_an_interrupt_in_the_last_moment_hits_nobody():
    stop = ConvergenceStop()
    stop.arm()
    thread = threading.Thread(target=stop.fire)
    try:
        thread.start()
        thread.join()
    except KeyboardInterrupt:
        pass
    stop.disarm()
    assert stop.fired
    assert not stop.fire()
