"""A driver that does not answer costs the measuring, never the code that is measured."""

import math
import os
import signal
import threading
import time

import pytest

from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.frontends.measure import measure
from jupyter_gpupredict.mps import mps_status
from jupyter_gpupredict.run import (
    SessionConfig,
    build_session,
    measuring,
    probe_sources,
    shutdown,
    threads,
)
from jupyter_gpupredict.run.progress import Hooks, ProgressHub
from jupyter_gpupredict.run.session import Patience
from jupyter_gpupredict.sources.driver import nvml
from jupyter_gpupredict.sources.driver.watch import Budget
from tests.fake_nvml.scenario import FakeGpu, Script
from tests.run.test_session import ScriptedSource, session

OPENS = ("nvmlInitWithFlags", "nvmlDeviceGetCount_v2", "nvmlDeviceGetName", "nvmlDeviceGetSamples")
READS = (
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetCurrentClocksEventReasons",
)


@pytest.fixture
def driver(driver, monkeypatch):
    """Patience of tests; whatever hangs is let go, and waited for, at the end."""
    monkeypatch.setattr(measuring, "OPEN_S", 0.2)
    monkeypatch.setattr(measuring, "STOP_S", 0.2)
    driver.play(Script(gpus=[FakeGpu(processes=[("self", 700, 30)])]))
    yield driver
    driver.heal()
    until(lambda: "gpupredict-sampler" not in names())
    shutdown()


def names():
    return [thread.name for thread in threading.enumerate()]


