"""The sampler on a worker, without a cluster around it."""

import pickle
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.run import SessionConfig, adapters
from jupyter_gpupredict.run.adapters import WorkerSources
from jupyter_gpupredict.sources import node as module
from jupyter_gpupredict.sources.driver import nvml
from jupyter_gpupredict.sources.messages import Bye, Duty, Hello, NodeBatch, batch_s, parse
from jupyter_gpupredict.sources.node import Node
from tests.fake_nvml.scenario import UUID


class Worker:
    """Keeps what its sampler says; deaf for as long as the test wants."""

    def __init__(self, source="synthetic", **options):
        self.said = []
        self.deaf = False
        made = Node(WorkerSources(SessionConfig(source=source, **options)))
        self.node = pickle.loads(pickle.dumps(made))  # as it travels

    def send(self, message):
        if self.deaf:
            raise OSError("no stream yet")
        self.said.append(parse(message))

    def start(self, **how):
        self.node.start("a1", "w1", self.send, **how)
        return self

    def of(self, kind):
        return [one for one in tuple(self.said) if isinstance(one, kind)]

    def device(self):
        wait(lambda: self.of(Hello))
        return self.of(Hello)[0].devices[0].uuid


def wait(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stands(count, for_s=0.6):
    """Wait until a count that would have grown several times in so long has not."""
    before, deadline = -1, time.monotonic() + 10.0
    while (now := count()) != before:
        assert time.monotonic() < deadline
        before = now
        time.sleep(for_s)


@pytest.fixture
def worker():
    made = Worker()
    yield made
    made.node.stop("the test ends")


def names():
    return [one.name for one in threading.enumerate() if one.name == "gpupredict-node"]


def test_it_says_hello_samples_what_it_is_given_and_says_bye(worker):
    uuid = worker.start().device()
    assert not [one for one in worker.of(NodeBatch) if one.taken]
    assert worker.node.tend(Duty((uuid,))) == pytest.approx(time.time(), abs=5)
    wait(lambda: sum(len(b.taken) for b in worker.of(NodeBatch)) > 4)
    batches = worker.of(NodeBatch)
    assert [one.seq for one in batches] == list(range(len(batches)))
    stamps = [t for b in batches for one in b.taken if one.metric == "gpu_util_ratio"
              for t in one.times_s]  # fmt: skip
    assert stamps == sorted(stamps)
    assert abs(stamps[-1] - time.time()) < 5  # on the wall clock
    worker.node.tend(Duty())
    stands(lambda: len([b for b in worker.of(NodeBatch) if b.taken]))
    worker.node.stop("over")
    assert worker.of(Bye)[-1].why == "over"
    assert names() == []
    assert worker.node.tend(Duty((uuid,))) is None


def test_hello_is_said_until_it_is_heard(worker, monkeypatch):
    """A worker that just starts may have no stream yet."""
    monkeypatch.setattr(module, "HELLO_S", 0.1)
    worker.deaf = True
    worker.start()
    time.sleep(0.3)
    worker.deaf = False
    uuid = worker.device()
    worker.node.tend(Duty((uuid,)))
    wait(lambda: any(b.taken for b in worker.of(NodeBatch)))
    stands(lambda: len(worker.of(Hello)))


def test_without_a_word_from_the_notebook_it_ends(worker, monkeypatch):
    monkeypatch.setattr(module, "LEASE_S", 0.5)
    worker.start()
    wait(lambda: not names())
    assert "the notebook did not ask for" in worker.of(Bye)[-1].why


def test_the_lease_does_not_run_while_the_worker_cannot_hear(worker, monkeypatch):
    monkeypatch.setattr(module, "LEASE_S", 0.3)
    free = threading.Event()
    worker.start(busy=lambda: not free.is_set())
    time.sleep(1.0)
    assert names()
    free.set()
    wait(lambda: not names())


def test_a_source_that_cannot_be_opened_is_a_hello_with_the_reason(tmp_path):
    worker = Worker("replay", path=str(tmp_path / "none.csv")).start()
    try:
        wait(lambda: worker.of(Hello))
        assert worker.of(Hello)[0].offer is None
        assert "none.csv" in worker.of(Hello)[0].problem
    finally:
        worker.node.stop("over")


@given(st.integers(0, 10_000))
def test_few_are_told_of_often_and_many_cost_four_messages_a_second(count):
    assert 0.075 <= batch_s(count) <= 0.25
    assert batch_s(count) <= batch_s(count + 1)
    assert batch_s(4) == batch_s(0) == 0.075
    assert count < 14 or batch_s(count) == 0.25


def test_messages_come_as_often_as_the_notebook_wants(worker):
    uuid = worker.start().device()

    def filled_in_two_seconds(every_s):
        worker.node.tend(Duty((uuid,), batch_s=every_s))
        time.sleep(0.5)
        before = len([b for b in worker.of(NodeBatch) if b.taken])
        time.sleep(2.0)
        return len([b for b in worker.of(NodeBatch) if b.taken]) - before

    assert filled_in_two_seconds(0.1) > 1.5 * filled_in_two_seconds(0.5)


@pytest.mark.parametrize(("text", "rank"), [("3", 3), ("", None), ("-1", None), ("x", None)])
def test_the_rank_is_what_the_launcher_says(monkeypatch, text, rank):
    monkeypatch.setenv("RANK", text)
    assert module._rank() == rank


class Broken:
    """A source with a bug."""

    def open(self):
        raise ZeroDivisionError

    def close(self):
        pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_of_ours_ends_the_sampler_and_says_so(worker, monkeypatch):
    uuid = worker.start().device()
    monkeypatch.setattr(WorkerSources, "source", lambda *_: Broken())
    worker.node.tend(Duty((uuid,)))
    wait(lambda: worker.of(Bye))
    assert worker.of(Bye)[0].orderly is False
    wait(lambda: names() == [])  # its bye is said by the thread itself


def test_a_worker_whose_driver_does_not_answer_says_so_and_comes_when_it_does(driver, monkeypatch):
    monkeypatch.setattr(adapters, "HELLO_S", 0.1)
    monkeypatch.setattr(nvml, "ANSWER_S", 0.1)
    monkeypatch.setattr(module, "HELLO_S", 0.1)
    driver.hang("nvmlDeviceGetCount_v2")
    worker = Worker("auto").start()
    wait(lambda: worker.of(Hello))
    assert "has not answered" in worker.of(Hello)[0].problem
    assert worker.of(Hello)[0].offer is None
    driver.heal()
    wait(lambda: worker.of(Hello)[-1].offer is not None)
    assert [one.uuid for one in worker.of(Hello)[-1].devices] == [UUID]
    worker.node.stop("the test ends")


def test_a_worker_whose_driver_hangs_is_left_alone(driver):
    worker = Worker("nvml").start()
    uuid = worker.device()
    driver.hang("nvmlDeviceGetSamples")
    worker.node.tend(Duty((uuid,)))
    wait(lambda: "nvmlDeviceGetSamples" in nvml._door._call)
    began_s = time.monotonic()
    worker.node.stop("the test ends")
    assert time.monotonic() - began_s < 3.0
    driver.heal()
    wait(lambda: not names())
