"""The framework's allocator, through stand-ins: no CUDA and no framework is needed to ask them."""

import math
import sys
from types import SimpleNamespace

import pytest

from jupyter_gpupredict.core.series import Device, Readings, Series, SourceInfo
from jupyter_gpupredict.predict.memory import MemoryUse
from jupyter_gpupredict.run import SessionConfig, build_session
from jupyter_gpupredict.run.allocators import AllocatorPoll, ask

UUIDS = ("11111111-aaaa", "22222222-bbbb")


class Cuda:
    """The part of `torch.cuda` that is asked; every other call would be an AttributeError."""

    def __init__(self, initialized=True, broken=False):
        self.initialized, self.broken = initialized, broken
        self.used = self.most = 100

    def is_initialized(self):
        if self.broken:
            raise RuntimeError("a device-side assert")
        return self.initialized

    def device_count(self):
        return len(UUIDS)

    def get_device_properties(self, index):
        return SimpleNamespace(uuid=UUIDS[index])

    def current_device(self):
        return 1

    def memory_allocated(self, index):
        return self.used * (index + 1)

    def max_memory_allocated(self, index):
        return self.most * (index + 1)

    def memory_reserved(self, index):
        return 2 * self.memory_allocated(index)

    def max_memory_reserved(self, index):
        return 2 * self.max_memory_allocated(index)


@pytest.fixture
def torch(monkeypatch):
    def use(**options):
        cuda = Cuda(**options)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        return cuda

    return use


def test_the_measured_device_is_asked(torch):
    torch()
    found = ask("GPU-11111111-aaaa")
    assert (found.framework, found.peak_bytes, found.most_reserved_bytes) == ("torch", 100, 200)
    assert ask("GPU-unknown").peak_bytes == 200  # the current device


def test_a_framework_that_is_not_there_or_has_not_started_says_nothing(torch, monkeypatch):
    for module in ("torch", "tensorflow", "jax._src.xla_bridge"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert ask("GPU-1") is None
    torch(initialized=False)
    assert ask("GPU-1") is None
    monkeypatch.setitem(sys.modules, "jax._src.xla_bridge", SimpleNamespace(_backends={}))
    context = SimpleNamespace(_context=SimpleNamespace(_initialized=False))
    monkeypatch.setitem(sys.modules, "tensorflow.python.eager.context", context)
    assert ask("GPU-1") is None


def test_jax_and_tensorflow_are_asked_once_their_backends_exist(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    stats = {"bytes_in_use": 5, "peak_bytes_in_use": 7, "pool_bytes": 90}
    device = SimpleNamespace(memory_stats=lambda: stats)
    backend = SimpleNamespace(local_devices=lambda: [device])
    bridge = SimpleNamespace(_backends={"cpu": None, "cuda": backend})
    monkeypatch.setitem(sys.modules, "jax._src.xla_bridge", bridge)
    found = ask("GPU-1")
    assert (found.framework, found.used_bytes, found.peak_bytes, found.reserved_bytes) == (
        "jax", 5, 7, 90,
    )  # fmt: skip
    device.memory_stats = lambda: None  # a device that keeps no statistics, such as the CPU
    assert ask("GPU-1") is None
    context = SimpleNamespace(_context=SimpleNamespace(_initialized=True))
    experimental = SimpleNamespace(get_memory_info=lambda name: {"current": 3, "peak": 4})
    config = SimpleNamespace(list_logical_devices=lambda kind: ["GPU:0"], experimental=experimental)
    monkeypatch.setitem(sys.modules, "tensorflow.python.eager.context", context)
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    found = ask("GPU-1")
    assert (found.framework, found.used_bytes, found.peak_bytes) == ("tensorflow", 3, 4)
    assert math.isnan(found.reserved_bytes)


def test_a_peak_from_before_the_run_is_not_the_runs(torch):
    cuda = torch()
    cuda.most = 900  # an earlier cell's
    poll = AllocatorPoll("GPU-11111111-aaaa")
    metrics = [one.series.metric for one in poll.poll(1.0)]
    assert metrics == ["allocator_used_bytes", "allocator_reserved_bytes"]
    cuda.used = 400
    poll.poll(2.0)
    cuda.used = 300
    ended = poll.ended()
    assert (ended.allocated_bytes, ended.reserved_bytes, ended.at_least) == (400, 800, True)
    cuda.most = 1000
    assert "allocator_peak_bytes" in [one.series.metric for one in poll.poll(3.0)]
    ended = poll.ended()
    assert (ended.allocated_bytes, ended.reserved_bytes, ended.at_least) == (1000, 2000, False)


def test_a_framework_that_starts_during_the_run_has_no_peak_from_before(torch):
    cuda = torch(initialized=False)
    poll = AllocatorPoll("GPU-11111111-aaaa")
    assert poll.poll(1.0) == ()
    cuda.initialized = True
    assert len(poll.poll(2.0)) == 3
    assert poll.ended().at_least is False


def test_a_framework_that_fails_costs_its_figure_alone(torch, data_dir):
    torch(broken=True)
    run = build_session(SessionConfig(source="synthetic"))
    run.start()
    ended = run.stop("completed")
    assert ended.allocator is None
    assert len(ended.errors) == 1
    assert "device-side assert" in ended.errors[0]
    torch()
    run = build_session(SessionConfig(source="synthetic"))
    run.start()
    ended = run.stop("completed")
    assert (ended.allocator.reserved_bytes, ended.allocator.at_least) == (400, True)


GIB = float(1 << 30)
OWN, SHARE = Series("process_memory_used_bytes", "g"), Series("gpu_util_ratio", "g")


def measured(said, until=400):
    """Return the estimate of a process that took 75 of 80 GiB at once; `said` are its readings."""
    device = Device("g", "x", memory_total_bytes=80 << 30)
    info = SourceInfo("nvml", (device,), (SHARE, OWN), SHARE, None, 1.0, process_memory=OWN)
    use = MemoryUse(info, age_s=300.0)
    use.begin(0.0)
    for second in range(until):
        for metric, value in said.items():
            at = (float(second),), (value,)
            assert use.update(Readings(Series(f"allocator_{metric}_bytes", "g"), *at))
        assert use.update(Readings(OWN, (float(second),), (75 * GIB,)))
    assert not use.update(Readings(SHARE, (float(until),), (0.5,)))
    return use.estimate(float(until), "")


def test_what_a_framework_took_in_advance_is_judged_by_its_own_peak_and_the_context():
    found = measured({"used": 6 * GIB, "peak": 10 * GIB, "reserved": 74.5 * GIB})
    # 75 - 74.5 GiB are the context's, which has no margin
    assert (found.basis, found.preallocated) == ("allocator", False)
    assert found.peak_bytes == 10.5 * GIB
    assert found.target_bytes == pytest.approx((1.12 * 10 + 0.5) * GIB)
    assert found.reason.endswith("the framework's, and 512 MiB of context")


def test_without_a_peak_of_the_run_there_is_a_bound_and_no_target():
    found = measured({"used": 6 * GIB})
    assert (found.peak_bytes, found.target_bytes) == (6 * GIB, None)
    assert "a lower bound" in found.reason


def test_a_framework_that_says_nothing_leaves_the_advice():
    found = measured({})
    assert found.preallocated
    assert found.target_bytes is None
