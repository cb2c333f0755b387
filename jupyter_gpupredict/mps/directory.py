"""The directories that we made for a daemon, and the processes that /proc shows.

No command goes to a pipe directory that is not ours, fresh, private and marked, so `Control` takes
nothing else. A PID alone is used again; with its start it is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import MpsError

if TYPE_CHECKING:
    from collections.abc import Callable


ANNOUNCED_AFTER_S = 2.0
"""A longer wait is announced in one line."""
_LOOK_S = 0.02
_DAEMON, _SERVER = b"nvidia-cuda-mps-control", b"nvidia-cuda-mps-server"
_PIPE = b"CUDA_MPS_PIPE_DIRECTORY="


@dataclass(frozen=True, slots=True)
class Identity:
    """One process."""

    pid: int
    start_ticks: int
    """When it began, in clock ticks since the machine booted."""

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; one that ended and was not collected does not."""
        return identify(self.pid) == self


def identify(pid: int) -> Identity | None:
    """Return the process that has this number now; None when there is none.

    Source: fields 3 and 22 of /proc/PID/stat, proc(5).
    """
    words = _stat(pid)
    return Identity(pid, int(words[19])) if words else None


def members(group: int) -> frozenset[int]:
    """Return the processes of a process group that still run.

    Source: fields 3 and 5 of /proc/PID/stat, proc(5).
    """
    return frozenset(pid for pid in _pids() if (words := _stat(pid)) and int(words[2]) == group)


def daemon_in(pipe_directory: Path, *, default: bool = False) -> Identity | None:
    """Return the control daemon that serves a directory, by its own command line and environment.

    Its files prove nothing: not every driver writes a pid file, and all stay after a kill. One
    whose environment names no directory serves the `default` one.

    Returns:
        None where there is none, or where its environment may not be read here.

    Source: /proc/PID/cmdline and environ, proc(5).
    """
    return next(iter(_of_directory(pipe_directory, _DAEMON, default=default)), None)


def servers_in(pipe_directory: Path) -> list[Identity]:
    """Return the MPS servers that a directory's daemon has started."""
    return _of_directory(pipe_directory, _SERVER)


def owner_uid(pid: int) -> int | None:
    """Return the user a process runs as; None when it is gone."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


def pid_namespace() -> str:
    """Return the namespace that this process's numbers count in; empty where it is not known."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _of_directory(pipe_directory: Path, program: bytes, *, default: bool = False) -> list[Identity]:
    """Return the processes of a program in whose environment the directory is; leaders first."""
    serves = _PIPE + os.fsencode(pipe_directory)
    found = []
    for pid in _pids():
        try:
            if not _runs(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"), program):
                continue
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or is another user's
        unnamed = not any(one.startswith(_PIPE) for one in environ)
        words = _stat(pid)
        if words and (serves in environ or (default and unnamed)):
            leads = int(words[3]) == pid  # a daemon leads a session of its own
            found.append((not leads, Identity(pid, int(words[19]))))
    return [one for _, one in sorted(found, key=lambda one: (one[0], one[1].pid))]


def _runs(words: list[bytes], program: bytes) -> bool:
    """Whether a command line is of the program; of its control program, as a daemon."""
    named = any(word.rpartition(b"/")[2] == program for word in words[:2])
    return named and (program != _DAEMON or b"-d" in words or b"-f" in words)


def _pids() -> list[int]:
    return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal()]


def _stat(pid: int) -> list[bytes]:
    """Return the third and later fields of a process that runs; empty when it does not."""
    if pid <= 0:
        return []
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
    return [] if words[0] in (b"Z", b"X") else words


@dataclass(slots=True)
class Patience:
    """The time that one thing may take, from now; a long wait is announced once."""

    limit_s: float
    what: str = ""
    """What is waited for, as it completes "waiting for"; empty: nobody needs to know."""
    _began_s: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        """Whether the time is up; also says, once, what is waited for."""
        return self.step_s() <= 0.0

    def step_s(self) -> float:
        """Return for how long one may wait before asking again; 0 when the time is up."""
        waited_s = time.monotonic() - self._began_s
        if self.what and waited_s >= ANNOUNCED_AFTER_S:
            what, self.what = self.what, ""
            with contextlib.suppress(OSError, ValueError):  # the stream may be closed
                print(f"gpupredict: waiting for {what}", file=sys.stderr, flush=True)  # noqa: T201
        left_s = max(0.0, self.limit_s - waited_s)
        return min(left_s, ANNOUNCED_AFTER_S - waited_s) if self.what else left_s


def until(condition: Callable[[], bool], limit_s: float, what: str = "") -> bool:
    """Wait for a condition; return whether it came about in time."""
    patience = Patience(limit_s, what)
    while not condition():
        if patience.over:
            return False
        time.sleep(_LOOK_S)
    return True


# ---- directories -------------------------------------------------------------------------------


MARKER = "gpupredict-mps.json"
PREFIX = "gpupredict-mps-"
_LONGEST_SOCKET_BYTES = 107
"""A UNIX socket's path ends there, unix(7); the daemon's longest is `control_privileged`."""
_LONGEST_NAME = "/control_privileged"
_NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gpfs", "glusterfs", "beegfs",
            "fuse.", "panfs", "orangefs")  # fmt: skip
