"""A daemon of our own: nothing is touched that is not ours, and nothing is left behind."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from jupyter_gpupredict.core.errors import (
    ControlTimeout,
    DaemonNotRunning,
    ForeignDaemon,
    MpsError,
    ServerFault,
)
from jupyter_gpupredict.mps import daemon as daemons
from jupyter_gpupredict.mps import directory as directories
from jupyter_gpupredict.mps import surroundings
from jupyter_gpupredict.mps.control import environment
from jupyter_gpupredict.mps.daemon import end, start, sweep
from jupyter_gpupredict.mps.directory import (
    MARKER,
    daemon_in,
    found,
    identify,
    make,
    place,
    read,
    until,
)
from jupyter_gpupredict.mps.surroundings import joinable, running_daemon
from tests.fake_nvml.scenario import UUID, FakeGpu, Script

OWNER = """
import sys
from jupyter_gpupredict.mps.daemon import start
daemon = start(sys.argv[1])
print(daemon.pid, flush=True)
sys.stdin.read()
"""
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")


@contextlib.contextmanager
def owner(driver):
    """Another process, such as a kernel, with a daemon of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, UUID],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LD_LIBRARY_PATH": str(Path(driver.library._name).parent)},
    ) as process:
        yield process
        process.kill()


def test_start_and_quit_leave_nothing(machine):
    daemon = start(UUID)
    assert daemon.alive
    (path,) = machine.directories()
    for one in (path, daemon.directory.pipe, daemon.directory.log):
        assert stat.S_IMODE(one.stat().st_mode) == 0o700
    told = json.loads((path / MARKER).read_text())
    assert told["owner"]["pid"] == os.getpid()
    assert told["owner"]["start_ticks"] == identify(os.getpid()).start_ticks
    assert told["gpu_uuid"] == UUID
    daemon.quit()
    daemon.quit()
    assert not daemon.alive
    assert machine.directories() == []
    assert machine.commands() == [
        f"-d CUDA_VISIBLE_DEVICES={UUID}",
        "get_server_list",
        "get_server_status 0",
        "terminate_client 0 0",
        "get_default_device_pinned_mem_limit 0",
        "quit -t 2",
    ]


def test_the_daemon_inherits_no_limits(machine, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "10")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    daemon = start(UUID)
    environ = Path(f"/proc/{daemon.pid}/environ").read_bytes()
    daemon.quit()
    assert b"ACTIVE_THREAD_PERCENTAGE" not in environ
    assert f"CUDA_VISIBLE_DEVICES={UUID}".encode() in environ.split(b"\0")


def test_two_at_once_have_a_daemon_each(machine):
    started, failures = [], []

    def begin():
        try:
            started.append(start(UUID))
        except MpsError as error:
            failures.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len({daemon.directory.pipe for daemon in started}) == 4
    started[0].quit()
    assert [daemon.alive for daemon in started] == [False, True, True, True]
    for daemon in started:
        daemon.quit()


def test_the_program_is_missing(machine, monkeypatch):
    monkeypatch.setenv("PATH", str(machine.folder))
    with pytest.raises(DaemonNotRunning, match="not installed") as caught:
        start(UUID)
    assert "nvidia-compute-utils" in caught.value.hint


def test_the_program_hangs_at_start(machine, monkeypatch):
    monkeypatch.setattr(daemons, "LIMIT_S", 0.3)
    machine.misbehave("hang -d")
    with pytest.raises(ControlTimeout):
        start(UUID)


def test_the_program_refuses_to_start(machine):
    machine.misbehave("fail -d 1 An instance of this daemon is already running")
    with pytest.raises(DaemonNotRunning, match="already running"):
        start(UUID)


def test_the_program_only_says_that_it_started(machine, monkeypatch):
    monkeypatch.setattr(daemons, "LIMIT_S", 0.3)
    machine.misbehave("say -d started, honestly")
    with pytest.raises(DaemonNotRunning, match="started, honestly"):
        start(UUID)


