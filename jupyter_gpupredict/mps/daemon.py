"""A control daemon of our own: started in a fresh directory, watched by a keeper, quit by us."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path

from jupyter_gpupredict.core.errors import ControlTimeout, DaemonNotRunning, MpsError, ServerFault
from jupyter_gpupredict.mps.control import LIMIT_S, Control, environment, program
from jupyter_gpupredict.mps.directory import OwnDirectory, found, make
from jupyter_gpupredict.mps.ending import end, until
from jupyter_gpupredict.mps.identity import Identity, identify
from jupyter_gpupredict.mps.keeper import LET_GO, NOTED
from jupyter_gpupredict.mps.surroundings import require_room

_KEEPER = (
    "import sys; sys.path.append(sys.argv[1]); from jupyter_gpupredict.mps import keeper; "
    "sys.exit(getattr(keeper, sys.argv[2])(sys.argv[3]))"
)
_PACKAGES = str(Path(__file__).parents[2])
"""Where this package lies, which a fresh interpreter might not look at."""


class Daemon:
    """A daemon of ours that runs. Only the process that started it ends it."""

    def __init__(self, directory: OwnDirectory, keeper: subprocess.Popen[bytes]) -> None:
        self._directory = directory
        self._keeper = keeper
        self._pid = os.getpid()
        self.control = Control(directory)

    @property
    def pipe_directory(self) -> Path:
        """`CUDA_MPS_PIPE_DIRECTORY` of its clients."""
        return self._directory.pipe

    @property
    def log_directory(self) -> Path:
        """Where it writes `control.log` and `server.log`."""
        return self._directory.log

    @property
    def gpu_uuid(self) -> str:
        """The one device that it serves."""
        return self._directory.gpu_uuid

    @property
    def pid(self) -> int:
        """The control daemon's process."""
        return self._identity.pid

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return self._identity.alive

    @property
    def _identity(self) -> Identity:
        assert self._directory.daemon is not None  # noqa: S101 - it has started
        return self._directory.daemon

    def quit(self) -> None:
        """End the daemon and its servers, and remove its directories; may be called twice.

        Does nothing in a forked child. Clients lose their contexts: see that there are none.

        Raises:
            ServerFault: It does not end.
        """
        if os.getpid() != self._pid:
            return
        end(self._directory)  # where that fails, the keeper tries again when this process ends
        _dismiss(self._keeper)

    def hand_over(self) -> None:
        """Leave the end to the keeper: this process is a client itself, and about to end."""
        _leave_alone(self._keeper)


def start(gpu_uuid: str, *, static_partitions: bool = False) -> Daemon:
    """Start a daemon for one device, which ends with this process at the latest.

    Args:
        gpu_uuid: The device.
        static_partitions: Its clients get SMs of their own (`-S`) and need a partition each.

    Raises:
        DaemonNotRunning: The program is missing, or refuses.
        ForeignDaemon: Another user's MPS server holds the device.
        ControlTimeout: It does not start in time.
        MpsError: There is no place for its directories, or no room on the device.
        SourceUnavailable: There is no driver.
    """
    program()
    require_room(gpu_uuid)
    sweep()
    directory = make(gpu_uuid, os.getpid())
    keeper: subprocess.Popen[bytes] | None = None
    try:
        keeper = _keeper("main", directory)  # first: no moment without someone to clean up
        directory = _launch(directory, static_partitions=static_partitions)
        _tell(keeper, NOTED)
        _await_ready(keeper)
    except OSError as error:  # a full disk, no process to be had
        _abandon(directory, keeper)
        raise MpsError(f"the MPS daemon cannot be started: {error.strerror}") from error
    except BaseException:
        _abandon(directory, keeper)
        raise
    return Daemon(directory, keeper)


