"""A control daemon of our own: started in a fresh directory, watched by a keeper, quit by us."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import ControlTimeout, DaemonNotRunning, MpsError
from jupyter_gpupredict.mps.control import Control, environment, program
from jupyter_gpupredict.mps.directory import OwnDirectory, found, place, read
from jupyter_gpupredict.mps.ending import end
from jupyter_gpupredict.mps.keeper import LET_GO, STAY
from jupyter_gpupredict.mps.surroundings import require_room
from jupyter_gpupredict.mps.waiting import Patience, until

if TYPE_CHECKING:
    from jupyter_gpupredict.mps.processes import Identity

LIMIT_S = 10.0
"""How long a daemon, and its keeper, may take to start."""
_KEEPER = (
    "import sys; sys.path.append(sys.argv[1]); from jupyter_gpupredict.mps import keeper; "
    "sys.exit(keeper.main(*sys.argv[2:]))"
)
_PACKAGES = str(Path(__file__).parents[2])
"""Where this package lies, which a fresh interpreter might not look at."""


class Daemon:
    """A daemon of ours that runs. Only the process that started it ends it."""

    def __init__(
        self, directory: OwnDirectory, process: Identity, keeper: subprocess.Popen[bytes]
    ) -> None:
        self.directory = directory
        self.control = Control(directory)
        self._process = process
        self._keeper = keeper
        self._owner_pid = os.getpid()

    @property
    def pipe_directory(self) -> Path:
        """`CUDA_MPS_PIPE_DIRECTORY` of its clients."""
        return self.directory.pipe

    @property
    def log_directory(self) -> Path:
        """Where it writes `control.log` and `server.log`."""
        return self.directory.log

    @property
    def gpu_uuid(self) -> str:
        """The one device that it serves."""
        return self.directory.gpu_uuid

    @property
    def pid(self) -> int:
        """The control daemon's process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether its process still runs; one that is halted does, and answers nothing."""
        return self._process.alive

    @property
    def answers(self) -> bool:
        """Whether it takes commands."""
        try:
            self.control.get_server_list()
        except MpsError:
            return False
        return True

    def quit(self) -> None:
        """End the daemon and its servers, and remove its directories; may be called twice.

        Does nothing in a forked child. Clients lose their contexts: see that there are none.

        Raises:
            ServerFault: It does not end.
        """
        if os.getpid() != self._owner_pid:
            return
        end(self.directory)  # where that fails, the keeper tries again when this process ends
        _dismiss(self._keeper)

    def hand_over(self) -> None:
        """Leave the end to the keeper: this process is a client itself, and about to end."""
        _leave_alone(self._keeper)


def start(gpu_uuid: str) -> Daemon:
    """Start a daemon for one device, which ends with this process at the latest.

    It has no server yet: see `preflight.require_server` before any process becomes a client.

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
    base = place()
    keeper: subprocess.Popen[bytes] | None = None
    directory: OwnDirectory | None = None
    try:
        keeper = _keep(base, gpu_uuid)  # first: no moment without someone to clean up
        directory = _made(keeper)
        directory, process = _launch(directory)
    except OSError as error:  # a full disk, no process to be had
        _abandon(directory, keeper)
        raise MpsError(f"the MPS daemon cannot be started: {error.strerror}") from error
    except BaseException:
        _abandon(directory, keeper)
        raise
    return Daemon(directory, process, keeper)


def detach(daemon: Daemon) -> OwnDirectory:
    """Let a daemon outlive this process, until `end`: for a terminal.

    Raises:
        DaemonNotRunning: It, or its keeper, has ended meanwhile.
    """
    keeper = daemon._keeper  # noqa: SLF001 - of this module
    _tell(keeper, STAY)
    directory = _made(keeper)
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


def _launch(directory: OwnDirectory) -> tuple[OwnDirectory, Identity]:
    """Start the control daemon; return its directory, marked with what it knows, and itself."""
    said = directory.log / "start.log"
    command = [program(), "-d"]
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
    control = Control(directory)
    until(lambda: _listens(control), LIMIT_S, "the MPS daemon to start")
    process = directory.daemon
    if process is None:
        raise DaemonNotRunning(f"the MPS daemon has not started: {_first_line(said)}")
    return directory.marked(commands=control.commands()), process


def _listens(control: Control) -> bool:
    """Whether a daemon answers; a process that is there may not listen yet."""
    if control.directory.daemon is None:
        return False
    try:
        control.get_server_list()
    except DaemonNotRunning:
        return False
    return True


def _keep(base: Path, gpu_uuid: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _KEEPER, _PACKAGES, str(base), gpu_uuid, str(os.getpid())],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what interrupts or kills the kernel's group spares it
    )


def _made(keeper: subprocess.Popen[bytes]) -> OwnDirectory:
    """Return the directory that a keeper tells of.

    Raises:
        DaemonNotRunning: It ended without a word.
        MpsError: It made none; says why.
    """
    assert keeper.stdout is not None  # noqa: S101 - a pipe, as asked for
    patience = Patience(LIMIT_S, "the MPS daemon's keeper to start")
    while not select.select([keeper.stdout], [], [], patience.step_s())[0]:
        if patience.over:
            raise DaemonNotRunning("the MPS daemon's keeper does not start")
    line = keeper.stdout.readline()  # it writes whole lines, and nothing when it ends
    told = json.loads(line) if line else {}
    if "error" in told:
        raise MpsError(told["error"], told["hint"])
    directory = read(Path(told["path"])) if told else None
    if directory is None:
        raise DaemonNotRunning("the MPS daemon's keeper ended at once")
    return directory


def _abandon(directory: OwnDirectory | None, keeper: subprocess.Popen[bytes] | None) -> None:
    """End what has not come up; what does not end is left to the keeper. Tells nothing."""
    try:
        if directory is not None:
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
    """Let the keeper go, which ends what may be left, and collect it."""
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
