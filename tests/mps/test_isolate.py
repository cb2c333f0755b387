"""Isolated cells and verified shares under the stand-in MPS, in a real kernel and a terminal."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from jupyter_gpupredict.mps.directory import identify, until
from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import FakeGpu, Script
from tests.integration.kernels import Kernel
from tests.mps.test_daemon import stranger

pytestmark = pytest.mark.integration
CUDA = "import ctypes; cuda = ctypes.CDLL('libcuda.so.1'); cuda.cuInit(0)"
MAGIC = "%%gpupredict --source nvml --interval 0.1 -o run --isolate"
LOOP = f"""
import os, time
from jupyter_gpupredict import track
{CUDA}
share = int(os.environ.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", 100))
for step in track(range(2000), unit="step"):
    time.sleep(0.02 * max(1.0, 40 / share) ** 2)
"""
"""Four times as slow at 20 %: a busy machine does not make up for that."""


@pytest.fixture
def environ(machine, driver, tmp_path):
    driver.play(Script([FakeGpu(cores=(132 * 128, "9.0"))]))
    return {
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "LD_LIBRARY_PATH": f"{library_dir()}:{library_dir('libcuda.so.1')}",
        # nothing is there: what may run at the driver's default place is not of this test
        "CUDA_MPS_PIPE_DIRECTORY": str(machine.folder / "none"),
    }


@pytest.fixture
def kernel(environ, machine):
    with Kernel(**environ) as one:
        yield one
        assert machine.daemons() == []  # after a cell, not only after the kernel


def told(kernel, expression="run.to_dict()"):
    reply = kernel.run(f"import json; print(json.dumps({expression}))")
    assert reply.status == "ok", reply.tracebacks
    return json.loads(reply.text("stdout"))


@pytest.mark.live_server
def test_an_isolated_cell_is_a_client_and_the_kernel_is_none(kernel, machine):
    reply = kernel.run(f"{MAGIC}\n{CUDA}\n'mine'")
    assert (reply.status, reply.result) == ("ok", "'mine'"), reply.tracebacks
    mps = told(kernel)["mps"]
    assert (mps["active"], mps["attached"], mps["sm_count"]) == (True, True, 132)
    assert not told(kernel)["capped"]
    # and a second one, for which the daemon is started anew
    assert kernel.run(f"{MAGIC}\n{CUDA}").status == "ok"
    assert told(kernel)["mps"]["attached"] is True


@pytest.mark.live_server
def test_a_capped_cell_is_labelled_and_predicts_nothing(kernel):
    reply = kernel.run(
        f"{MAGIC} --mps-percentage 40 --memory-limit 512\n{CUDA}\nimport os\n"
        "os.environ['CUDA_MPS_PINNED_DEVICE_MEM_LIMIT']"
    )
    assert reply.result == "'0=512M'"
    found = told(kernel)
    assert found["capped"]
    assert (found["mps"]["percentage"], found["mps"]["sm_count"]) == (40, 52)  # 40 % of 132, even
    assert (found["state"], found["target_ratio"]) == ("abstained", None)
    assert "CAPPED at 52 of 132 SMs" in reply.summaries[-1]


@pytest.mark.live_server
def test_a_cell_that_never_starts_cuda_is_no_client(kernel):
    kernel.run(f"{MAGIC}\n1")
    mps = told(kernel)["mps"]
    assert (mps["attached"], mps["reason"]) == (False, "CUDA did not start in this cell")


@pytest.mark.live_server
def test_a_client_that_is_killed_is_told_of_and_nothing_is_left(kernel):
    reply = kernel.run(f"{MAGIC} --mps-percentage 40\n{CUDA}\nimport os\nos.kill(os.getpid(), 9)")
    assert reply.of("error")[0]["ename"] == "ProcessDied"
    mps = told(kernel)["mps"]
    assert mps["attached"] is None
    assert "gone before that could be shown" in mps["reason"]
    assert told(kernel)["capped"]


@pytest.mark.live_server
def test_running_over_the_memory_limit_is_said_as_what_it_is(kernel):
    reply = kernel.run(
        f"{MAGIC} --memory-limit 512\n{CUDA}\nclass OutOfMemoryError(RuntimeError):\n    pass\n"
        "raise OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')"
    )
    assert reply.of("error")[0]["ename"] == "OutOfMemoryError"
    assert "the cell went over its memory limit of 512 MiB" in reply.tracebacks[0]


def test_a_client_that_hangs_is_taken_from_the_server_before_any_signal(kernel, machine):
    code = (
        f"{MAGIC}\n{CUDA}\nimport time\nprint('here')\nwhile True:\n    try:\n"
        "        time.sleep(60)\n    except KeyboardInterrupt:\n        pass"
    )
    message = kernel.client.execute(code)
    until(lambda: any("start_server" in line for line in machine.commands()), 1.0)
    import time

    for _ in range(3):
        time.sleep(3.0)
        kernel.manager.interrupt_kernel()
    while True:
        reply = kernel.client.get_shell_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == message:
            break
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    sent = [line.split()[0] for line in machine.commands()]
    assert "terminate_client" in sent
    assert sent.index("terminate_client") < sent.index("quit")


def test_a_client_left_behind_is_taken_from_the_server_before_any_signal(kernel, machine):
    below = f"{CUDA}; import time; print(1, flush=True); time.sleep(60)"
    reply = kernel.run(
        f"{MAGIC}\nimport subprocess, sys\n"
        f"below = subprocess.Popen([sys.executable, '-c', {below!r}], stdout=subprocess.PIPE)\n"
        "assert below.stdout.readline() == b'1\\n'\nbelow.pid"
    )
    assert reply.status == "ok", reply.tracebacks
    assert until(lambda: identify(int(reply.result)) is None, 5.0)
    sent = [line.split()[0] for line in machine.commands()]
    assert "terminate_client" in sent
    assert sent.index("terminate_client") < sent.index("quit")


def test_a_server_that_fails_leaves_the_cell_without_mps(kernel, machine):
    machine.misbehave("fail -d 1 no such device")
    reply = kernel.run(f"{MAGIC}\n7")
    assert (reply.status, reply.result) == ("ok", "7")
    assert "ran without MPS" in reply.summaries[-1]
    refused = kernel.run(f"{MAGIC} --mps-percentage 50\n7")
    assert refused.status == "error"
    assert "--mps-percentage cannot be applied" in refused.text("stderr")


@pytest.mark.live_server
def test_a_share_is_verified_shown_kept_and_exported(kernel, tmp_path):
    cell = f"{MAGIC.replace(' --isolate', '')} --max-seconds 1\n{LOOP}".replace("2000", "30")
    assert kernel.run(cell).status == "ok"
    reply = kernel.run("%gpupredict verify --at 60 --seconds 1 --pairs 2", limit=120.0)
    assert reply.status == "ok", reply.text()
    assert "60 %, 78 SMs" in reply.text("stderr")  # 60 % of 132 is 79.2, even
    assert "of the uncapped speed (95 % interval" in reply.result
    missed = kernel.run("%gpupredict verify --seconds 1 --pairs 2")
    assert "name one: --at P" in missed.text("stderr")
    narrow = kernel.run("%gpupredict verify --at 10 --seconds 1 --pairs 2 --json", limit=120.0)
    found = json.loads(narrow.text("stdout"))
    assert not found["verified"]["kept"]
    assert found["verified"]["sm_count"] == 12


@pytest.mark.live_server
def test_a_function_that_is_no_client_verifies_nothing(kernel):
    kernel.run(f"{MAGIC.replace(' --isolate', '')}\nimport time\ntime.sleep(0.2)")
    reply = kernel.run("%gpupredict verify --at 60 --pairs 2")
    assert reply.status == "error"
    assert "was not seen as a client of MPS" in reply.text("stderr")


@pytest.mark.live_server
def test_a_sweep_from_a_terminal(environ, machine, tmp_path):
    notebook = {
        "cells": [
            {
                "cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": [],
                "source": f"%%gpupredict\n{LOOP}",
            }
        ]
    }  # fmt: skip
    path = tmp_path / "train.ipynb"
    path.write_text(json.dumps(notebook))
    ran = subprocess.run(
        [sys.executable, "-m", "jupyter_gpupredict.frontends.cli", "sweep", str(path), "--at",
         "80,20", "--seconds", "1", "--json", "--svg", str(tmp_path / "sweep.svg")],
        capture_output=True, text=True, check=False, env={**os.environ, **environ},
    )  # fmt: skip
    found = json.loads(ran.stdout or ran.stderr)
    assert [one["percent"] for one in found["trials"]] == [100, 80, 20, 20, 80, 100]
    assert found["ratios"]["20"] < 0.75
    assert (tmp_path / "sweep.svg").read_text().startswith("<svg")
    assert until(lambda: machine.daemons() == [], 10.0)


@pytest.mark.live_server
def test_a_cap_of_the_surroundings_is_not_taken_for_no_cap(environ, machine, tmp_path):
    """A daemon of this user is joined, and the kernel's environment holds a percentage."""
    folder, pid = stranger(machine)
    function = tmp_path / "function"
    function.mkdir()
    (function / "train_fn.py").write_text(
        f"def train(params):\n    import time\n    {CUDA}\n    time.sleep(0.1)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "jupyter_gpupredict.frontends.cli", "verify", str(function), "--at",
         "50", "--pairs", "2", "--json"],
        capture_output=True, text=True, check=False,
        env={**os.environ, **environ, "CUDA_MPS_PIPE_DIRECTORY": str(folder),
             "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "40"},
    )  # fmt: skip
    assert ran.returncode in (0, 1), ran.stderr  # two pairs on a busy machine settle nothing
    trials = json.loads(ran.stdout)["trials"]
    assert [(one["percent"], one["sm_count"]) for one in trials] == [
        (100, 132), (50, 66), (50, 66), (100, 132)
    ]  # fmt: skip
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: identify(pid) is None, 5.0)


def test_without_mps_one_line_names_what_is_missing(tmp_path, monkeypatch):
    folder = tmp_path / "function"
    folder.mkdir()
    (folder / "train_fn.py").write_text(textwrap.dedent("def train(params):\n    return {}\n"))
    ran = subprocess.run(
        [sys.executable, "-m", "jupyter_gpupredict.frontends.cli", "verify", str(folder), "--at",
         "50"],
        capture_output=True, text=True, check=False, env={**os.environ, "PATH": "/nowhere"},
    )  # fmt: skip
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert "nvidia-cuda-mps-control is not installed" in line
