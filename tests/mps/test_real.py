"""NVIDIA's own control daemons, which run without a GPU: what is started with them also ends.

They have no live server here. Where a test needs what comes after one has started, the two answers
that say so are put before the program (`alive`); everything else, the end above all, is its own.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from jupyter_gpupredict.core.errors import ServerFault
from jupyter_gpupredict.frontends import doctor
from jupyter_gpupredict.mps import (
    cell_share,
    mps_daemon,
    mps_start,
    mps_start_detached,
    mps_status,
    mps_stop,
    mps_stop_detached,
    process_mps,
)
from jupyter_gpupredict.mps.control import by_driver
from jupyter_gpupredict.mps.daemon import start
from jupyter_gpupredict.mps.directory import daemon_in, found, until
from jupyter_gpupredict.run import SessionConfig, build_session, shutdown
from tests.fake_mps import FETCHED, real_environment, real_libraries
from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import UUID, FakeGpu, Script
from tests.integration.kernels import Kernel
from tests.mps.test_daemon import root_only

pytestmark = pytest.mark.integration
ALIVE = ("say get_server_list 4194303", "say get_server_status ACTIVE")
ACCEPTED = "Accepting connection..."
CUDA = "import ctypes; code = ctypes.CDLL('libcuda.so.1').cuInit(0)"
MAGIC = "%%gpupredict --source nvml --interval 0.1 -o run --mps"


@pytest.fixture
def branch(request):
    """Both; with a kernel, which takes longer, one of them unless there is time."""
    return getattr(request, "param", "550")


def pytest_generate_tests(metafunc):
    if "branch" in metafunc.fixturenames:
        older = pytest.mark.long if "kernel" in metafunc.fixturenames else ()
        branches = [pytest.param("535", marks=older), "550"]
        metafunc.parametrize("branch", branches, indirect=True)


@pytest.fixture
def folder(branch, machine, monkeypatch, driver):
    """One branch's programs, in the stand-in's place."""
    folder = FETCHED / branch
    if not (folder / "usr/bin/nvidia-cuda-mps-control").exists():
        pytest.skip(f"no programs of {branch}: python -m tests.fake_mps.fetch build/mps")
    for name, value in real_environment(folder).items():
        monkeypatch.setenv(name, value)
    driver.play(Script([FakeGpu(cores=(132 * 128, "9.0"))]))
    return folder


@pytest.fixture
def kernel(folder, machine, tmp_path):
    """A kernel with NVIDIA's own libcuda, where nothing runs at the driver's default place."""
    with Kernel(
        IPYTHONDIR=str(tmp_path / "ipython"),
        LD_LIBRARY_PATH=f"{library_dir()}:{real_libraries(folder)}",
        CUDA_MPS_PIPE_DIRECTORY=str(machine.folder / "none"),
    ) as one:
        yield one


def nothing_left(machine, limit_s=15.0):
    return until(lambda: machine.daemons() == [] and machine.directories() == [], limit_s)


def test_start_status_and_stop_without_a_server(folder, machine):
    process = process_mps()
    daemon = process.start(UUID)
    assert process.start(UUID) is daemon
    os.kill(daemon.pid, signal.SIGSTOP)
    assert process.start(UUID) is daemon  # which goes on
    (own,) = mps_status().own
    assert (own.pid, own.servers, own.clients, own.problem) == (daemon.pid, {}, (), "")
    assert daemon.directory.commands == by_driver(folder.name).commands  # as recorded
    assert mps_stop().own == ()
    assert nothing_left(machine, 0.0)


def test_a_server_that_cannot_start_is_told_and_nothing_is_left(folder, machine):
    for begin in (mps_start, mps_start_detached):
        with pytest.raises(ServerFault, match=r"does not start: Server \d+ exited with status 1$"):
            begin()
        assert nothing_left(machine, 0.0)
    trial = {line.name: line for line in doctor.examine(mps=True)}
    assert trial["mps trial"].found.endswith("(by asking it)")
    assert "exited with status 1" in trial["mps trial server"].found
    assert nothing_left(machine, 0.0)


def test_from_a_terminal_with_and_without_a_server(folder, machine):
    machine.misbehave(*ALIVE)
    first = mps_start_detached()
    assert mps_start_detached() == first
    machine.behave()
    (own,) = mps_status().own
    assert (own.detached, own.problem, own.pipe_directory) == (True, "", first)
    assert mps_stop_detached() == ([first], [])
    os.waitpid(own.owner_pid, 0)
    assert nothing_left(machine, 0.0)


@pytest.mark.parametrize("how", ["killed", "halted", "replaced"])
def test_a_daemon_that_does_not_answer_any_more(folder, machine, how):
    daemon = start(UUID)
    if how == "halted":
        os.kill(daemon.pid, signal.SIGSTOP)
        assert until(lambda: psutil.Process(daemon.pid).status() == psutil.STATUS_STOPPED, 5.0)
        (own,) = mps_status().own
        assert "gave no answer" in own.problem
        line = next(one for one in doctor.examine() if one.name == "mps daemon")
        assert not line.works
    else:
        os.kill(daemon.pid, signal.SIGKILL)
        assert until(lambda: not daemon.alive, 5.0)
    if how == "replaced":
        subprocess.run(
            ["nvidia-cuda-mps-control", "-d"],
            env=os.environ | {"CUDA_MPS_PIPE_DIRECTORY": str(daemon.directory.pipe)},
            check=True,
        )
        assert until(lambda: daemon_in(daemon.directory.pipe) is not None, 5.0)
    began_s = time.monotonic()
    daemon.quit()
    assert time.monotonic() - began_s < 10.0
    assert nothing_left(machine, 0.0)


def test_a_cell_without_a_server_runs_without_mps_and_keeps_cuda(kernel, machine, folder):
    reply = kernel.run(f"{MAGIC}\n'mine'")
    assert (reply.status, reply.result) == ("ok", "'mine'")
    told = "the MPS server does not start: Failed to start : no CUDA-capable device is detected"
    assert f"ran without MPS: {told}\n" in reply.text("stderr")
    assert f"ran without MPS: {told}" in reply.summaries[-1]
    assert nothing_left(machine, 0.0)
    ours = kernel.run(f"{CUDA}; print(code)").text("stdout")
    without = subprocess.run(
        [sys.executable, "-c", f"{CUDA}; print(code)"],
        env=os.environ | {"LD_LIBRARY_PATH": str(real_libraries(folder))},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert (ours, ours == "805\n") == (without, False)


def test_a_cell_that_never_starts_cuda_takes_the_daemon_with_it(kernel, machine):
    machine.misbehave(*ALIVE)
    begun = machine.folder / "begun"
    reply = kernel.run(f"{MAGIC}\nopen({str(begun)!r}, 'w').close()\n'mine'")
    assert (reply.status, reply.result) == ("ok", "'mine'")
    assert begun.exists()
    assert "CUDA did not start in this cell" in reply.summaries[-1]
    assert nothing_left(machine, 0.0)


def test_a_cell_whose_server_is_gone_is_told_what_805_means(kernel, machine):
    machine.misbehave(*ALIVE)
    reply = kernel.run(f"{MAGIC} --mps-percentage 40\n{CUDA}\ncode")
    assert (reply.status, reply.result) == ("ok", "805")
    assert "CUDA could not reach its MPS server" in reply.summaries[-1]
    assert "CAPPED" not in reply.summaries[-1]
    assert nothing_left(machine)


BEFORE = "open(BEGUN, 'w').close(); time.sleep(60)"
WHILE = (
    "open(BEGUN, 'w').close()\nwhile os.path.exists(BEGUN): time.sleep(0.01)\n"
    f"{CUDA}"  # the daemon is halted by then, and this never returns
)
AFTER = f"{CUDA}; open(BEGUN, 'w').close(); time.sleep(60)"


@pytest.mark.parametrize("body", [BEFORE, WHILE, AFTER], ids=["before", "while", "after"])
def test_an_isolated_cell_that_is_interrupted_leaves_no_process(kernel, machine, body):
    machine.misbehave(*ALIVE)
    begun = machine.folder / "begun"
    code = body.replace("BEGUN", repr(str(begun)))
    message = kernel.client.execute(f"{MAGIC} --isolate\nimport os, time\n{code}")
    assert until(begun.exists, 60.0)
    if body == WHILE:
        (own,) = found()
        os.kill(own.daemon.pid, signal.SIGSTOP)
        begun.unlink()
        time.sleep(1.0)  # into the call
    began_s = time.monotonic()
    kernel.manager.interrupt_kernel()
    while kernel.client.get_shell_msg(timeout=60)["parent_header"].get("msg_id") != message:
        pass
    assert time.monotonic() - began_s < 10.0
    assert nothing_left(machine, 0.0)
    assert not list(machine.folder.glob("gpupredict-child-*"))


@pytest.mark.parametrize(
    "seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 11))]
)
def test_a_kernel_killed_at_a_random_moment_leaves_nothing(kernel, machine, seed):
    machine.misbehave(*ALIVE)
    kernel.client.execute(f"{MAGIC}\nimport time; time.sleep(0.3)")
    assert until(lambda: machine.commands() != [], 60.0)
    time.sleep(random.Random(seed).uniform(0.0, 3.0))  # start, body and end of the cell
    kernel.manager.signal_kernel(9)
    assert nothing_left(machine)


@contextlib.contextmanager
def foreign(machine, folder, place, user):
    """A daemon that somebody else started, and what its log says in the end."""
    pipe = machine.folder / place
    pipe.mkdir(mode=0o755)
    os.chown(pipe, user, user)
    machine.folder.chmod(0o755)
    places = dict.fromkeys(("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"), str(pipe))
    programs = machine.folder / "programs"  # where another user may read them
    shutil.copytree(folder / "usr", programs)
    subprocess.run(
        [programs / "bin/nvidia-cuda-mps-control", "-d"],
        env=places | {"PATH": str(programs / "sbin")}, check=True, user=user, cwd="/",
    )  # fmt: skip
    assert until(lambda: daemon_in(pipe) is not None, 5.0)
    daemon = daemon_in(pipe)
    yield pipe
    os.kill(daemon.pid, signal.SIGKILL)
    assert until(lambda: not daemon.alive, 5.0)


@root_only
@pytest.mark.parametrize("user", [0, 12345])
@pytest.mark.parametrize("place", ["default", "inherited"])
def test_a_foreign_daemon_gets_no_command(folder, machine, monkeypatch, place, user):
    with foreign(machine, folder, place, user) as pipe:
        if place == "inherited":
            monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(pipe))
        mps_status()
        mps_daemon()
        doctor.examine()
        for connects in (0, 1):
            if connects:  # as where it cannot be seen in /proc
                monkeypatch.setattr(
                    "jupyter_gpupredict.mps.surroundings.daemon_in", lambda *_, **__: None
                )
            asked = SessionConfig(source="nvml", mps=True)
            session = build_session(asked, share=cell_share(asked))
            session.start()
            run = session.stop("completed")
            shutdown()
            process_mps().leave()
            assert (run.applied.joined, "another user's" in run.applied.reason) == (
                user == 0, user != 0
            )  # fmt: skip
            log = pipe / "control.log"
            assert until(lambda: log.read_text().count(ACCEPTED) >= connects, 5.0)  # noqa: B023
            assert log.read_text().count(ACCEPTED) == connects
            assert "Cmd:" not in log.read_text()