def test_the_fresh_daemon_answers_rubbish(machine):
    machine.misbehave("say get_server_list ???")
    with pytest.raises(ServerFault):
        start(UUID)


@pytest.mark.parametrize("how", ["fail quit 1 no", "hang quit", "say quit ???"])
def test_a_daemon_that_does_not_quit_is_told_to_end(machine, monkeypatch, how):
    monkeypatch.setattr(daemons, "ANSWER_S", 0.3)
    monkeypatch.setattr(daemons, "QUIT_S", 0.3)
    daemon = start(UUID)
    machine.misbehave(how)
    daemon.quit()
    assert not daemon.alive


def test_a_daemon_that_never_ends_keeps_its_directory(machine, monkeypatch):
    """Not even killed, as one that hangs in the driver."""
    daemon = start(UUID)
    machine.misbehave("say quit ???")
    with monkeypatch.context() as patched:
        for name in ("ANSWER_S", "QUIT_S", "TERMINATED_S", "KILLED_S"):
            patched.setattr(daemons, name, 0.1)
        patched.setattr(daemons, "_signal", lambda *_: None)
        with pytest.raises(ServerFault, match=f"process {daemon.pid}, does not end"):
            end(daemon.directory)
    assert machine.directories() == [daemon.directory.path]
    machine.behave()
    daemon.quit()


def test_a_daemon_that_does_not_listen_yet_is_waited_for(machine):
    """Its process is there first, and refuses for as long as it is busy starting."""
    machine.misbehave("late 0.7")
    daemon = start(UUID)
    assert daemon.answers
    daemon.quit()


def test_a_halted_daemon_is_ended_like_any(machine):
    """Halted by SIGSTOP it can neither answer nor end."""
    daemon = start(UUID)
    os.kill(daemon.pid, signal.SIGSTOP)
    assert until(lambda: psutil.Process(daemon.pid).status() == psutil.STATUS_STOPPED, 5.0)
    began_s = time.monotonic()
    daemon.quit()
    assert not daemon.alive
    assert time.monotonic() - began_s < 10.0


def test_a_daemon_that_was_replaced_ends_with_its_directory(machine):
    """Whoever starts one in a directory of ours: it ends before that is removed."""
    daemon = start(UUID)
    os.kill(daemon.pid, signal.SIGKILL)
    assert until(lambda: not daemon.alive, 5.0)
    subprocess.run(["nvidia-cuda-mps-control", "-d"], env=environment(daemon.directory), check=True)
    other = daemon.directory.daemon
    assert other.pid != daemon.pid
    daemon.quit()
    assert not other.alive


def test_a_daemon_killed_in_between(machine):
    daemon = start(UUID)
    os.kill(daemon.pid, signal.SIGKILL)
    assert until(lambda: not daemon.alive, 5.0)
    with pytest.raises(DaemonNotRunning):
        daemon.control.get_server_list()
    daemon.quit()


def test_a_forked_child_leaves_it_alone(machine):
    daemon = start(UUID)
    pid = os.fork()
    if pid == 0:
        daemon.quit()
        os._exit(0)
    os.waitpid(pid, 0)
    assert daemon.alive
    daemon.quit()


def test_a_forked_child_does_not_hold_the_keeper(machine):
    """It has the other end of the keeper's pipe, as the workers of a data loader do."""
    daemon = start(UUID)
    ours, childs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(childs)
        os.read(ours, 1)
        os._exit(0)
    os.close(ours)
    daemon.quit()
    assert daemon._keeper.returncode == 0  # not -9: nobody had to kill it
    os.close(childs)
    os.waitpid(pid, 0)


def test_a_daemon_is_found_by_its_own_environment(machine):
    """The owner dies right after the start: the daemon itself says which directory it serves."""
    made = make(place(), UUID, os.getpid())
    subprocess.run(["nvidia-cuda-mps-control", "-d"], env=environment(made), check=True)
    assert until(lambda: made.daemon is not None, 5.0)
    daemon = made.daemon
    end(read(made.path))
    assert not daemon.alive
    assert machine.directories() == []


