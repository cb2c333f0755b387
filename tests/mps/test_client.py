"""What makes a process a client, and when it is too late."""

import os
import subprocess
import sys

import pytest

from jupyter_gpupredict.core.errors import LimitRefused
from jupyter_gpupredict.mps.client import (
    MEMORY_COMMAND,
    Limits,
    apply,
    joined_client,
    merged,
    own_client,
    require_known,
)
from jupyter_gpupredict.mps.daemon import start
from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import UUID

ASK = """
import ctypes, os
from jupyter_gpupredict.sources.driver import cuda
from jupyter_gpupredict.mps.client import apply
from jupyter_gpupredict.core.errors import ContextExists
print(repr(cuda.initialised_because()), cuda.visible_sm_count())
library = ctypes.CDLL("libcuda.so.1")
print(repr(cuda.initialised_because()), cuda.visible_sm_count())
assert library.cuInit(0) == 0
print(repr(cuda.initialised_because()), cuda.visible_sm_count())
try:
    apply({"CUDA_MPS_PIPE_DIRECTORY": "/nowhere"})
except ContextExists as error:
    print(error.hint, os.environ.get("CUDA_MPS_PIPE_DIRECTORY"))
"""


def asked(environ=None):
    ran = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        check=True,
        env={**(environ or os.environ), "LD_LIBRARY_PATH": str(library_dir("libcuda.so.1"))},
    )
    return ran.stdout.splitlines()


def test_loading_cuda_is_not_initialising_it():
    before, loaded, initialised, refused = asked()
    assert before == loaded == "'' None"
    assert initialised == "'cuCtxGetCurrent answers' 132"
    assert refused == "restart the kernel and begin with this cell, or use --isolate None"


@pytest.mark.live_server
def test_a_client_gets_its_share(machine):
    daemon = start(UUID)
    changes = own_client(daemon.directory.pipe, UUID, Limits(37, 5874))
    told = asked(merged(os.environ, changes))
    daemon.quit()
    # 37 % of 132 SMs is 48.84; the stand-in rounds down to steps of two
    assert told[2] == "'cuCtxGetCurrent answers' 48"


def test_the_environment_of_a_client(machine, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "10")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    before = dict(os.environ)
    restore = apply(own_client(machine.folder, UUID, Limits(memory_mib=5874)))
    assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == str(machine.folder)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == UUID
    assert os.environ["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=5874M"
    assert "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE" not in os.environ  # measured uncapped
    restore()
    assert dict(os.environ) == before


def test_what_the_cell_sets_itself_stays(machine, monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"):
        monkeypatch.setenv(name, "before")
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "10")
    monkeypatch.delenv("CUDA_MPS_SM_PARTITION", raising=False)
    restore = apply(own_client(machine.folder, UUID, Limits(30)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE")
    monkeypatch.setenv("CUDA_MPS_SM_PARTITION", "mine")
    restore()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE" not in os.environ
    assert os.environ["CUDA_MPS_SM_PARTITION"] == "mine"
    assert os.environ["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "before"  # ours had unset it
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ


def test_a_joined_daemon_keeps_what_is_set(machine):
    assert joined_client(machine.folder) == {"CUDA_MPS_PIPE_DIRECTORY": str(machine.folder)}
    assert joined_client(machine.folder, Limits(30))["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "30"


@pytest.mark.parametrize("wrong", [{"percentage": 0}, {"percentage": 101}, {"memory_mib": 0}])
def test_limits_out_of_range(wrong):
    with pytest.raises(LimitRefused, match="out of range"):
        Limits(**wrong)


def test_a_limit_that_the_driver_has_not_is_refused():
    """Driver branch 470 has no memory limit of clients, and would take one without a word."""
    require_known(Limits(30), frozenset())
    require_known(Limits(memory_mib=100), frozenset({MEMORY_COMMAND}))
    with pytest.raises(LimitRefused, match="cannot limit the memory of a client"):
        require_known(Limits(memory_mib=100), frozenset())
