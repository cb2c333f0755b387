"""The supported ipykernel releases, and the one that is not, each as a real kernel."""

import queue
import subprocess
import sys
import time

import pytest

from tests.integration.kernels import Kernel

pytestmark = pytest.mark.integration
SECONDS = 3.0
FRAMES_HZ = 4
BUSY = f"""%%gpupredict --source synthetic -o run
import time
end = time.monotonic() + {SECONDS}
while time.monotonic() < end:
    sum(range(1000))
"""


@pytest.fixture(scope="module", params=["6.29.5", "7.1.0", "7.0.1", "installed"])
def versioned(request, tmp_path_factory):
    """A kernel of that release, from a folder of its own put before the installed one."""
    release = request.param
    home = tmp_path_factory.mktemp("kernel")
    environ = {"JUPYTER_DATA_DIR": str(home / "data"), "IPYTHONDIR": str(home / "ipython")}
    if release != "installed":
        folder = request.config.cache.mkdir(f"ipykernel-{release}")
        if not any(folder.iterdir()):
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            wanted = ["--target", str(folder), f"ipykernel=={release}", "nest-asyncio"]
            done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"ipykernel {release} could not be installed: {done.stderr[-200:]}")
        environ["PYTHONPATH"] = str(folder)
    with Kernel(**environ) as kernel:
        version = kernel.run("import ipykernel; ipykernel.__version__").result.strip("'")
        assert release in (version, "installed")
        yield kernel, version


def frames_while_busy(kernel):
    """Return the arrival times of the live view's frames, from the cell's start to its end."""
    message_id = kernel.client.execute(BUSY)
    times, warnings = [], ""
    while True:
        try:
            message = kernel.client.get_iopub_msg(timeout=20)
        except queue.Empty:
            pytest.fail("the cell did not end")
        kind, content = message["msg_type"], message["content"]
        if kind == "comm_msg" and content["data"].get("method") == "custom":
            times.append(time.monotonic())
        if kind == "stream" and content["name"] == "stderr":
            warnings += content["text"]
        mine = message["parent_header"].get("msg_id") == message_id
        if mine and kind == "status" and content["execution_state"] == "idle":
            break
    kernel.client.get_shell_msg(timeout=10)
    return times, warnings


def test_frames_arrive_while_the_cell_holds_the_gil(versioned):
    kernel, version = versioned
    times, warnings = frames_while_busy(kernel)
    if version.startswith("7.0."):
        assert times == []
        assert len(warnings.strip().splitlines()) == 1
        assert "7.1" in warnings
    else:
        assert warnings == ""
        assert len(times) >= 0.6 * SECONDS * FRAMES_HZ
        assert times[-1] - times[0] > 0.6 * SECONDS, "they came in one heap"
    assert kernel.run("run.run.samples > 10").result == "True"


def test_value_error_and_status(versioned):
    kernel, _ = versioned
    good = kernel.run("%%gpupredict --source synthetic\n1 + 41")
    assert (good.status, good.result, len(good.summaries)) == ("ok", "42", 1)
    bad = kernel.run("%%gpupredict --source synthetic\n\n1/0")
    assert bad.status == "error"
    assert len(bad.tracebacks) == 1
    assert "----> 3 1/0" in bad.tracebacks[0]


def test_an_interrupt(versioned):
    kernel, _ = versioned
    cell = "%%gpupredict --source synthetic -o run\nimport time; print(1); time.sleep(30)"
    assert kernel.run(cell, interrupt_after=0.5).status == "error"
    assert kernel.run("run.run.outcome").result == "'interrupted'"


def test_until_converged_leaves_an_ok_reply(versioned, settling):
    kernel, _ = versioned
    reply = kernel.run(f"{settling} --until-converged\nimport time; time.sleep(40)", limit=50)
    assert reply.status == "ok"
    assert "stopped this cell" in reply.text("stdout")
