"""A measured block under MPS: limits applied, attachment shown, caps shown, all put back."""

import json
import os
import signal
import subprocess
import sys

import pytest

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.errors import Capped, InvalidOption, Refused, SourceUnavailable
from jupyter_gpupredict.core.recommendation import AppliedShare
from jupyter_gpupredict.frontends.report import Result
from jupyter_gpupredict.frontends.widget import Publisher
from jupyter_gpupredict.mps import cell_share, mps_start_detached, mps_stop_detached
from jupyter_gpupredict.mps.directory import identify, until
from jupyter_gpupredict.mps.lease import CellLease
from jupyter_gpupredict.run import (
    SessionConfig,
    build_session,
    predict_recording,
    read_run,
    shutdown,
    store_dir,
)
from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import UUID, FakeGpu, Script
from tests.mps.test_daemon import root_only, stranger
from tests.traces import stored_ends

H100 = {"cores": (132 * 128, "9.0")}
SCRIPT = """
import ctypes, json, os, signal, sys, time
from jupyter_gpupredict import measure
from jupyter_gpupredict.mps import mps_start_detached, mps_stop_detached, process_mps
from jupyter_gpupredict.run import SessionConfig, build_session, predict_recording
from jupyter_gpupredict.run import read_run, shutdown, store_dir
def cuda():
    ctypes.CDLL("libcuda.so.1").cuInit(0)
def daemon():
    return process_mps().daemon
blocks = json.loads(sys.argv[1])
exec(blocks["before"])
environ = dict(os.environ)
results = []
for options, inside in blocks["runs"]:
    with measure(source="nvml", interval_s=0.05, **options) as run:
        given = dict(os.environ)
        exec(inside)
        its_own = {k: v for k, v in os.environ.items() if given.get(k) != v}
    results.append(run.result.to_dict())
    assert dict(os.environ) == {**environ, **its_own}
    for name in its_own:
        del os.environ[name]
    os.environ.update(environ)
exec(blocks["after"])
print(json.dumps(results))
"""


def measured(*runs, before="", after="", **environ):
    """Run blocks one after the other in one process; returns (results, stderr)."""
    folders = (library_dir("libcuda.so.1"), library_dir())
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            SCRIPT,
            json.dumps({"before": before, "runs": runs, "after": after}),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, folders)), **environ},
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1]), ran.stderr


@pytest.fixture(autouse=True)
def gpu(driver):
    driver.play(Script([FakeGpu(**H100)]))


def gone(machine):
    return until(lambda: machine.directories() == [], 10.0)


WORK = "cuda(); time.sleep(0.4)"


@pytest.mark.live_server
def test_an_uncapped_client(machine):
    ((found,), said) = measured(({"mps": True}, WORK))
    mps = found["mps"]
    assert (mps["active"], mps["attached"], found["capped"]) == (True, True, False)
    assert (mps["sm_count"], mps["device_sm_count"], mps["reason"]) == (132, 132, "")
    assert found["target_ratio"] is not None
    assert said == ""
    assert gone(machine)
    assert machine.commands()[-1] == "quit -t 2"


@pytest.mark.live_server
def test_a_capped_client_predicts_nothing(machine, tmp_path):
    ((found,), _) = measured(({"mps": True, "mps_percentage": 37, "memory_limit_mib": 512}, WORK))
    # 37 % of 132 SMs are 48 in the stand-in's steps of two
    assert (found["mps"]["sm_count"], found["mps"]["memory_limit_bytes"]) == (48, 512 << 20)
    assert (found["capped"], found["state"], found["target_ratio"]) == (True, "abstained", None)
    assert found["memory_target_bytes"] is None
    assert "capped at 48 of 132 SMs by MPS" in found["reason"]

    run = read_run(found["session_id"])
    assert run.capped
    result = Result(run)
    for shown in (result.to_text(), result.to_html()):
        assert "capped at 48 of 132 SMs by MPS" in shown
        assert "CAPPED at 48 of 132 SMs, memory limit 0.5 GiB" in shown
    with pytest.raises(Refused, match="capped by MPS"):
        result.export(name="f", output=tmp_path / "f", force=True, sm_percent=10, memory_mib=100)
    assert not (tmp_path / "f").exists()
    trace = store_dir() / f"{found['session_id']}.jsonl"
    with pytest.raises(Capped, match="capped at 37 % of the SMs"):
        predict_recording(str(trace))
    assert not any(
        '"StateChanged"' in line and '"converged"' in line
        for line in trace.read_text().splitlines()
    )
    assert gone(machine)


