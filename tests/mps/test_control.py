"""Commands to the MPS program: every answer is typed, everything else is an error."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import (
    ControlTimeout,
    DaemonNotRunning,
    LimitRefused,
    MpsError,
    ServerFault,
)
from jupyter_gpupredict.mps.control import Client, Control
from jupyter_gpupredict.mps.daemon import start
from jupyter_gpupredict.mps.directory import make
from tests.fake_nvml.scenario import UUID

QUERIES = [
    ("get_server_list", ()),
    ("get_server_status", (1,)),
    ("get_client_list", (1,)),
    ("ps", ()),
    ("terminate_client", (1, 2)),
    ("set_default_active_thread_percentage", (50,)),
    ("set_active_thread_percentage", (1, 50)),
    ("set_default_device_pinned_mem_limit", (0, 1024)),
    ("start_server", (0,)),
    ("sm_partition_add", (UUID, 2)),
    ("lspart", ()),
]


@pytest.fixture
def daemon(machine):
    started = start(UUID)
    yield started
    machine.behave()
    started.quit()


def test_the_life_of_a_client(machine, daemon):
    control = daemon.control
    assert control.get_server_list() == []
    assert control.ps() == []
    with machine.client(
        CUDA_MPS_PIPE_DIRECTORY=str(daemon.pipe_directory), CUDA_VISIBLE_DEVICES=UUID
    ) as client:
        (server,) = control.get_server_list()
        assert control.get_server_status(server) == "ACTIVE"
        assert control.get_client_list(server) == [client.pid]
        (row,) = control.ps()
        namespace = str(Path("/proc/self/ns/pid").readlink())[5:-1]
        assert row == Client(client.pid, 1, server, UUID[:22], namespace, "python")
        control.terminate_client(server, client.pid)
        assert control.get_client_list(server) == []
        with pytest.raises(ServerFault, match="not found"):
            control.terminate_client(server, client.pid)


def test_limits_are_read_back(machine, daemon):
    control = daemon.control
    control.start_server(os.getuid())
    (server,) = control.get_server_list()
    control.set_default_active_thread_percentage(37)
    control.set_active_thread_percentage(server, 25)
    control.set_default_device_pinned_mem_limit(0, 5874)
    machine.misbehave("say set_active_thread_percentage 100.0")
    with pytest.raises(LimitRefused, match=r"did not take 25 %: '100.0'"):
        control.set_active_thread_percentage(server, 25)
    machine.misbehave("say get_default_device_pinned_mem_limit 2G")
    with pytest.raises(LimitRefused, match="did not take 5874 MiB"):
        control.set_default_device_pinned_mem_limit(0, 5874)
    control.set_default_device_pinned_mem_limit(0, 2048)  # which is 2G


def test_static_partitions(machine):
    daemon = start(UUID, static_partitions=True)
    try:
        name = daemon.control.sm_partition_add(UUID, 7)
        assert name.startswith(f"{UUID}/Dx")
        device, made = daemon.control.lspart()
        # 16 chunks of 8 SMs and 4 SMs that make no chunk: 9 chunks and 76 SMs are left
        assert (device.name, device.free_chunks, device.free_sms) == (None, 9, 76)
        assert (made.used_chunks, made.used_sms, made.in_use) == (7, 56, False)
        with pytest.raises(LimitRefused, match="INVALID_RESOURCE_CONFIGURATION"):
            daemon.control.sm_partition_add(UUID, 10)
        daemon.control.sm_partition_rm(name)
        assert [row.name for row in daemon.control.lspart()] == [None]
    finally:
        daemon.quit()


def test_a_daemon_without_partitions_says_so(daemon):
    with pytest.raises(LimitRefused, match="Static partitioning mode is not enabled"):
        daemon.control.sm_partition_add(UUID, 7)


@pytest.mark.parametrize(("method", "arguments"), QUERIES)
def test_rubbish_is_an_error(machine, daemon, method, arguments):
    machine.misbehave("say * \x1b[31m???\\n12 13")
    with pytest.raises((ServerFault, LimitRefused)) as caught:
        getattr(daemon.control, method)(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("method", "arguments"), QUERIES)
def test_a_hanging_program_is_given_up(machine, monkeypatch, method, arguments):
    monkeypatch.setattr("jupyter_gpupredict.mps.control.TERMINATE_LIMIT_S", 0.2)
    machine.misbehave("hang *")
    control = Control(make(UUID, os.getpid()), limit_s=0.2)
    control._directory.remove()
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


def test_no_daemon_and_no_program(machine, monkeypatch):
    directory = make(UUID, os.getpid())
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
    directory = make(UUID, os.getpid())
    machine.misbehave("say * " + text.replace("\n", "\\n"))
    control = Control(directory)
    try:
        for ask in (control.ps, control.lspart, control.get_server_list):
            try:
                ask()
            except MpsError as error:
                assert error.message
    finally:
        directory.remove()
