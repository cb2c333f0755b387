"""Whether a process tree has come to CUDA, by what it has mapped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_gpupredict.sources.driver import processes
from jupyter_gpupredict.sources.driver.cuda import driver_libraries
from jupyter_gpupredict.sources.driver.processes import CudaWatch
from tests.fake_nvml.build import library_dir

LINE = "7f4e2a000000-7f4e2b000000 r-xp 00000000 08:01 1234567                    {}\n"
ANONYMOUS = "7ffc1000-7ffc2000 rw-p 00000000 00:00 0 \n7ffd0000-7ffd1000 rw-p 0 00:00 0  [stack]\n"
NOT_THE_DRIVER = (
    "/usr/local/cuda/lib64/libcudart.so.12",
    "/opt/venv/lib/python3.12/site-packages/nvidia/cudnn/lib/libcudnn.so.9",
    "/opt/libcuda.so.1/readme",  # a folder's name is not the file's
    "/usr/lib/libcudadebugger.so.1",
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
)


def mapped(folder, *paths, pid=None):
    file = folder / str(pid or os.getpid()) / "maps"
    file.parent.mkdir(exist_ok=True)
    file.write_text(ANONYMOUS + "".join(map(LINE.format, paths)))


@pytest.fixture
def alone(monkeypatch):
    """This process has no children, whatever other tests have started."""
    monkeypatch.setattr(processes.ProcessTree, "pids", lambda tree: frozenset({os.getpid()}))


@pytest.mark.parametrize(
    "path",
    [
        "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05",
        "/usr/lib/wsl/drivers/nv dispi.inf_amd64/libcuda.so.1.1",
        "/usr/lib/wsl/lib/libcuda.so.1",
        "/usr/lib/libcuda.so.550.54.15 (deleted)",
    ],
)
def test_the_drivers_library_is_known_by_its_name(tmp_path, alone, path):
    mapped(tmp_path, *NOT_THE_DRIVER)
    assert CudaWatch(root=tmp_path).unused()
    mapped(tmp_path, *NOT_THE_DRIVER, path)
    assert list(driver_libraries((tmp_path / str(os.getpid()) / "maps").read_text())) == [path]
    assert not CudaWatch(root=tmp_path).unused()


@pytest.mark.parametrize("text", [None, ""])
def test_where_nobody_can_say_it_is_not_certain(tmp_path, alone, text):
    if text is not None:
        mapped(tmp_path)
        (tmp_path / str(os.getpid()) / "maps").write_text(text)
    assert not CudaWatch(root=tmp_path).unused()


def test_a_process_that_has_ended_is_not_certain():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
        assert not CudaWatch(child.pid).unused()


LOAD = "import ctypes; ctypes.CDLL('libcuda.so.1'); "
WAIT = "print(flush=True); input()"
BELOW = (
    "import subprocess, sys; below = subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
    "stdin=subprocess.PIPE, stdout=subprocess.PIPE); below.stdout.readline(); "
)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the kernel shows no maps")
@pytest.mark.parametrize(
    ("program", "below", "unused"),
    [
        (WAIT, "", True),
        (LOAD + WAIT, "", False),
        (BELOW + WAIT, WAIT, True),
        (BELOW + WAIT, LOAD + WAIT, False),
    ],
)
def test_a_real_process_and_its_children(program, below, unused):
    environ = os.environ | {"LD_LIBRARY_PATH": str(library_dir("libcuda.so.1"))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program, below], env=environ, **pipes) as child:
        child.stdout.readline()
        found = CudaWatch(child.pid).unused()
        child.stdin.write(b"\n")
    assert found is unused
