"""The framework's allocator, through a stand-in for torch: no CUDA is needed to ask it."""

import sys
from types import SimpleNamespace

import pytest

from jupyter_gpupredict.run import SessionConfig, build_session
from jupyter_gpupredict.run.emitter import allocator_peak

UUIDS = ("11111111-aaaa", "22222222-bbbb")


class Cuda:
    """The part of `torch.cuda` that is asked; every other call would be an AttributeError."""

    def __init__(self, initialized=True, broken=False):
        self.initialized, self.broken = initialized, broken

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

    def max_memory_allocated(self, index):
        return 100 * (index + 1)

    def max_memory_reserved(self, index):
        return 200 * (index + 1)


@pytest.fixture
def torch(monkeypatch):
    def use(**options):
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=Cuda(**options)))

    return use


def test_the_measured_device_is_asked(torch):
    torch()
    found = allocator_peak("GPU-11111111-aaaa")
    assert (found.framework, found.allocated_bytes, found.reserved_bytes) == ("torch", 100, 200)
    assert allocator_peak("GPU-unknown").allocated_bytes == 200  # the current device


def test_a_framework_that_is_not_there_or_has_not_started_says_nothing(torch, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert allocator_peak("GPU-1") is None
    torch(initialized=False)
    assert allocator_peak("GPU-1") is None


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
    assert run.stop("completed").allocator.reserved_bytes == 400
