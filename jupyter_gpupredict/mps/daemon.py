"""A control daemon of our own: started in a fresh directory, watched by a keeper, ended by us.

The keeper is a small process that makes the directory, and ends daemon and directory when its owner
is gone. It comes first and leads a session of its own, so there is no moment at which a kill of the
owner leaves anything behind. It sleeps in the kernel until the owner ends (pidfd_open(2)), or until
it hears that all is tidied up. A daemon that was started from a terminal is owned by its keeper,
which then waits for the daemon itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import ControlTimeout, DaemonNotRunning, MpsError, ServerFault
from jupyter_gpupredict.mps.control import Control, environment, program
from jupyter_gpupredict.mps.directory import (
    OwnDirectory,
    Patience,
    found,
    identify,
    make,
    place,
    read,
    servers_in,
    until,
)

if TYPE_CHECKING:
    from jupyter_gpupredict.mps.directory import Identity

LIMIT_S = 10.0
"""How long a daemon may take to start."""
_KEEPER_S = 10.0
"""How long its keeper may take, to start and to end."""
SERVERS_S = 2
"""How long a daemon lets its servers finish before it ends them."""
ANSWER_S = 2.5
QUIT_S, TERMINATED_S, KILLED_S = 4.0, 3.5, 1.0
"""How long each step is waited for: with the answer less than ten seconds. NVIDIA's daemon is gone
1.3 to 1.9 s after `quit`, and 1 to 2 s after SIGTERM."""
_STAY, _LET_GO = b"s", b"."
"""What an owner says to its keeper: you own it from now on; all is tidied up, end."""
_STARTS_S = 1.0
"""For so long a daemon may be on its way that its owner, now dead, has started."""
_KEEPER = (
    "import sys; sys.path.append(sys.argv[1]); from jupyter_gpupredict.mps import daemon; "
    "sys.exit(daemon.keep(*sys.argv[2:]))"
)
_PACKAGES = str(Path(__file__).parents[2])
"""Where this package lies, which a fresh interpreter might not look at."""


@dataclass(eq=False)
class Daemon:
    """A daemon of ours that runs. Only the process that started it ends it."""

    directory: OwnDirectory
    _process: Identity
    _keeper: subprocess.Popen[bytes]
    _owner_pid: int = field(default_factory=os.getpid)

    @property
    def pid(self) -> int:
        """The control daemon's process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether its process still runs; one that is halted does, and answers nothing."""
        return self._process.alive

    @property
    def control(self) -> Control:
        """What takes commands to it."""
        return Control(self.directory)

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

    def detach(self) -> OwnDirectory:
        """Let it outlive this process, until `end`: for a terminal.

        Raises:
            DaemonNotRunning: It, or its keeper, has ended meanwhile.
        """
        _say_to(self._keeper, _STAY)
        directory = _made(self._keeper)
        _close_pipes(self._keeper)
        self.hand_over()
        return directory

    def hand_over(self) -> None:
        """Leave the end to the keeper: this process is a client itself, and about to end."""
        self._keeper.returncode = 0  # it outlives this process on purpose: nothing to wait for


def start(gpu_uuid: str) -> Daemon:
    """Start a daemon for one device, which ends with this process at the latest.

    It has no server yet: see `control.require_server` before any process becomes a client.

    Raises:
        DaemonNotRunning: The program is missing, or refuses.
        ForeignDaemon: Another user's MPS server holds the device.
        ControlTimeout: It does not start in time.
        MpsError: There is no place for its directories, or no room on the device.
        SourceUnavailable: There is no driver.
    """
    from jupyter_gpupredict.mps.surroundings import require_room  # no driver in a keeper

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
    except BaseException as error:
        _abandon(directory, keeper)
        if isinstance(error, OSError):  # a full disk, no process to be had
            raise MpsError(f"the MPS daemon cannot be started: {error.strerror}") from error
        raise
    return Daemon(directory, process, keeper)


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


# ---- its start ----------------------------------------------------------------------------------


