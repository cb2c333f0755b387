"""Sessions on a device of which no process memory is known, and which others use as well."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jupyter_gpupredict.core import words
from jupyter_gpupredict.run import SessionConfig, build_session, read_run, shutdown
from jupyter_gpupredict.sources.driver.processes import CudaWatch
from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import FakeGpu, Script
from tests.run.test_session import FirstReading, Hold

STRANGER = 4_194_400
"""A process number that no process has here: above the kernel's largest."""
MIB = 1 << 20
TOLD = "; 1.2 GiB that others held before the cell are left out"
WAIT = "print(flush=True); input()"
LOAD = "import ctypes; ctypes.CDLL('libcuda.so.1'); "


@pytest.fixture(params=[0.0, 40.0], ids=["idle tenant", "busy tenant"])
def shared(driver, data_dir, request):
    """A GPU of which another tenant holds 1200 MiB; after 10 s 5000 MiB are in use."""
    use = [(0.0, request.param, 1200.0), (10.0, 60.0, 5000.0)]
    driver.play(Script(gpus=[FakeGpu(points=use, processes=[(STRANGER, 1200)])]))
    yield driver
    shutdown()


def measured(driver, **options):
    """Measure a run whose first reading comes before, and whose last after the growth."""
    driver.tick(5.0)
    read = FirstReading()
    run = build_session(SessionConfig(source="nvml"), subscribers=[read], **options)
    run.start()
    assert read.there.wait(30.0)
    driver.tick(20.0)
    return run.stop("completed")


def test_what_another_tenant_held_before_the_cell_is_left_out(shared, monkeypatch):
    monkeypatch.setattr(CudaWatch, "unused", lambda watch: True)
    run = measured(shared)
    memory = run.recommendation.memory
    assert (memory.basis, memory.peak_bytes) == ("device-wide", 3800 * MIB)
    assert memory.reason.endswith(TOLD)
    assert TOLD in words.memory(memory)
    shutdown()
    assert read_run("last").recommendation.memory == memory


def test_what_this_kernel_may_have_held_before_is_needed_again(shared, monkeypatch):
    monkeypatch.setattr(CudaWatch, "unused", lambda watch: False)
    memory = measured(shared).recommendation.memory
    assert (memory.basis, memory.peak_bytes) == ("device-wide", 5000 * MIB)
    assert "others held" not in memory.reason


def test_a_process_whose_memory_is_known_has_nothing_to_leave_out(shared, monkeypatch):
    monkeypatch.setattr(CudaWatch, "unused", lambda watch: True)
    shared.play(Script(gpus=[FakeGpu(processes=[("self", 700), (STRANGER, 1200)])]))
    memory = measured(shared).recommendation.memory
    assert (memory.basis, memory.peak_bytes) == ("process", 700 * MIB)
    assert "others held" not in memory.reason


@pytest.mark.parametrize(("program", "peak_mib"), [(WAIT, 3800), (LOAD + WAIT, 5000)])
def test_a_child_that_is_measured_is_the_one_that_is_looked_at(shared, program, peak_mib):
    environ = os.environ | {"LD_LIBRARY_PATH": str(library_dir("libcuda.so.1"))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], env=environ, **pipes) as child:
        child.stdout.readline()
        run = measured(shared, child=SimpleNamespace(pid=child.pid, share=Hold()))
        child.stdin.close()
    assert run.recommendation.memory.peak_bytes == peak_mib * MIB