def test_a_pid_file_means_nothing(machine):
    """Drivers before 550 write none, and a number in one may mean anybody."""
    made = make(place(), UUID, os.getpid())
    (made.pipe / "nvidia-cuda-mps-control.pid").write_text(f"{os.getpid()}\n")
    assert made.daemon is None
    end(made)  # and we are still here
    assert machine.directories() == []


def test_the_keeper_quits_when_the_owner_is_killed(machine, driver):
    with owner(driver) as process:
        pid = int(process.stdout.readline())
        daemon = identify(pid)
        assert daemon.alive
        process.kill()
        process.wait()
        assert until(lambda: not daemon.alive and machine.directories() == [], 10.0)
    assert machine.commands()[-1] == "quit -t 2"


def test_the_keeper_is_out_of_reach_of_the_owners_signals(machine, driver):
    with owner(driver) as process:
        process.stdout.readline()
        keeper = keeper_of(process.pid).pid
        assert os.getpgid(keeper) == keeper != os.getpgid(process.pid)
        process.kill()
    assert until(lambda: identify(keeper) is None, 10.0)


def test_leftovers_of_the_dead_are_swept(machine, driver):
    with owner(driver) as process:
        daemon = identify(int(process.stdout.readline()))
        (directory,) = found()
        keeper_of(process.pid).kill()  # the worst case: it and its owner at once
        process.kill()
        process.wait()
    assert daemon.alive
    assert sweep() == [directory.path]
    assert not daemon.alive


def keeper_of(pid):
    """The process that watches over an owner."""
    import psutil

    return next(p for p in psutil.Process(pid).children() if UUID in p.cmdline())


MOMENTS_S = [0.02, 0.3]


@pytest.mark.parametrize(
    "moment_s",
    [*MOMENTS_S, *(pytest.param(0.01 + 0.06 * k, marks=pytest.mark.long) for k in range(10))],
)
def test_an_owner_killed_at_any_moment_leaves_nothing(machine, driver, moment_s):
    with owner(driver) as process:
        assert until(lambda: _has_children(process.pid), 30.0)  # Python is up, the keeper comes
        time.sleep(moment_s)
        process.kill()
        process.wait()
    assert until(lambda: machine.daemons() == [] and machine.directories() == [], 15.0)


def _has_children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text() != ""


@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=pytest.mark.long)])
def test_starting_and_stopping_leaves_nothing(machine, rounds):
    start(UUID).quit()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(rounds):
        start(UUID).quit()
        assert machine.directories() == []
    assert machine.daemons() == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_not_a_dead_owners_stays(machine):
    mine = make(place(), UUID, os.getpid())
    unmarked = machine.folder / f"gpupredict-mps-{os.geteuid()}-unmarked"
    unmarked.mkdir(mode=0o700)
    open_to_all = make(place(), UUID, os.getpid())
    open_to_all.path.chmod(0o755)
    elsewhere = make(place(), UUID, os.getpid())
    told = json.loads((elsewhere.path / MARKER).read_text())
    told["owner"]["pid"], told["namespace"] = 2**22 + 1, "pid:[1]"  # dead here, perhaps not there
    (elsewhere.path / MARKER).write_text(json.dumps(told))
    link = machine.folder / f"gpupredict-mps-{os.geteuid()}-link"
    link.symlink_to(mine.path)
    assert sweep() == []
    assert [one.path for one in found()] == sorted([mine.path, elsewhere.path])
    for one in (mine, open_to_all, elsewhere):
        one.remove()
    unmarked.rmdir()
    link.unlink()


def test_a_directory_of_another_pid_namespace_is_not_ended(machine):
    made = make(place(), UUID, os.getpid())
    elsewhere = dataclasses.replace(made, namespace="pid:[1]")
    with pytest.raises(MpsError, match="another PID namespace"):
        end(elsewhere)  # its daemon is not seen from here, and may well run
    assert machine.directories() == [made.path]
    made.remove()