def _launch(directory: OwnDirectory) -> tuple[OwnDirectory, Identity]:
    """Start the control daemon; return its directory, marked with what it knows, and itself."""
    path = program()
    with (directory.log / "start.log").open("wb") as file:  # a file: the daemon may keep it open
        try:
            code = subprocess.run(
                [path, "-d"],
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
            raise DaemonNotRunning(f"{path} does not start: {error.strerror}") from error
    if code != 0:
        raise DaemonNotRunning(f"the MPS daemon does not start: {_first_line(directory)}")
    control = Control(directory)
    until(lambda: _listens(control), LIMIT_S, "the MPS daemon to start")
    process = directory.daemon
    if process is None:
        raise DaemonNotRunning(f"the MPS daemon has not started: {_first_line(directory)}")
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


def _first_line(directory: OwnDirectory) -> str:
    lines = (line.strip() for line in directory.said("start.log")[:2000].split("\n"))
    return next((repr(line) for line in lines if line), "it gives no reason")


def _abandon(directory: OwnDirectory | None, keeper: subprocess.Popen[bytes] | None) -> None:
    """End what has not come up; what does not end is left to the keeper."""
    if keeper is None:
        return
    try:
        if directory is not None:
            end(directory)
    except MpsError:  # what brought us here is what is reported
        _close_pipes(keeper)
        keeper.returncode = 0  # as in `hand_over`
    else:
        _dismiss(keeper)


# ---- its end ------------------------------------------------------------------------------------


def end(directory: OwnDirectory) -> None:
    """Quit the daemon of a directory of ours and remove the directory, once the daemon is gone.

    Raises:
        ServerFault: Neither `quit` nor a signal ended it. The directory stays, for a later attempt.
        MpsError: It belongs to another PID namespace, where its daemon may run.
    """
    if not directory.here:
        raise MpsError(
            f"the daemon of {directory.pipe} was started in another PID namespace",
            "end it there: in the container, or on the machine, that it was started in",
        )
    if _left(directory):
        resume(directory)
        reason = ""
        try:
            Control(directory, ANSWER_S).quit(SERVERS_S)
        except MpsError as error:
            reason = f": {error.message}"
        gone = not reason and _wait(directory, QUIT_S)
        for number, limit_s in ((signal.SIGTERM, TERMINATED_S), (signal.SIGKILL, KILLED_S)):
            if not gone:
                for one in _left(directory):
                    _signal(one, number)
                gone = _wait(directory, limit_s)
        if not gone and (left := _left(directory)):
            raise ServerFault(
                f"the MPS daemon, process {left[0].pid}, does not end{reason}",
                f"its logs are in {directory.log}",
            )
    directory.remove()


def resume(directory: OwnDirectory) -> None:
    """Have a daemon of ours go on if it is halted, when it can neither answer nor end.

    Nobody looks first whether it is: a SIGSTOP that is still under way is undone, too.
    """
    for one in _left(directory):
        _signal(one, signal.SIGCONT)


def _left(directory: OwnDirectory) -> list[Identity]:
    """Return what still runs of a directory: its daemon, whoever started it, and servers."""
    daemon = directory.daemon
    return [*([daemon] if daemon else []), *servers_in(directory.pipe)]


def _wait(directory: OwnDirectory, limit_s: float) -> bool:
    return until(lambda: not _left(directory), limit_s, "the MPS daemon to end")


def _signal(process: Identity, number: signal.Signals) -> None:
    if process.alive:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


# ---- its keeper, seen from the owner ------------------------------------------------------------


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
    """Return the directory that a keeper has made."""
    assert keeper.stdout is not None  # noqa: S101 - a pipe, as asked for
    patience = Patience(_KEEPER_S, "the MPS daemon's keeper to start")
    while not select.select([keeper.stdout], [], [], patience.step_s())[0]:
        if patience.over:
            raise DaemonNotRunning("the MPS daemon's keeper does not start")
    line = keeper.stdout.readline()  # it writes whole lines, and nothing when it ends
    said = json.loads(line) if line else {}
    if "error" in said:
        raise MpsError(said["error"], said["hint"])
    directory = read(Path(said["path"])) if said else None
    if directory is None:
        raise DaemonNotRunning("the MPS daemon's keeper ended at once")
    return directory


def _dismiss(keeper: subprocess.Popen[bytes]) -> None:
    """Let the keeper go, which ends what may be left, and collect it."""
    _say_to(keeper, _LET_GO)
    _close_pipes(keeper)
    try:
        keeper.wait(_KEEPER_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def _say_to(keeper: subprocess.Popen[bytes], word: bytes) -> None:
    """Say something; closing the pipe alone may go unnoticed, as forked children keep it open."""
    if keeper.stdin is not None and not keeper.stdin.closed:
        with contextlib.suppress(OSError):  # it has ended
            os.write(keeper.stdin.fileno(), word)


def _close_pipes(keeper: subprocess.Popen[bytes]) -> None:
    for pipe in (keeper.stdin, keeper.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # it has ended
                pipe.close()


# ---- its keeper, in a process of its own --------------------------------------------------------


def keep(base: str, gpu_uuid: str, owner_pid: str) -> int:
    """Make a directory in `base` for a GPU and watch over it; returns the exit status.

    The first line on standard output is JSON: `path`, or `error` and `hint`.
    """
    owner = _descriptor(int(owner_pid))
    if owner is None:
        return 1
    try:
        directory = make(Path(base), gpu_uuid, int(owner_pid))
    except MpsError as error:
        _say(error=error.message, hint=error.hint)
        return 1
    _say(path=str(directory.path))
    stdin = sys.stdin.fileno()
    watched = [owner, stdin]
    while directory.owner.alive:
        if stdin not in select.select(watched, [], [])[0]:
            continue
        said = os.read(stdin, 64)
        if _LET_GO in said:
            return _tidy(directory)
        if _STAY in said:
            return _stay(directory)
        if not said:  # the owner is ending
            watched.remove(stdin)
    until(lambda: directory.daemon is not None, _STARTS_S)
    return _tidy(directory)


def _stay(directory: OwnDirectory) -> int:
    """Own a directory whose daemon runs, and remove it when that ends; returns the exit status."""
    itself, daemon = identify(os.getpid()), directory.daemon
    if itself is None or daemon is None:
        return 1
    directory = (read(directory.path) or directory).marked(owner=itself, detached=True)
    _say(path=str(directory.path))
    watched = _descriptor(daemon.pid)
    if watched is not None and daemon.alive:
        select.select([watched], [], [])
    return _tidy(directory)


def _tidy(directory: OwnDirectory) -> int:
    """End what is left, also of a directory that others have cleaned away."""
    try:
        end(read(directory.path) or directory)
    except MpsError:
        return 1  # the directory stays, for the next sweep
    return 0


def _say(**facts: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: the owner has ended
        os.write(sys.stdout.fileno(), f"{json.dumps(facts)}\n".encode())


def _descriptor(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None when it has."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
