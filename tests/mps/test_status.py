"""What the line, the command line and the doctor tell of MPS."""

import dataclasses
import json
import os
import signal

import pytest

from jupyter_gpupredict.frontends import doctor
from jupyter_gpupredict.frontends.cli import main
from jupyter_gpupredict.mps import directory as directories
from jupyter_gpupredict.mps import mps_start, mps_status, mps_stop
from jupyter_gpupredict.mps.directory import identify, until
from tests.fake_nvml.scenario import UUID, FakeGpu, Script
from tests.mps.test_daemon import root_only, stranger


def told(capsys, *words):
    status = main(["mps", *words])
    out, err = capsys.readouterr()
    return status, out, err


def lines():
    return {one.name: one for one in doctor.examine() if one.name.startswith("mps")}


@pytest.mark.live_server
def test_a_terminal_starts_shows_and_stops_a_daemon(machine, capsys):
    status, out, _ = told(capsys, "start")
    assert status == 0
    (directory,) = machine.directories()
    assert f"export CUDA_MPS_PIPE_DIRECTORY={directory / 'pipe'}" in out
    found = json.loads(told(capsys, "status", "--json")[1])
    (own,) = found["own"]
    assert (own["detached"], own["gpu_uuid"], own["clients"]) == (True, UUID, [])
    assert found["driver"] == "580.00"
    assert found["commands"].endswith("(by the record of 555)")
    with machine.client(
        CUDA_MPS_PIPE_DIRECTORY=own["pipe_directory"], CUDA_VISIBLE_DEVICES=UUID
    ) as client:
        shown = told(capsys, "status")[1]
        assert f"started from a terminal, on {UUID}" in shown
        assert f"clients {client.pid}" in shown
        status, _, err = told(capsys, "stop")
        assert status == 2
        assert f"processes {client.pid} are clients of this daemon" in err
    assert told(capsys, "stop")[1] == f"stopped {own['pipe_directory']}\n"
    assert until(lambda: identify(own["owner_pid"]) is None, 10.0)
    os.waitpid(own["owner_pid"], 0)
    assert told(capsys, "stop")[0] == 2


@pytest.mark.live_server
def test_a_daemon_of_another_pid_namespace_is_left_alone_and_named(machine, capsys):
    """As that of a container's host, whose temporary directory is mounted."""
    made = directories.make(directories.place(), UUID, os.getpid())
    directories._mark(dataclasses.replace(made, namespace="pid:[1]", detached=True))
    status, out, err = told(capsys, "stop")
    assert (status, out) == (2, "")
    assert f"{made.pipe} was started in another PID namespace" in err
    assert "another PID namespace" in told(capsys, "status")[1]
    told(capsys, "start")
    own = next(one for one in mps_status().own if one.pid is not None)
    status, out, _ = told(capsys, "stop")
    assert status == 0
    assert f"stopped {own.pipe_directory}\n" in out
    assert f"left alone {made.pipe}: started in another PID namespace" in out
    assert machine.directories() == [made.path]
    made.remove()
    os.waitpid(own.owner_pid, 0)


@pytest.mark.live_server
def test_a_terminal_leaves_a_kernels_daemon_alone(machine, capsys):
    mps_start()
    try:
        status, _, err = told(capsys, "stop")
        assert status == 2
        assert f"that of process {os.getpid()} ends there" in err
        assert len(machine.daemons()) == 2  # and its server
    finally:
        mps_stop()


@pytest.mark.live_server
def test_starting_twice_is_starting_once(machine):
    first = mps_start()
    assert mps_start() == first
    assert mps_stop().own == ()


@pytest.mark.live_server
def test_a_daemon_that_was_killed_is_started_anew(machine):
    first = mps_start().own[0].pid
    os.kill(first, signal.SIGKILL)
    assert until(lambda: identify(first) is None, 5.0)
    assert mps_status().own[0].problem == "its daemon does not run"
    (own,) = mps_start().own
    assert own.pid not in (None, first)
    mps_stop()


@pytest.mark.parametrize("words", [[], ["begin"], ["start", "--device", "7"], ["stop"]])
def test_bad_input_is_one_line(machine, capsys, words):
    status, out, err = told(capsys, *words)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1


@pytest.mark.live_server
def test_a_status_where_nothing_answers(machine, capsys, monkeypatch):
    mps_start()
    machine.misbehave("say * ???")
    (own,) = mps_status().own
    assert "???" in own.problem
    machine.behave()
    mps_stop()


def test_the_doctor(machine, driver, monkeypatch):
    found = lines()
    assert found["mps program"].found.endswith(", driver 580.00")
    assert found["mps abilities"].found == (
        "--mps, proof of attachment, ending one client, memory limits (by the record of 555)"
    )
    assert found["mps daemon"].found == "none runs; --mps starts one"
    assert found["mps compute mode"].found == "default"
    assert found["mps user"].found.startswith(f"uid {os.geteuid()};")
    assert all(one.works for one in found.values())
    driver.play(Script([FakeGpu(compute_mode=2)]))
    config_line = lines()["mps compute mode"]
    assert (config_line.works, config_line.found) == (False, "prohibited")
    monkeypatch.setenv("PATH", str(machine.folder))
    assert not lines()["mps program"].works
    assert "nvidia-compute-utils" in lines()["mps program"].fix
    assert "get_server_list" not in machine.commands()  # nobody was asked


@root_only
def test_the_doctor_sees_a_foreign_daemon(machine, monkeypatch):
    folder, pid = stranger(machine)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(folder))
    assert "this user's, not ours" in lines()["mps daemon"].found
    os.chown(folder, 12345, 12345)
    found = lines()["mps daemon"]
    assert (found.works, "another user's" in found.found) == (False, True)
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: identify(pid) is None, 5.0)