@pytest.mark.live_server
def test_a_process_that_was_capped_once_stays_so(machine):
    """Limits are fixed when CUDA starts: a later block must not predict as if it were free."""
    capped = {"mps": True, "mps_percentage": 50}
    found, _ = measured((capped, WORK), ({}, WORK), ({"mps": True, "mps_percentage": 25}, WORK))
    assert [one["capped"] for one in found] == [True, True, True]
    assert found[1]["mps"]["sm_count"] == 66
    assert "the limits stand" in found[2]["mps"]["reason"]
    assert gone(machine)


def test_too_late_runs_without_limits_and_says_so(machine):
    ((found,), said) = measured(({"mps": True, "mps_percentage": 30}, WORK), before="cuda()")
    mps = found["mps"]
    assert (mps["active"], mps["percentage"], found["capped"]) == (False, None, False)
    assert found["target_ratio"] is not None
    for text in (mps["reason"], said):
        assert "restart the kernel and begin with this cell, or use --isolate" in text
    assert machine.commands() == []


@pytest.mark.live_server
def test_a_block_that_does_not_use_cuda_leaves_no_daemon(machine):
    ((found,), _) = measured(({"mps": True}, "pass"), after="assert daemon() is None")
    assert found["mps"]["attached"] is False
    assert found["mps"]["reason"] == "CUDA did not start in this cell"
    assert machine.directories() == []


@pytest.mark.live_server
def test_cuda_that_did_not_find_the_daemon_is_seen(machine):
    """It goes on without MPS, silently, as NVIDIA's does."""
    elsewhere = "os.environ['CUDA_MPS_PIPE_DIRECTORY'] = '/nowhere'; " + WORK
    ((found,), _) = measured(({"mps": True}, elsewhere))
    assert found["mps"]["attached"] is False
    assert machine.directories() == []  # no client, so nothing is kept for it
    assert "the daemon does not know its process" in found["mps"]["reason"]
    assert "ran without MPS" in words.mps(AppliedShare(**found["mps"]))
    assert gone(machine)


@pytest.mark.live_server
def test_limits_that_were_not_in_force_are_none(machine):
    elsewhere = "os.environ['CUDA_MPS_PIPE_DIRECTORY'] = '/nowhere'; " + WORK
    limits = {"mps_percentage": 40, "memory_limit_mib": 512}
    ((found,), _) = measured(({"mps": True, **limits}, elsewhere))
    mps = found["mps"]
    assert (mps["attached"], mps["sm_count"]) == (False, 132)
    assert (mps["percentage"], mps["memory_limit_bytes"], found["capped"]) == (None, None, False)
    assert "CAPPED" not in words.mps(AppliedShare(**mps))
    assert gone(machine)


@pytest.mark.live_server
def test_what_may_have_been_capped_stays_capped(machine):
    """A process that the cell started, and that has ended, cannot be asked any more."""
    child = (
        "import subprocess; subprocess.run([sys.executable, '-c', "
        "\"import ctypes; ctypes.CDLL('libcuda.so.1').cuInit(0)\"], check=True)"
    )
    ((found,), _) = measured(({"mps": True, "mps_percentage": 40}, child))
    mps = found["mps"]
    assert (mps["attached"], mps["percentage"], found["capped"]) == (None, 40, True)
    assert "ran without MPS" not in words.mps(AppliedShare(**mps))
    assert gone(machine)


