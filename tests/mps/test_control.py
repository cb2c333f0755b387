"""Commands to the MPS program: every answer is typed, everything else is an error."""

import dataclasses
import json
import os
import signal
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import (
    ControlTimeout,
    DaemonNotRunning,
    MpsError,
    ServerFault,
)
from jupyter_gpupredict.mps import directory
from jupyter_gpupredict.mps.control import OPTIONAL, Control, by_driver
from jupyter_gpupredict.mps.daemon import start
from jupyter_gpupredict.mps.directory import make, place, read
from tests.fake_mps import FOLDER
from tests.fake_nvml.scenario import UUID

QUERIES = [
    ("commands", ()),
    ("get_server_list", ()),
    ("get_server_status", (1,)),
    ("clients", ()),
    ("terminate_client", (1, 2)),
    ("start_server", (0,)),
]
KNOWN = frozenset(OPTIONAL)
RECORDED = {one.stem: json.loads(one.read_text()) for one in (FOLDER / "replies").glob("*.json")}


def fresh():
    """A directory in which no daemon runs."""
    return make(place(), UUID, os.getpid())


@pytest.fixture
def daemon(machine):
    started = start(UUID)
    yield started
    machine.behave()
    started.quit()


@pytest.mark.live_server
def test_the_life_of_a_client(machine, daemon):
    control = daemon.control
    assert control.get_server_list() == []
    with machine.client(
        CUDA_MPS_PIPE_DIRECTORY=str(daemon.directory.pipe), CUDA_VISIBLE_DEVICES=UUID
    ) as client:
        (server,) = control.get_server_list()
        assert control.get_server_status(server) == "ACTIVE"
        assert control.clients() == {server: [client.pid]}
        assert control.client_pids() == [client.pid]
        control.terminate_client(server, client.pid)
        assert control.client_pids() == []
        with pytest.raises(ServerFault, match="not found"):
            control.terminate_client(server, client.pid)


def test_what_is_not_there_is_no_fault(daemon):
    """Where there is no server, NVIDIA's daemons answer `not found`, or nothing."""
    control = daemon.control
    assert (control.get_server_list(), control.clients()) == ([], {})
    assert control.get_server_status(1) == ""
    if "terminate_client" in daemon.directory.commands:
        control.terminate_client(1, 2)


@pytest.mark.parametrize("branch", sorted(RECORDED))
def test_each_branch_is_asked_once_what_it_knows(machine, monkeypatch, branch):
    monkeypatch.delenv("FAKE_MPS_REAL", raising=False)
    monkeypatch.setenv("FAKE_MPS_BRANCH", branch)
    daemon = start(UUID)
    sent = machine.commands()
    assert daemon.directory.commands == by_driver(f"{branch}.1").commands
    assert daemon.control.clients() == {}
    assert daemon.control.get_server_status(1) == ""
    assert sent[-3:] == [
        "get_server_status 0", "terminate_client 0 0", "get_default_device_pinned_mem_limit 0"
    ]  # fmt: skip
    assert machine.commands()[len(sent) :] == ["get_server_list"] + (
        ["get_server_status 1"] if "get_server_status" in daemon.directory.commands else []
    )
    if "terminate_client" not in daemon.directory.commands:
        with pytest.raises(ServerFault, match="cannot end one client"):
            daemon.control.terminate_client(1, 2)
    assert read(daemon.directory.path).commands == daemon.directory.commands  # whoever asks next
    daemon.quit()


def test_the_table_of_branches_is_what_was_recorded():
    assert sorted(RECORDED) == ["470", "535", "550", "555"]
    for branch, told in RECORDED.items():
        said = {command.split()[0]: reply[1] for command, reply in told["replies"].items()}
        known = {one for one in OPTIONAL if said[one] != f'Unknown command "{one}"\n'}
        assert by_driver(told["version"]).commands == known
        assert by_driver(told["version"]).source == f"the record of {branch}"


@pytest.mark.parametrize(
    ("version", "source"),
    [("580.65.06", "555"), ("545.23", "535"), ("525.1", "470"), ("418.87", None), ("", None)],
)
def test_a_driver_goes_by_the_newest_record_that_is_not_newer(version, source):
    found = by_driver(version)
    assert (found and found.source) == (source and f"the record of {source}")


@pytest.mark.parametrize(("method", "arguments"), QUERIES[1:])  # any answer shows that it is known
def test_rubbish_is_an_error(machine, daemon, method, arguments):
    machine.misbehave("say * \x1b[31m???\\n12 13")
    control = Control(dataclasses.replace(daemon.directory, commands=KNOWN))
    with pytest.raises(ServerFault) as caught:
        getattr(control, method)(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("method", "arguments"), QUERIES)
def test_a_hanging_program_is_given_up(machine, monkeypatch, method, arguments):
    monkeypatch.setattr("jupyter_gpupredict.mps.control.TERMINATE_LIMIT_S", 0.2)
    machine.misbehave("hang *")
    control = Control(dataclasses.replace(fresh(), commands=KNOWN), limit_s=0.2)
    control.directory.remove()
    began_s = time.monotonic()
    with pytest.raises(ControlTimeout):
        getattr(control, method)(*arguments)
    assert time.monotonic() - began_s < 8.0  # not the hour that it would take


def test_a_flood_is_cut(machine, daemon):
    machine.misbehave("flood get_server_list")
    with pytest.raises(ServerFault, match="without end"):
        daemon.control.get_server_list()


def test_a_refusal_is_quoted(machine, daemon):
    machine.misbehave("fail get_server_list 3 permission denied")
    with pytest.raises(ServerFault, match="exit status 3: 'permission denied'"):
        daemon.control.get_server_list()


def test_waiting_for_an_answer_is_told(machine, monkeypatch, capfd):
    """NVIDIA's daemon, halted, answers nothing at all."""
    monkeypatch.setattr(directory, "ANNOUNCED_AFTER_S", 0.3)
    daemon = start(UUID)
    os.kill(daemon.pid, signal.SIGSTOP)
    with pytest.raises(ControlTimeout):
        Control(daemon.directory, limit_s=0.8).get_server_list()
    assert capfd.readouterr().err == (
        "gpupredict: waiting for the MPS daemon to answer 'get_server_list'\n"
    )
    os.kill(daemon.pid, signal.SIGCONT)
    daemon.quit()


def test_no_daemon_and_no_program(machine, monkeypatch):
    directory = fresh()
    try:
        with pytest.raises(DaemonNotRunning, match="no MPS daemon runs"):
            Control(directory).get_server_list()
        monkeypatch.setenv("PATH", str(machine.folder))
        with pytest.raises(DaemonNotRunning, match="is not installed"):
            Control(directory).get_server_list()
    finally:
        directory.remove()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=60))
def test_no_text_breaks_the_parsers(machine, text):
    directory = fresh()
    machine.misbehave("say * " + text.replace("\n", "\\n"))
    control = Control(directory)
    try:
        for ask in (control.clients, control.commands, control.get_server_list):
            try:
                ask()
            except MpsError as error:
                assert error.message
    finally:
        directory.remove()