FAILED_OWNER = """
import sys
from jupyter_gpupredict.core.errors import MpsError, ServerFault
from jupyter_gpupredict.mps import daemon as daemons
def end(directory):
    raise ServerFault("it does not end")
daemons.end = end
try:
    daemons.start(sys.argv[1])
except MpsError as error:
    print(error, flush=True)
sys.stdin.read()
"""


def test_a_daemon_that_neither_starts_nor_ends_is_left_to_the_keeper(machine, driver):
    machine.misbehave("say get_server_list ???")
    with subprocess.Popen(
        [sys.executable, "-c", FAILED_OWNER, UUID],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LD_LIBRARY_PATH": str(Path(driver.library._name).parent)},
    ) as process:
        assert "???" in process.stdout.readline()
        assert machine.daemons() != []
        machine.behave()
        process.stdin.close()
        process.wait()
        assert until(lambda: machine.daemons() == [] and machine.directories() == [], 10.0)


@root_only
def test_another_users_directory_stays(machine):
    other = make(place(), UUID, os.getpid())
    told = json.loads((other.path / MARKER).read_text())
    told["owner"]["start_ticks"] = 1  # dead
    (other.path / MARKER).write_text(json.dumps(told))
    os.chown(other.path, 12345, 12345)
    assert sweep() == []
    assert read(other.path) is None
    other.remove()


@pytest.mark.parametrize("text", ["", "[]", "{}", "{" * 100, '{"owner": 3}', "\x00"])
def test_a_damaged_marker_is_none(machine, text):
    made = make(place(), UUID, os.getpid())
    (made.path / MARKER).write_text(text)
    assert read(made.path) is None
    made.remove()


def test_a_path_too_long_for_a_socket(machine, monkeypatch):
    deep = machine.folder / ("d" * 80)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(MpsError, match="too deep"):
        start(UUID)
    assert list(deep.iterdir()) == []


def test_a_network_filesystem(machine, monkeypatch):
    monkeypatch.setattr(directories, "_filesystem", lambda path: "nfs4")
    with pytest.raises(MpsError, match="nfs4") as caught:
        start(UUID)
    assert "TMPDIR" in caught.value.hint


def test_the_kind_of_filesystem_is_the_mounts(machine):
    mounts = Path("/proc/self/mounts").read_text()
    assert f" {directories._filesystem(Path('/proc/self'))} " in mounts
    assert directories._filesystem(Path("/proc/self")) == "proc"


def test_a_directory_that_is_cleaned_away_does_not_save_the_daemon(machine, driver):
    """What clears old files from a temporary directory may take the marker."""
    with owner(driver) as process:
        daemon = identify(int(process.stdout.readline()))
        shutil.rmtree(machine.directories()[0])
        process.kill()
        process.wait()
        assert until(lambda: not daemon.alive, 15.0)


# ---- the device ---------------------------------------------------------------------------------


def test_a_prohibited_device(machine, driver):
    driver.play(Script([FakeGpu(compute_mode=2)]))
    with pytest.raises(MpsError, match="prohibits"):
        start(UUID)
    assert machine.commands() == []


def test_an_exclusive_device_in_use(machine, driver):
    driver.play(Script([FakeGpu(compute_mode=3, processes=[(os.getpid(), 100)])]))
    with pytest.raises(MpsError, match=f"used by process {os.getpid()}"):
        start(UUID)
    driver.play(Script([FakeGpu(compute_mode=3)]))


def test_an_exclusive_device_that_is_free(machine, driver):
    driver.play(Script([FakeGpu(compute_mode=3)]))
    start(UUID).quit()


@root_only
def test_an_exclusive_device_with_another_users_server(machine, driver):
    server = machine.folder / "nvidia-cuda-mps-server"
    server.write_bytes(Path("/bin/sleep").read_bytes())
    server.chmod(0o755)
    machine.folder.chmod(0o755)
    with subprocess.Popen([server, "60"], user=12345) as process:
        driver.play(Script([FakeGpu(compute_mode=3, processes=[(process.pid, 100)])]))
        assert until(lambda: Path(f"/proc/{process.pid}").stat().st_uid == 12345, 5.0)
        with pytest.raises(ForeignDaemon, match=f"process {process.pid}"):
            start(UUID)
        process.kill()
    assert machine.commands() == []