@pytest.mark.live_server
def test_a_client_in_a_child_process_counts(machine):
    child = (
        "import subprocess; child = subprocess.Popen([sys.executable, '-c', "
        "\"import ctypes, sys; ctypes.CDLL('libcuda.so.1').cuInit(0); print(flush=True); "
        'sys.stdin.read()"], stdin=-1, stdout=-1); child.stdout.readline()'
    )
    ends = "child.stdin.close(); child.wait(); child.stdout.close()"
    found, _ = measured(({"mps": True, "mps_percentage": 40}, child), ({}, f"{ends}; {WORK}"))
    assert (found[0]["mps"]["attached"], found[0]["capped"]) == (True, True)
    assert found[1]["mps"] is None  # this process is none
    assert gone(machine)


@pytest.mark.live_server
def test_a_daemon_killed_in_mid_run(machine):
    killed = f"{WORK}; pid = daemon().pid; os.kill(pid, 9)"
    ((found,), _) = measured(({"mps": True}, killed))
    assert found["outcome"] == "completed"
    assert found["mps"]["attached"] is None
    assert "cannot be shown" in found["mps"]["reason"]
    assert gone(machine)


@pytest.mark.live_server
def test_a_fault_is_reported(machine):
    faults = (
        f"{WORK}; open(os.environ['FAKE_MPS_SCRIPT'], 'w').write('say get_server_status FAULT')"
    )
    ((found,), _) = measured(({"mps": True}, faults))
    assert "a client faulted" in found["mps"]["reason"]
    assert gone(machine)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("fail -d 1 An instance of this daemon is already running", "already running"),
        ("say get_server_list rubbish", "rubbish"),
    ],
)
def test_a_program_that_does_not_work_costs_only_mps(machine, how, reason):
    machine.misbehave(how)
    ((found,), said) = measured(({"mps": True}, WORK))
    assert found["mps"]["active"] is False
    assert reason in found["mps"]["reason"]
    assert reason in said
    assert found["target_ratio"] is not None
    machine.behave()
    assert gone(machine)


def test_a_program_that_is_missing_costs_only_mps(machine):
    ((found,), _) = measured(({"mps": True}, WORK), PATH=str(machine.folder))
    assert "nvidia-cuda-mps-control is not installed" in found["mps"]["reason"]
    assert found["outcome"] == "completed"


def test_a_daemon_that_is_there_is_joined_as_it_is(machine, driver):
    driver.play(Script([FakeGpu(**H100, processes=[("self", 100, "mps")])]))
    folder, pid = stranger(machine)
    before = machine.commands()
    ((found,), _) = measured(({"mps": True}, WORK), CUDA_MPS_PIPE_DIRECTORY=str(folder))
    mps = found["mps"]
    assert (mps["joined"], mps["attached"], mps["pipe_directory"]) == (True, True, str(folder))
    assert machine.commands() == before  # not a word to it
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: identify(pid) is None, 5.0)


@pytest.mark.live_server
def test_a_cap_that_nobody_asked_for_is_seen(machine, driver):
    """CUDA attaches by itself where a daemon is; the environment may hold a limit."""
    driver.play(Script([FakeGpu(**H100, processes=[("self", 100, "mps")])]))
    folder, pid = stranger(machine)
    ((found,), _) = measured(
        ({}, WORK), CUDA_MPS_PIPE_DIRECTORY=str(folder), CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="40"
    )
    assert (found["mps"]["joined"], found["mps"]["sm_count"]) == (True, 52)
    assert (found["capped"], found["target_ratio"]) == (True, None)
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: identify(pid) is None, 5.0)


OTHER = "GPU-99999999-2222-3333-4444-555555555555"


