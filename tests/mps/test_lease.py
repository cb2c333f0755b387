"""How a child stands to MPS when nothing was set up for it: shown by the SMs that it was given."""

import os
import socket
from types import SimpleNamespace

import pytest

from jupyter_gpupredict.core.recommendation import AppliedShare
from jupyter_gpupredict.mps.lease import ChildLease, Lease
from jupyter_gpupredict.mps.states import Ended
from tests.fake_nvml.scenario import UUID, FakeGpu, Script

H100 = {"cores": (132 * 128, "9.0")}
A10 = {"cores": (84 * 128, "8.6"), "name": "A10", "uuid": "GPU-9"}
FOREIGN = AppliedShare(active=False, reason="the daemon is another user's")


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """A socket where CUDA looks for a daemon; the daemon's process is not to be seen."""
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("control")
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
        yield


def ended(sm_count, outcome="completed", changes=None):
    child = SimpleNamespace(pid=os.getpgid(0), ended=Ended(outcome, 1.0, None, sm_count))
    return ChildLease(Lease(changes or {}, FOREIGN), child).end()


def test_a_child_that_found_a_foreign_daemon_by_itself_is_capped(driver, daemon):
    driver.play(Script([FakeGpu(**H100)]))
    found = ended(52)
    assert (found.capped, found.cap, found.joined) == (True, "52 of 132 SMs", True)
    assert found.reason == FOREIGN.reason


@pytest.mark.parametrize("sm_count", [132, None])
def test_a_child_with_all_of_the_sms_or_none_is_not(driver, daemon, sm_count):
    driver.play(Script([FakeGpu(**H100)]))
    assert ended(sm_count) == FOREIGN


def test_a_child_that_died_may_have_had_what_its_environment_said(driver, daemon, monkeypatch):
    driver.play(Script([FakeGpu(**H100)]))
    assert not ended(None, "died").capped
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "40")
    assert ended(None, "died").capped
    assert not ended(None).capped  # it never started CUDA


def test_a_memory_limit_of_the_environment_is_told(driver, daemon, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=1G, 1=512MB")
    driver.play(Script([FakeGpu(**H100)]))
    assert ended(132).memory_limit_bytes == 512 << 20


def test_on_a_mixed_machine_the_named_card_is_compared(driver):
    driver.play(Script([FakeGpu(**H100), FakeGpu(**A10)]))
    assert not ended(84, changes={"CUDA_VISIBLE_DEVICES": A10["uuid"]}).capped
    assert ended(84, changes={"CUDA_VISIBLE_DEVICES": UUID}).capped


def test_on_a_mixed_machine_a_number_names_no_card_for_sure(driver, tmp_path, monkeypatch):
    driver.play(Script([FakeGpu(**H100), FakeGpu(**A10)]))
    assert not ended(84).capped  # as wide as the second one, and no daemon is there
    assert ended(60).capped  # none is so narrow


def test_on_a_mixed_machine_with_a_daemon_a_cap_is_supposed(driver, daemon):
    driver.play(Script([FakeGpu(**H100), FakeGpu(**A10)]))
    assert ended(84).capped
