"""The directories that we made for a daemon: fresh, private, and marked as ours.

No command goes to a pipe directory that is not one of these, so `Control` takes nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import MpsError
from jupyter_gpupredict.mps.processes import Identity, daemon_in, identify, pid_namespace

if TYPE_CHECKING:
    from collections.abc import Callable

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