# ---- daemons that are not ours ------------------------------------------------------------------


def stranger(machine, name="theirs"):
    """A daemon that somebody else started; returns its pipe directory and PID."""
    folder = machine.folder / name
    folder.mkdir()
    kept = {key: value for key, value in os.environ.items() if key != "CUDA_MPS_LOG_DIRECTORY"}
    environ = {
        **kept,
        "CUDA_MPS_PIPE_DIRECTORY": str(folder),
        "CUDA_MPS_LOG_DIRECTORY": str(folder),
    }
    subprocess.run(["nvidia-cuda-mps-control", "-d"], env=environ, check=True)
    assert until(lambda: daemon_in(folder) is not None, 5.0)
    return folder, daemon_in(folder).pid


def test_a_daemon_of_this_user_is_joined_without_a_word(machine):
    folder, pid = stranger(machine)
    before = machine.commands()
    assert joinable({"CUDA_MPS_PIPE_DIRECTORY": str(folder)}) == folder
    assert joinable({"CUDA_MPS_PIPE_DIRECTORY": str(machine.folder)}) is None
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: identify(pid) is None, 5.0)
    # stale files; threads of a killed process may outlive its first one for a moment
    assert until(lambda: joinable({"CUDA_MPS_PIPE_DIRECTORY": str(folder)}) is None, 5.0)
    assert machine.commands() == before


def test_the_default_place_is_looked_at(machine):
    folder, pid = stranger(machine, "default")
    assert joinable({}) == folder
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: identify(pid) is None, 5.0)


@root_only
def test_another_users_daemon_is_left_alone(machine):
    folder, pid = stranger(machine)
    os.chown(folder, 12345, 12345)
    before = machine.commands()
    with pytest.raises(ForeignDaemon, match="another user's"):
        joinable({"CUDA_MPS_PIPE_DIRECTORY": str(folder)})
    assert machine.commands() == before
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: identify(pid) is None, 5.0)


def test_a_daemon_that_cannot_be_seen_is_found_by_its_socket(machine, monkeypatch):
    """As in another container: one connection, and no command."""
    folder, pid = stranger(machine)
    environ = {"CUDA_MPS_PIPE_DIRECTORY": str(folder)}
    monkeypatch.setattr(surroundings, "daemon_in", lambda *_, **__: None)
    assert running_daemon(environ) is None  # nobody has asked for MPS
    assert joinable(environ) == folder
    log = folder / "control.log"
    assert until(lambda: "Accepting connection..." in log.read_text(), 5.0)
    assert log.read_text().count("Accepting connection...") == 1
    assert "Cmd:" not in log.read_text()
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: identify(pid) is None, 5.0)
    assert until(lambda: joinable(environ) is None, 5.0)  # a dead socket proves nothing


def test_a_detached_daemon_lives_until_it_is_ended(machine):
    directory = start(UUID).detach()
    assert directory.owner.alive
    assert directory.owner.pid != os.getpid()
    assert sweep() == []
    end(directory)
    assert until(lambda: identify(directory.owner.pid) is None, 10.0)
    os.waitpid(directory.owner.pid, 0)


def test_a_detached_daemon_that_is_killed_is_tidied_up_after(machine):
    directory = start(UUID).detach()
    os.kill(directory.daemon.pid, signal.SIGKILL)
    assert until(lambda: machine.directories() == [], 10.0)
    os.waitpid(directory.owner.pid, 0)


def test_a_full_disk_is_one_line(machine, monkeypatch):
    def full(self, target):
        """What the daemon knows cannot be noted."""
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MpsError, match="No space left on device"):
        start(UUID)
    assert machine.directories() == []
