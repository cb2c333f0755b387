"""Real kernels under MPS: refusals, shutdown, restart, and a kernel that is killed."""

import json

import pytest

from jupyter_gpupredict.mps.directory import until
from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import FakeGpu, Script
from tests.integration.kernels import Kernel

pytestmark = pytest.mark.integration
CUDA = "import ctypes; cuda = ctypes.CDLL('libcuda.so.1'); cuda.cuInit(0)"
MAGIC = "%%gpupredict --source nvml --interval 0.1 -o run --mps"


@pytest.fixture
def environ(machine, driver, tmp_path):
    driver.play(Script([FakeGpu(cores=(132 * 128, "9.0"))]))
    return {
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "LD_LIBRARY_PATH": f"{library_dir()}:{library_dir('libcuda.so.1')}",
        # nothing is there: what may run at the driver's default place is not of this test
        "CUDA_MPS_PIPE_DIRECTORY": str(machine.folder / "none"),
    }


def ask(kernel, expression):
    reply = kernel.run(f"import json; print(json.dumps({expression}))")
    assert reply.status == "ok", reply.tracebacks
    return json.loads(reply.text("stdout"))


@pytest.mark.live_server
def test_a_kernel_is_a_client_until_it_ends(machine, environ):
    with Kernel(**environ) as kernel:
        reply = kernel.run(f"{MAGIC}\n{CUDA}\n'mine'")
        assert (reply.status, reply.result) == ("ok", "'mine'")
        found = ask(kernel, "run.to_dict()")
        assert (found["mps"]["attached"], found["capped"]) == (True, False)
        left = ask(kernel, "__import__('os').environ['CUDA_MPS_PIPE_DIRECTORY']")
        assert left == environ["CUDA_MPS_PIPE_DIRECTORY"]

        refused = kernel.run("%gpupredict mps stop")
        assert refused.status == "error"
        assert "is a client of its MPS daemon until it ends" in refused.text("stderr")
        assert "restart the kernel" in refused.text("stderr")
        pid = ask(kernel, "__import__('os').getpid()")
        status = kernel.run("%gpupredict mps status").text("stdout")
        assert f"of process {pid}" in status
        assert f"clients {pid}" in status
        assert "a client until it ends" in status
        assert machine.daemons() != []
    assert until(lambda: machine.daemons() == [] and machine.directories() == [], 15.0)
    sent = [line.split()[0] for line in machine.commands()]
    assert sent.index("terminate_client") < sent.index("quit")


@pytest.mark.live_server
def test_a_kernel_that_is_killed_leaves_nothing(machine, environ):
    with Kernel(**environ) as kernel:
        kernel.run(f"{MAGIC} --mps-percentage 40\n{CUDA}")
        assert machine.daemons() != []
        kernel.manager.signal_kernel(9)
        assert until(lambda: machine.daemons() == [] and machine.directories() == [], 15.0)


@pytest.mark.live_server
def test_a_busy_kernel_is_restarted_through_mps(machine, environ):
    """The request comes before the signal, and ends the client's contexts."""
    busy = machine.folder / "busy"
    with Kernel(**environ) as kernel:
        kernel.client.execute(
            f"{MAGIC}\n{CUDA}\nopen({str(busy)!r}, 'w').close()\nimport time\n"
            "while True: time.sleep(0.1)"
        )
        assert until(busy.exists, 30.0)
        kernel.manager.shutdown_wait_time = 2.0
        kernel.client.stop_channels()
        kernel.manager.restart_kernel(now=False)
        kernel._connect()
        assert any(line.startswith("terminate_client") for line in machine.commands())
        assert until(lambda: machine.daemons() == [] and machine.directories() == [], 15.0)
        reply = kernel.run(f"{MAGIC}\n{CUDA}")  # a fresh kernel is a client anew
        assert reply.status == "ok"
        assert ask(kernel, "run.to_dict()")["mps"]["attached"] is True
    assert until(lambda: machine.daemons() == [] and machine.directories() == [], 15.0)


@pytest.mark.live_server
def test_an_interrupt_while_a_run_begins_puts_everything_back(machine, environ):
    with Kernel(**environ) as kernel:
        kernel.run(
            "import jupyter_gpupredict.frontends.cellrun as cellrun\n"
            "def interrupted(*_):\n    raise KeyboardInterrupt\n"
            "kept, cellrun.executed.remember = cellrun.executed.remember, interrupted\n"
            "import os; before = {k: v for k, v in os.environ.items() if k.startswith('CUDA')}"
        )
        assert kernel.run(f"{MAGIC}\n{CUDA}").status == "error"
        after = "{k: v for k, v in os.environ.items() if k.startswith('CUDA')} == before"
        assert kernel.run(after).result == "True"
        assert machine.daemons() == []
        kernel.run("cellrun.executed.remember = kept")
        kernel.run(f"{MAGIC}\n{CUDA}")
        assert ask(kernel, "run.to_dict()")["mps"]["attached"] is True
    assert until(lambda: machine.daemons() == [] and machine.directories() == [], 15.0)


@pytest.mark.live_server
def test_two_kernels_start_at_once(machine, environ):
    with Kernel(**environ) as one, Kernel(**environ) as other:
        for kernel in (one, other):
            kernel.client.execute(f"{MAGIC}\n{CUDA}")
        found = [ask(kernel, "run.to_dict()")["mps"] for kernel in (one, other)]
        assert [mps["attached"] for mps in found] == [True, True]
        assert found[0]["pipe_directory"] != found[1]["pipe_directory"]
        one.manager.signal_kernel(9)
        assert until(lambda: len(machine.directories()) == 1, 15.0)
        assert ask(other, "run.to_dict()")["mps"]["attached"] is True
        assert other.run(f"{MAGIC}\n1").status == "ok"
    assert until(lambda: machine.daemons() == [] and machine.directories() == [], 15.0)


def test_too_late_in_a_kernel(machine, environ):
    with Kernel(**environ) as kernel:
        kernel.run(CUDA)
        reply = kernel.run(f"{MAGIC} --mps-percentage 40\n'mine'")
        assert (reply.status, reply.result) == ("ok", "'mine'")
        assert "restart the kernel" in reply.text("stderr")
        assert "ran without MPS" in reply.summaries[-1]
    assert machine.commands() == []


@pytest.mark.live_server
def test_start_and_stop_from_the_line(machine, environ):
    with Kernel(**environ) as kernel:
        assert f"of process {kernel.manager.provisioner.pid}" in kernel.run(
            "%gpupredict mps start"
        ).text("stdout")
        assert len(machine.directories()) == 1
        assert "our daemon    none" in kernel.run("%gpupredict mps stop").text("stdout")
        assert machine.directories() == []
        again = kernel.run("%gpupredict mps stop")
        assert again.status == "error"
        assert "no MPS daemon of this process runs" in again.text("stderr")
        kernel.run("%gpupredict mps start")
        kernel.run("%unload_ext jupyter_gpupredict")
        assert machine.directories() == []