def start_detached(gpu_uuid: str) -> OwnDirectory:
    """Start a daemon that outlives this process and ends by `end` alone: for a terminal.

    Raises:
        As `start`.
    """
    program()
    require_room(gpu_uuid)
    sweep()
    directory = make(gpu_uuid, os.getpid())
    keeper: subprocess.Popen[bytes] | None = None
    try:
        directory = _launch(directory, static_partitions=False)
        keeper = _keeper("stay", directory)
        _await_ready(keeper)
        owner, daemon = identify(keeper.pid), directory.daemon
        if owner is None or daemon is None:
            raise DaemonNotRunning("the MPS daemon's keeper ended at once")
        directory = directory.with_daemon(daemon, keeper=owner)
    except OSError as error:
        _abandon(directory, keeper)
        raise MpsError(f"the MPS daemon cannot be started: {error.strerror}") from error
    except BaseException:
        _abandon(directory, keeper)
        raise
    _close_pipes(keeper)
    _leave_alone(keeper)
    return directory


def sweep() -> list[Path]:
    """End and remove what dead owners of ours left behind; return the directories removed.

    Only what carries our marker, belongs to this user and has a dead owner is touched.
    """
    swept = []
    for directory in found():
        if directory.orphaned:
            with contextlib.suppress(MpsError):  # it stays, for the next sweep
                end(directory)
                swept.append(directory.path)
    return swept


def _launch(directory: OwnDirectory, *, static_partitions: bool) -> OwnDirectory:
    """Start the control daemon; return its directory, marked with it, once it answers."""
    command = [program(), "-d", *(["-S"] if static_partitions else [])]
    said = directory.log / "start.log"
    with said.open("wb") as file:  # a file: the daemon may keep it open
        try:
            code = subprocess.run(
                command,
                env=environment(directory),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=LIMIT_S,
                check=False,
                start_new_session=True,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise ControlTimeout(f"the MPS daemon did not start in {LIMIT_S:g} s") from error
        except OSError as error:
            raise DaemonNotRunning(f"{command[0]} does not start: {error.strerror}") from error
    if code != 0:
        raise DaemonNotRunning(f"the MPS daemon does not start: {_first_line(said)}")
    until(lambda: identify(directory.written_pid() or 0) is not None, LIMIT_S)
    daemon = identify(directory.written_pid() or 0)
    if daemon is None:
        raise DaemonNotRunning(f"the MPS daemon has not started: {_first_line(said)}")
    marked = directory.with_daemon(daemon)
    servers = Control(marked).get_server_list()
    if servers:
        raise ServerFault(f"a fresh MPS daemon has servers already: {servers}")
    return marked


def _keeper(duty: str, directory: OwnDirectory) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _KEEPER, _PACKAGES, duty, str(directory.path)],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what interrupts or kills the kernel's group spares it
    )


def _await_ready(keeper: subprocess.Popen[bytes]) -> None:
    assert keeper.stdout is not None  # noqa: S101 - a pipe, as asked for
    if not select.select([keeper.stdout], [], [], LIMIT_S)[0] or not keeper.stdout.readline():
        raise DaemonNotRunning("the MPS daemon's keeper does not start")


def _abandon(directory: OwnDirectory, keeper: subprocess.Popen[bytes] | None) -> None:
    """End what has not come up; what does not end is left to the keeper. Tells nothing."""
    try:
        end(directory)
    except MpsError:  # what brought us here is what is reported
        if keeper is not None:
            _close_pipes(keeper)
            _leave_alone(keeper)
        return
    if keeper is not None:
        _dismiss(keeper)


def _leave_alone(keeper: subprocess.Popen[bytes]) -> None:
    keeper.returncode = 0  # it outlives this process on purpose: nothing to wait for


def _dismiss(keeper: subprocess.Popen[bytes]) -> None:
    """Let the keeper go, which finds nothing left to do, and collect it."""
    _tell(keeper, LET_GO)
    _close_pipes(keeper)
    try:
        keeper.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def _tell(keeper: subprocess.Popen[bytes], word: bytes) -> None:
    """Say something; closing the pipe alone may go unnoticed, as forked children keep it open."""
    if keeper.stdin is not None and not keeper.stdin.closed:
        with contextlib.suppress(OSError):  # it has ended
            os.write(keeper.stdin.fileno(), word)


def _close_pipes(keeper: subprocess.Popen[bytes]) -> None:
    for pipe in (keeper.stdin, keeper.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # it has ended
                pipe.close()


def _first_line(said: Path) -> str:
    lines = said.read_bytes()[:2000].decode(errors="replace").split("\n")
    return next((repr(line.strip()) for line in lines if line.strip()), "it gives no reason")