@pytest.mark.live_server
@pytest.mark.parametrize("wanted", [None, "all", "1"])
def test_a_cap_of_a_daemon_in_another_container_is_seen(machine, driver, wanted):
    """As in a pod of the device plugin: its PID means nothing here, and NVML lists no client."""
    driver.play(Script([FakeGpu(**H100), FakeGpu(**H100, uuid=OTHER)]))
    folder, pid = stranger(machine)
    (folder / "nvidia-cuda-mps-control.pid").write_text("4194303\n")
    found, _ = measured(
        ({"device": wanted}, WORK),
        ({"device": wanted}, WORK),
        CUDA_MPS_PIPE_DIRECTORY=str(folder),
        CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="50",
    )
    assert [one["capped"] for one in found] == [True, True]
    assert found[0]["mps"]["sm_count"] == 66
    assert (found[0]["target_ratio"], found[0]["memory_target_bytes"]) == (None, None)
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: identify(pid) is None, 5.0)


@pytest.mark.parametrize(("first", "sms", "capped"), [(UUID, "84", True), (OTHER, "84", False)])
def test_the_sms_are_those_of_cudas_own_first_device(machine, driver, first, sms, capped):
    """CUDA numbers by speed, NVML by the bus; `--device` may name a third."""
    cards = [FakeGpu(**H100), FakeGpu(name="A10", uuid=OTHER, cores=(84 * 128, "8.6"))]
    driver.play(Script(cards))
    ((found,), _) = measured(({"device": "0"}, WORK), FAKE_CUDA_UUID=first, FAKE_CUDA_SMS=sms)
    assert found["capped"] is capped
    assert (found["target_ratio"] is None) is capped


def test_all_of_the_sms_is_no_cap_whatever_the_environment_says(machine):
    ((found,), _) = measured(({}, WORK), CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="40")
    assert (found["mps"], found["capped"]) == (None, False)  # there is no daemon


@root_only
def test_cuda_attaches_to_another_users_daemon_all_the_same(machine, driver):
    driver.play(Script([FakeGpu(**H100, processes=[("self", 100, "mps")])]))
    folder, pid = stranger(machine)
    os.chown(folder, 12345, 12345)
    ((found,), _) = measured(({"mps": True}, WORK), CUDA_MPS_PIPE_DIRECTORY=str(folder))
    assert (found["mps"]["joined"], found["mps"]["attached"]) == (True, True)
    assert "is another user's" in found["mps"]["reason"]
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: identify(pid) is None, 5.0)


@pytest.mark.live_server
def test_an_interrupt_while_the_program_hangs_at_the_end(machine):
    """The run has its end, and says what could not be shown."""
    hangs = (
        f"{WORK}; open(os.environ['FAKE_MPS_SCRIPT'], 'w').write('hang get_client_list'); "
        "import threading; threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()"
    )
    ((found,), _) = measured(({"mps": True}, hangs))
    assert found["outcome"] == "completed"
    assert found["mps"]["reason"] == "whether it was a client cannot be shown: interrupted"
    machine.behave()
    assert gone(machine)


@root_only
def test_another_users_daemon_costs_only_mps(machine):
    folder, pid = stranger(machine)
    os.chown(folder, 12345, 12345)
    before = machine.commands()
    ((found,), said) = measured(({"mps": True}, "pass"), CUDA_MPS_PIPE_DIRECTORY=str(folder))
    assert "is another user's" in found["mps"]["reason"]
    assert said.count("\n") == 1
    assert machine.commands() == before
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: identify(pid) is None, 5.0)


@pytest.mark.live_server
def test_a_detached_daemon_is_joined_and_proves_its_clients(machine):
    pipe = mps_start_detached()
    try:
        ((found,), _) = measured(({"mps": True}, WORK), CUDA_MPS_PIPE_DIRECTORY=pipe)
        assert (found["mps"]["joined"], found["mps"]["attached"]) == (True, True)
    finally:
        (directory,) = machine.directories()
        assert mps_stop_detached() == ([pipe], [])
    os.waitpid(-1, 0)
    assert directory.exists() is False