"""Filesystems on which a socket made on one machine is seen, and dead, on another."""
_LARGEST_MARKER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class OwnDirectory:
    """A directory of ours, with what its marker says."""

    path: Path
    owner: Identity
    """The process on whose behalf the daemon runs."""
    gpu_uuid: str
    namespace: str
    """The PID namespace that the owner's number counts in."""
    commands: frozenset[str] = frozenset()
    """Which of `control.OPTIONAL` its daemon knows, once it was asked."""
    detached: bool = False
    """Its owner is its keeper: it was started from a terminal and ends on request."""

    @property
    def pipe(self) -> Path:
        """`CUDA_MPS_PIPE_DIRECTORY`."""
        return self.path / "pipe"

    @property
    def log(self) -> Path:
        """`CUDA_MPS_LOG_DIRECTORY`."""
        return self.path / "log"

    def said(self, name: str) -> str:
        """Return a log of its daemon; empty where there is none."""
        try:
            return (self.log / name).read_text(errors="replace")
        except OSError:
            return ""

    @property
    def orphaned(self) -> bool:
        """Whether the owner is certainly dead; in another PID namespace nobody knows."""
        return self.here and not self.owner.alive

    @property
    def here(self) -> bool:
        """Whether its processes count in this PID namespace; else they only look dead from here.

        So it is with a temporary directory that is mounted into a container.
        """
        return self.namespace == pid_namespace()

    @property
    def daemon(self) -> Identity | None:
        """The control daemon that serves it now; None where none does."""
        return daemon_in(self.pipe) if self.here else None

    def marked(self, **changes: Any) -> OwnDirectory:
        """Return it with changes, which its marker has from now on."""
        changed = replace(self, **changes)
        _mark(changed)
        return changed

    def remove(self) -> None:
        """Remove it with all that is in it; may be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)


def place() -> Path:
    """Return where a directory can be made.

    Not the user's runtime directory: it is removed when the last login ends, and a notebook may go
    on.

    Raises:
        MpsError: The place is too deep for a socket, or on a network.
    """
    base = Path(tempfile.gettempdir())
    kind = _filesystem(base)
    if kind.startswith(_NETWORK):
        raise MpsError(
            f"{base} is on {kind}, where MPS cannot have its sockets",
            "set TMPDIR to a local directory",
        )
    deepest = f"{base}/{PREFIX}{os.geteuid()}-{'x' * 8}/pipe{_LONGEST_NAME}"
    if len(os.fsencode(deepest)) > _LONGEST_SOCKET_BYTES:
        raise MpsError(f"{base} is too deep for a socket", "set TMPDIR to a shorter path")
    return base


def make(base: Path, gpu_uuid: str, owner_pid: int) -> OwnDirectory:
    """Make a fresh directory and mark it.

    Raises:
        MpsError: It cannot be written, or the owner is gone.
    """
    owner = identify(owner_pid)
    if owner is None:
        message = f"process {owner_pid} does not show in /proc"
        raise MpsError(message, "MPS runs on Linux, and needs /proc")
    made: OwnDirectory | None = None
    try:
        path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.geteuid()}-", dir=base))
        made = OwnDirectory(path, owner, gpu_uuid, pid_namespace())
        made.pipe.mkdir(mode=0o700)
        made.log.mkdir(mode=0o700)
        _mark(made)
    except OSError as error:
        if made is not None:
            made.remove()
        raise MpsError(
            f"no directory for MPS can be made in {base}: {error.strerror}",
            "set TMPDIR to a directory that can be written",
        ) from error
    return made


def found() -> list[OwnDirectory]:
    """Return the directories that carry our marker and belong to this user, by path."""
    places = sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.geteuid()}-*"))
    return [one for one in map(read, places) if one is not None]


def own_at(pipe_directory: Path) -> OwnDirectory | None:
    """Return the directory of ours that a pipe directory lies in; None when it is not ours."""
    directory = read(pipe_directory.parent)
    return directory if directory is not None and directory.pipe == pipe_directory else None


def read(path: Path) -> OwnDirectory | None:
    """Return a directory of ours; None for one that is not, or not only ours."""
    marker = path / MARKER
    try:
        if not _private(path, stat.S_ISDIR) or not _private(marker, stat.S_ISREG):
            return None
        with marker.open("rb") as file:
            facts = json.loads(file.read(_LARGEST_MARKER_BYTES))
        return OwnDirectory(
            path,
            Identity(int(facts["owner"]["pid"]), int(facts["owner"]["start_ticks"])),
            str(facts["gpu_uuid"]),
            str(facts["namespace"]),
            frozenset(map(str, facts["commands"])),
            bool(facts["detached"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _mark(directory: OwnDirectory) -> None:
    from jupyter_gpupredict.core.files import replace_private  # a daemon's keeper marks none

    facts = {**asdict(directory), "commands": sorted(directory.commands)}
    text = json.dumps({name: fact for name, fact in facts.items() if name != "path"})
    replace_private(directory.path / MARKER, text)


def _private(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Return whether a path itself, not a link, is ours and closed to everybody else."""
    state = path.lstat()
    return is_kind(state.st_mode) and state.st_uid == os.geteuid() and not state.st_mode & 0o077


def _filesystem(path: Path) -> str:
    """Return the type of the filesystem that holds a path; empty where it is not known."""
    import psutil  # a daemon's keeper makes no directory

    try:
        where, mounts = path.resolve(), psutil.disk_partitions(all=True)
    except OSError:
        return ""
    holding = [one for one in mounts if where.is_relative_to(one.mountpoint)]
    holding.sort(key=lambda one: len(one.mountpoint))  # of two at one place the later one counts
    return str(holding[-1].fstype) if holding else ""
