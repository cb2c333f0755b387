"""A server is started and watched before any process becomes a client: never CUDA error 805."""

import dataclasses
import os
import time

import pytest

from jupyter_gpupredict.core.errors import ControlTimeout, LimitRefused, ServerFault
from jupyter_gpupredict.mps import (
    directory,
    mps_start,
    mps_start_detached,
    mps_stop_detached,
    mps_trial,
    process_mps,
)
from jupyter_gpupredict.mps.control import OPTIONAL, require_server
from jupyter_gpupredict.mps.daemon import start
from jupyter_gpupredict.mps.lease import hosted
from tests.fake_nvml.scenario import UUID
from tests.mps.test_control import RECORDED
from tests.mps.test_run import WORK, measured


@pytest.fixture
def stand_in(machine, monkeypatch):
    """For what no real daemon of this machine does: another branch, a server that lives."""
    monkeypatch.delenv("FAKE_MPS_REAL", raising=False)


@pytest.fixture
def dying(monkeypatch):
    """Servers die at once, as NVIDIA's do without a GPU."""
    monkeypatch.setenv("FAKE_MPS_SERVER", "dies")


@pytest.fixture
def daemon(machine, dying):
    started = start(UUID)
    yield started
    machine.behave()
    started.quit()


@pytest.mark.parametrize("branch", sorted(RECORDED))
def test_a_server_that_stays_for_two_looks(machine, stand_in, monkeypatch, branch):
    monkeypatch.setenv("FAKE_MPS_BRANCH", branch)
    daemon = start(UUID)
    pid = require_server(daemon.directory)
    assert daemon.control.get_server_list() == [pid]
    sent = machine.commands()
    assert require_server(daemon.directory) == pid  # which is not started twice
    assert not any(one.startswith("start_server") for one in machine.commands()[len(sent) :])
    daemon.quit()


def test_a_server_that_dies_at_once_is_told_at_once(daemon):
    began_s = time.monotonic()
    with pytest.raises(ServerFault, match=r"does not start: Server \d+ exited with status 1$"):
        require_server(daemon.directory)
    assert time.monotonic() - began_s < 5.0  # not the ten seconds that a slow one may take


def test_the_servers_own_last_words_are_the_reason(daemon):
    (daemon.directory.log / "server.log").write_text(
        "[2026-01-01 00:00:00.000 Other     1] Starting up\n"
        "[2026-01-01 00:00:00.000 Server 1234] Failed to start: no device\n"
    )
    with pytest.raises(ServerFault, match=r"does not start: Failed to start: no device$"):
        require_server(daemon.directory)


def test_a_server_that_is_listed_and_gone_does_not_count(machine, daemon):
    """Its number may be in the list for a moment after it has died."""
    machine.misbehave(
        "say get_server_list 4194303", "say get_server_status Server 4194303 not found"
    )
    if "get_server_status" not in daemon.directory.commands:
        assert require_server(daemon.directory) == 4194303  # there is no more to go by
        return
    with pytest.raises(ControlTimeout, match="no MPS server has started in 1 s"):
        require_server(daemon.directory, limit_s=1.0)


def test_a_server_that_is_at_fault_is_refused(machine, daemon):
    machine.misbehave("say get_server_list 4194303", "say get_server_status FAULT")
    daemon.directory = dataclasses.replace(daemon.directory, commands=frozenset(OPTIONAL))
    with pytest.raises(ServerFault, match="state FAULT"):
        require_server(daemon.directory)


def test_the_wait_is_told_and_has_an_end(machine, daemon, monkeypatch, capfd):
    monkeypatch.setattr(directory, "ANNOUNCED_AFTER_S", 0.2)
    machine.misbehave("say get_server_list 4194303", "say get_server_status INITIALIZING")
    daemon.directory = dataclasses.replace(daemon.directory, commands=frozenset(OPTIONAL))
    with pytest.raises(ControlTimeout):
        require_server(daemon.directory, limit_s=1.0)
    assert "gpupredict: waiting for the MPS server to start\n" in capfd.readouterr().err


CODE = "import ctypes; print('code', ctypes.CDLL('libcuda.so.1').cuInit(0), flush=True)"


def test_a_cell_whose_server_does_not_start_runs_without_mps(machine, dying):
    """And CUDA answers as it does without us, in that cell and in later ones."""
    ((found, later), said) = measured(({"mps": True}, CODE), ({"mps": True}, CODE))
    assert "the MPS server does not start: Server " in found["mps"]["reason"]
    assert (found["mps"]["active"], found["outcome"]) == (False, "completed")
    assert "CUDA is initialised" in later["mps"]["reason"]  # so the first one could use it
    assert said.count("\n") == 2
    assert machine.directories() == []


def test_a_cell_that_sees_805_all_the_same_is_told_what_it_means(machine, stand_in, monkeypatch):
    """Its server was there a moment before, and none starts any more."""
    monkeypatch.setenv("FAKE_MPS_SERVER", "dies")
    machine.misbehave("say get_server_list 4194303", "say get_server_status ACTIVE")
    ((found,), _) = measured(({"mps": True, "mps_percentage": 40}, CODE))
    assert found["mps"]["reason"] == (
        "CUDA could not reach its MPS server and answers with that error from now on: restart the "
        "kernel to use CUDA"
    )
    assert machine.directories() == []


def test_mps_start_says_why_and_leaves_nothing(machine, dying):
    for begin in (mps_start, mps_start_detached):
        with pytest.raises(ServerFault, match="the MPS server does not start"):
            begin()
        assert machine.directories() == []
    assert process_mps().daemon is None


def test_a_trial_asks_and_leaves_nothing(machine, dying):
    trial = mps_trial()
    assert trial.problem == ""
    assert trial.commands.endswith("(by asking it)")
    assert "the MPS server does not start: Server " in trial.server_problem
    assert machine.directories() == []


def test_a_memory_limit_that_the_driver_has_not_costs_only_mps(machine, stand_in, monkeypatch):
    monkeypatch.setenv("FAKE_MPS_BRANCH", "470")
    gone = "import jupyter_gpupredict.mps.directory as d; assert d.found() == []"
    ((found,), _) = measured(({"mps": True, "memory_limit_mib": 512}, f"{gone}; {WORK}"))
    assert "cannot limit the memory of a client" in found["mps"]["reason"]
    assert found["mps"]["memory_limit_bytes"] is None
    assert machine.directories() == []
    with pytest.raises(LimitRefused), hosted() as host:
        host.lease(None, 512)


def test_a_client_of_an_old_driver_is_shown_too(machine, stand_in, monkeypatch):
    """Branch 470 has no `ps`; its `get_client_list` shows as much."""
    monkeypatch.setenv("FAKE_MPS_BRANCH", "470")
    ((found,), _) = measured(({"mps": True}, WORK))
    assert (found["mps"]["attached"], found["mps"]["sm_count"]) == (True, 132)


def test_a_second_start_from_a_terminal_is_the_same_daemon(machine, stand_in):
    first = mps_start_detached()
    assert mps_start_detached() == first
    assert mps_stop_detached() == ([first], [])
    os.waitpid(-1, 0)