def test_a_measured_process_that_is_killed(machine):
    inside = f"{WORK}; os.kill(os.getpid(), 9)"
    with pytest.raises(AssertionError):
        measured(({"mps": True}, inside))
    assert gone(machine)


@pytest.mark.live_server
def test_a_script_on_the_command_line(machine, tmp_path):
    script, told = tmp_path / "train.py", tmp_path / "told.json"
    script.write_text(
        "import ctypes, time\nctypes.CDLL('libcuda.so.1').cuInit(0)\ntime.sleep(0.4)\n"
    )
    folders = (library_dir("libcuda.so.1"), library_dir())
    options = f"--source nvml --mps --mps-percentage 40 -q --json {told} {script}"
    subprocess.run(
        [sys.executable, "-m", "jupyter_gpupredict.frontends.cli", "run", *options.split()],
        check=True,
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, folders))},
    )
    found = json.loads(told.read_text())
    assert (found["capped"], found["mps"]["sm_count"], found["mps"]["attached"]) == (True, 52, True)
    assert gone(machine)


def test_bad_options():
    for options, hint in (
        ({"mps_percentage": 40}, "add --mps"),
        ({"memory_limit_mib": 100}, "add --mps"),
        ({"mps": True, "mps_percentage": 101}, "1 to 100"),
        ({"mps": True, "memory_limit_mib": 0}, "1 to"),
        ({"mps": True, "source": "synthetic"}, "leave --mps out"),
        ({"mps": True, "mps_percentage": 40, "until_converged": True}, "leave --mps-percentage"),
        ({"mps": True, "cluster": "auto"}, "leave one of them out"),
    ):
        with pytest.raises(InvalidOption) as caught:
            SessionConfig(**options)
        assert hint in caught.value.hint


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("t_s,gpu_util_pct\n" + "".join(f"{t},{40 + t % 3}\n" for t in range(600)))
    return str(path)


def replayed(recording, code="the code", **options):
    """A run of ten minutes, at once."""
    session = build_session(
        SessionConfig(source="replay", path=recording, speed=0.0), code=code, **options
    )
    try:
        session.start()
        assert until(lambda: session._read_out, 20.0)
        return session.stop("completed")
    finally:
        shutdown()


class Capped48:
    """Stands for a process that is a client with 48 SMs."""

    def begin(self):
        return AppliedShare(True, 37, None, "/run/x", False, True, 48, 132)

    end = begin


def test_a_capped_run_is_no_prior(recording):
    run = replayed(recording, share=Capped48())
    assert (run.capped, run.recommendation.target_ratio) == (True, None)
    (stored,) = stored_ends()
    assert stored.newest.profile is None
    free = replayed(recording)
    assert free.started.last_time == ""  # nothing is known of this code
    assert free.recommendation.target_ratio == 0.42
    assert "42 %, " in replayed(recording).started.last_time


def test_a_capped_run_is_not_replayed(recording):
    capped = replayed(recording, share=Capped48())
    path = store_dir() / f"{capped.session_id}.jsonl"
    with pytest.raises(SourceUnavailable, match="MPS capped at 48 of 132 SMs"):
        replayed(str(path))


def test_the_live_view_says_capped(recording):
    frames = []
    port = type("Port", (), {"push": lambda self, frame: frames.append(frame)})()
    replayed(recording, subscribers=(Publisher(port),), share=Capped48())
    told = [frame["answer"] for frame in frames if frame["answer"]]
    assert all("CAPPED at 48 of 132 SMs" in one["notes"][0] for one in told)
    assert {frame["target"] for frame in frames} == {None}
    assert not told[-1]["predicted"]


def test_an_interrupt_while_mps_starts_leaves_nothing(monkeypatch):
    ended = []
    monkeypatch.setattr(CellLease, "begin", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr(CellLease, "end", lambda self: ended.append(True))
    asked = SessionConfig(source="cpu")
    session = build_session(asked, share=cell_share(asked))
    with pytest.raises(KeyboardInterrupt):
        session.start()
    assert ended == [True]