def until(condition, limit_s=10.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def begun(source="nvml"):
    made = build_session(SessionConfig(source=source))
    made.start()
    return made


def timed(call, *arguments):
    """Return what a call gives, or raises, and the seconds that it takes."""
    began_s = time.monotonic()
    try:
        found = call(*arguments)
    except SourceUnavailable as error:
        found = error
    return found, time.monotonic() - began_s


@pytest.mark.parametrize("function", OPENS)
@pytest.mark.parametrize("source", ["nvml", "auto"])
def test_one_that_hangs_while_it_is_opened(driver, function, source):
    driver.hang(function)
    run, start_s = timed(begun, source)
    assert "has not answered for 0.2 s" in run.waiting
    assert run.recommendation is None
    found, stop_s = timed(run.stop, "completed")
    assert isinstance(found, SourceUnavailable)
    assert (found.message, found.reason) == ("nothing was measured", "timed_out")
    assert start_s + stop_s < 2.0


@pytest.mark.parametrize("function", READS)
def test_one_that_hangs_while_it_is_read(driver, function):
    driver.hang(function)
    run = begun()
    assert run.waiting == ""
    found, stop_s = timed(run.stop, "completed")
    assert stop_s < 2.0
    assert any("its thread is left alone" in error for error in found.errors)
    assert [loss.reason for loss in found.losses] == ["timed_out"]
    assert found.samples > 0  # the share comes before what hangs
    assert (found.outcome, found.recommendation.state) == ("completed", "abstained")


def test_one_that_hangs_while_it_is_closed(driver):
    run = begun()
    driver.hang("nvmlShutdown")
    found, stop_s = timed(run.stop, "completed")
    assert stop_s < 2.0
    assert any("last close" in error for error in found.errors)
    assert (found.losses, found.samples > 0) == ((), True)  # everything had been read


def test_one_that_answers_late_is_measured_from_then_on(driver):
    driver.hang("nvmlInitWithFlags")
    run = begun()
    assert run.waiting
    driver.heal()
    until(lambda: run.recommendation is not None)
    assert run.waiting == ""
    driver.tick(1.0)
    found = run.stop("completed")
    assert (found.errors, found.outcome) == ((), "completed")
    assert any("the driver had not answered before" in note for note in found.started.notes)
    assert (found.gaps[0].from_s, found.gaps[0].cause) == (0.0, "source")
    assert 0.0 < found.gaps[0].to_s <= found.duration_s


def test_one_that_says_late_that_there_is_no_device(driver):
    driver.hang("nvmlInitWithFlags")
    driver.play(Script(gpus=[]))
    run = begun()
    driver.heal()
    until(lambda: "gpupredict-sampler" not in names())
    found, _ = timed(run.stop, "completed")
    assert found.reason == "no_device"


def test_nobody_waits_behind_a_call_that_hangs(driver, monkeypatch):
    """One thread is lost to the driver, however many cells are measured meanwhile."""
    monkeypatch.setattr(nvml, "ANSWER_S", 0.1)
    driver.hang("nvmlInitWithFlags")
    timed(begun().stop, "completed")
    for _ in range(3):
        refused, took_s = timed(begun, "nvml")
        assert refused.reason == "timed_out"
        assert took_s < 1.0
    other = begun("auto")
    assert other.started.source == "cpu"
    assert any("gpm, nvml not used" in note for note in other.started.notes)
    other.stop("completed")
    until(lambda: names().count("gpupredict-sampler") == 1)
    driver.heal()
    until(lambda: "gpupredict-sampler" not in names())
    assert begun("nvml").stop("completed").errors == ()


@pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetSamples"])
def test_an_interrupt_ends_the_waiting(driver, monkeypatch, function):
    monkeypatch.setattr(measuring, "OPEN_S", 20.0)
    driver.hang(function)
    run = build_session(SessionConfig(source="nvml"))
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run.start()
    assert time.monotonic() - began_s < 5.0


class Silent(ScriptedSource):
    """Is opened or read, as its script says, and does not return before it is let go."""

    def __init__(self, call):
        super().__init__(SystemClock())
        self.call, self.asked, self.free = call, threading.Event(), threading.Event()

    def held(self, call):
        if call == self.call:
            self.asked.set()
            self.free.wait()

    def open(self):
        self.held("open")
        return super().open()

    def read(self, *, slow):
        self.held("read")
        return super().read(slow=slow)


@pytest.fixture(params=["open", "read"])
def silent(request):
    made = Silent(request.param)
    yield made
    made.free.set()
    until(lambda: "gpupredict-sampler" not in names())


def test_the_time_is_up_while_the_source_does_not_return(silent):
    up = threading.Event()
    run, delivery = session(
        silent.clock, silent, patience=Patience(0.2, 0.2), max_seconds=0.3, on_limit=up.set
    )
    run.start()
    silent.asked.wait()
    assert up.wait(20.0)
    assert run.left_s() < math.inf
    timed(run.stop, "stopped")
    delivery.shutdown()


@pytest.mark.parametrize("hangs", ["source", "store"])
def test_a_request_to_end_never_waits_for_the_source_nor_the_source_for_it(monkeypatch, hangs):
    monkeypatch.setattr(threads, "LOOK_S", 0.05)
    source = Silent("read" if hangs == "source" else "")
    asked, free = threading.Event(), threading.Event()

    def requested():
        asked.set()
        return hangs == "source" or free.wait() or True

    run, delivery = session(
        source.clock, source, patience=Patience(None, 0.2), stop_requested=requested
    )
    run.start()
    assert asked.wait(20.0)
    if hangs == "source":
        until(lambda: run.left_s() < math.inf)
        source.free.set()
    else:
        until(lambda: run.recommendation is not None)
        assert run.left_s() == math.inf
    found, stop_s = timed(run.stop, "completed")
    assert (found.samples > 0, found.errors) == (True, ())
    assert stop_s < 5.0
    free.set()
    until(lambda: "gpupredict-alarm" not in names())
    delivery.shutdown()


def test_a_source_is_closed_when_the_time_is_up_not_when_the_code_ends():
    source = ScriptedSource(SystemClock())
    run, delivery = session(source.clock, source, max_seconds=0.1)
    run.start()
    until(lambda: source.closed)
    assert run.left_s() < math.inf
    assert run.stop("completed").samples > 1  # one at the beginning and one at the end
    delivery.shutdown()


def test_one_that_opens_after_the_time_is_up_is_not_measured():
    source, up = Silent("open"), threading.Event()
    run, delivery = session(
        source.clock, source, patience=Patience(0.05), max_seconds=0.1, on_limit=up.set
    )
    run.start()
    assert up.wait(20.0)
    source.free.set()
    until(lambda: source.closed)
    found, _ = timed(run.stop, "completed")
    assert found.message == "nothing was measured"
    delivery.shutdown()


def test_the_block_stops_on_time_while_the_driver_hangs(driver):
    driver.hang(READS[0])
    began_s, whole = time.monotonic(), False
    with measure(source="nvml", until_converged=True, max_seconds=0.5, quiet=True) as run:
        time.sleep(60.0)
        whole = True
    assert not whole
    assert time.monotonic() - began_s < 30.0
    assert run.result.run.outcome == "stopped"


class Stuck:
    """A hint that does not come back from its library."""

    module = "json"

    def __init__(self):
        self.polled, self.free = threading.Event(), threading.Event()

    def attach(self, sink):
        pass

    detach = attach

    def poll(self):
        self.polled.set()
        self.free.wait()


def test_a_hint_that_hangs_is_left_alone_too():
    hint = Stuck()
    hooks = Hooks(lambda: ["stuck"], lambda _: hint, ProgressHub())
    source = ScriptedSource(SystemClock())
    run, delivery = session(source.clock, source, hooks=hooks, patience=Patience(None, 0.2))
    run.start()
    hint.polled.wait()
    found, stop_s = timed(run.stop, "completed")
    assert stop_s < 3.0
    assert any("its thread is left alone" in error for error in found.errors)
    hint.free.set()
    until(lambda: "gpupredict-sampler" not in names())
    delivery.shutdown()


def test_calls_that_drag_cost_a_twentieth_of_the_time(driver, clock):
    from jupyter_gpupredict import registry
    from jupyter_gpupredict.core.series import SourceOptions

    source = registry.load("sources", "nvml")(SourceOptions(), clock)
    info = source.open()
    read, told = source._read, []

    def dragging(slow):
        clock.advance(0.6)
        told.append((clock.now_s, slow))
        return read(slow)

    source._read = dragging
    began_s = clock.now_s
    for _ in range(1200):
        driver.tick(0.25)
        source.read(slow=clock.now_s % 1.0 < 0.25)
    elapsed_s = clock.now_s - began_s
    assert 0.04 < 0.6 * len(told) / elapsed_s < 0.055  # and half a second that was put by
    assert sum(slow for _, slow in told) > len(told) / 2  # what is due meanwhile is made up for
    source.close()
    assert info.buffer_s is not None


def dragging(driver, left_s=lambda: math.inf, hand_over=None):
    """Return an open source whose first slow read took as long as many more may."""
    from jupyter_gpupredict import registry
    from jupyter_gpupredict.core.series import SourceOptions

    options = SourceOptions(left_s=left_s, hand_over=hand_over)
    source = registry.load("sources", "nvml")(options, driver.clock)
    source.open()
    read = source._read

    def slowly(slow):
        driver.tick(0.8)
        return read(slow)

    source._read = slowly
    return source


def metrics(batch):
    return {one.series.metric for one in batch.readings}


def test_the_first_read_and_the_last_are_made_whatever_was_spent(driver):
    left_s = [math.inf]
    source = dragging(driver, lambda: left_s[0])
    assert "gpu_util_ratio" in metrics(source.read(slow=True))
    while metrics(source.read(slow=True)):
        pass  # until what was put by is spent
    assert metrics(source.read(slow=True)) == set()
    left_s[0] = 1.0  # the code has ended
    assert {"gpu_util_ratio", "power_watts"} <= metrics(source.read(slow=True))
    source.close()


def test_the_last_read_leaves_out_what_would_come_too_late(driver):
    left_s, handed = [math.inf], []

    def hand_over(batch):
        handed.append(metrics(batch))
        left_s[0] = 0.4  # less than half of what was left when the read began

    source = dragging(driver, lambda: left_s[0], hand_over)
    left_s[0] = 1.0
    assert metrics(source.read(slow=True)) == set()
    assert handed == [{"gpu_util_ratio", "memory_used_bytes"}]
    source.close()


def test_a_short_cell_of_a_driver_that_drags_has_its_first_and_its_last_reading(
    driver, monkeypatch
):
    monkeypatch.setattr(measuring, "OPEN_S", 60.0)
    monkeypatch.setattr(measuring, "STOP_S", 60.0)
    monkeypatch.setattr(measuring, "WHOLE_S", 60.0)
    driver.slow("*", 0.03)
    run = begun()
    until(lambda: run.recommendation is not None)
    time.sleep(2.0)
    driver.tick(2.0)
    found = run.stop("completed")
    assert found.errors == ()
    assert found.share[-1][0] - found.share[0][0] > 1.0


def test_quick_calls_are_never_left_out(driver, clock):
    budget = Budget(clock)
    for _ in range(100):
        assert budget.allows(clock.now_s)
        began_s = clock.now_s
        clock.advance(0.01)
        budget.pay(began_s)
        clock.advance(0.24)


def test_one_read_that_the_cell_held_up_is_not_the_drivers(clock):
    """The GIL, kept for ten seconds, makes a read look as slow as a driver that drags."""
    budget = Budget(clock)
    for took_s in (0.001, 10.0, 0.001, 0.001):
        assert budget.allows(clock.now_s)
        began_s = clock.now_s
        clock.advance(took_s)
        budget.pay(began_s)
        clock.advance(0.25)
    for _ in range(2):
        assert budget.allows(clock.now_s)
        began_s = clock.now_s
        clock.advance(2.0)
        budget.pay(began_s)
    assert not budget.allows(clock.now_s)  # two in a row are


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetSamples",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetProcessUtilization",
    ],
)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_list_that_grows_while_it_is_fetched_costs_nothing(driver, function, after):
    gpu = FakeGpu(processes=[("self", 700, 30)])
    driver.play(Script(gpus=[gpu], failures=[(function, 7, after, 1)]))
    run = begun()
    driver.tick(1.0)
    found = run.stop("completed")
    assert (found.errors, found.unavailable) == ((), ())


def test_what_asks_the_driver_on_the_way_does_not_wait_for_it(driver, monkeypatch):
    from jupyter_gpupredict.run import adapters

    monkeypatch.setattr(nvml, "LOAD_S", 0.2)
    monkeypatch.setattr(nvml, "ANSWER_S", 0.1)
    monkeypatch.setattr(adapters, "PROBE_S", 0.2)
    driver.hang("nvmlDeviceGetCount_v2")
    status, took_s = timed(mps_status)
    assert (status.compute_mode, took_s < 2.0) == ("", True)
    probes, took_s = timed(probe_sources)
    assert [(one.name, one.works) for one in probes] == [
        ("gpm", False),
        ("nvml", False),
        ("cpu", True),
    ]
    assert probes[0].found.startswith("timed_out: ")
    assert took_s < 3.0
    assert names().count("gpupredict-driver") == 1
    driver.heal()
    until(lambda: "gpupredict-driver" not in names())
    assert [one.works for one in probe_sources()] == [False, True, True]  # no GPM here
