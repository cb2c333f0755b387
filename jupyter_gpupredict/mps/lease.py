"""Where a child process runs: as a client of MPS with limits of its own, or like any process."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jupyter_gpupredict.core.errors import MpsError, TelemetryError
from jupyter_gpupredict.core.share import AppliedShare
from jupyter_gpupredict.mps.process import inherited, process_mps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jupyter_gpupredict.core.ending import Ended
    from jupyter_gpupredict.mps.control import Control
    from jupyter_gpupredict.run.options import SessionConfig


@dataclass(frozen=True, slots=True)
class Lease:
    """What a child gets before it starts, and what is to be said of it."""

    changes: Mapping[str, str | None] = field(default_factory=dict)
    """What to set in its environment; None: to unset."""
    share: AppliedShare = field(default_factory=lambda: AppliedShare(active=False))
    before_signal: Callable[[int], str] | None = None
    """See `mps.child.Child`."""
    attached: Callable[[int], bool | None] = lambda _: None
    """Whether a process of this group is a client of MPS; None: that cannot be shown."""

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the child's environment."""
        kept = {key: value for key, value in environ.items() if key not in self.changes}
        return kept | {key: value for key, value in self.changes.items() if value is not None}

    @property
    def memory_limit_mib(self) -> int | None:
        """What it is held to."""
        limit_bytes = self.share.memory_limit_bytes
        return None if limit_bytes is None else limit_bytes >> 20


@dataclass(frozen=True, slots=True)
class Host:
    """Where children are let in."""

    lease: Callable[[int | None, int | None], Lease]
    """Percentage and memory limit in MiB, None for none -> what a child gets."""
    device_name: str
    driver: str
    device_sm_count: int | None = None
    device_uuid: str = ""
    """The one that its figures are of."""


class _Measured(Protocol):
    """The child that a share is held by."""

    @property
    def pid(self) -> int: ...
    @property
    def ended(self) -> Ended | None: ...


class ChildLease:
    """How a child stands to MPS: `core.protocols.ShareHold`. Its limits come with its environment.

    It is looked at when it has run and before it has ended: a client that is gone proves nothing.
    """

    def __init__(self, lease: Lease, child: _Measured) -> None:
        self._lease = lease
        self._child = child

    def begin(self) -> AppliedShare:
        """Return what it was given, or why it was not."""
        return self._lease.share

    def end(self) -> AppliedShare:
        """Return the same with what shows that it was in force."""
        from jupyter_gpupredict.mps import surroundings

        share, ended, group = self._lease.share, self._child.ended, self._child.pid
        environ = self._lease.environment(os.environ)
        died = ended is not None and ended.outcome == "died"
        count = ended.sm_count if ended is not None else None
        if not share.active:
            found = inherited(environ, count, lambda: _members(group), died=died)
            return replace(found, reason=share.reason) if found else share
        if died:
            return replace(share, reason="its process was gone before that could be shown")
        attached = self._lease.attached(group)
        reason = ""
        if attached is False:
            reason = (
                "CUDA did not start in this cell"
                if count is None
                else "CUDA started, and the daemon does not know its process"
            )
        elif attached is None:
            reason = "whether it was a client cannot be shown"
        first = None if count is None else surroundings.first_device(environ, count)
        sms = share.device_sm_count if first is None else first.sm_count
        return share.seen(attached, count, sms, reason)


@contextlib.contextmanager
def hosted(device: str | None = None, host: Host | None = None) -> Iterator[Host]:
    """Have MPS ready for children, and put everything back at the end.

    A daemon of this process, or of this user, that runs already is used and left running.

    Args:
        device: The GPU: UUID, unique prefix or index; None: the first visible one.
        host: What is ready already; None: what is here.

    Raises:
        MpsError: There is no MPS here; says what is missing.
        InvalidOption: `device` names no GPU.
    """
    if host is not None:
        yield host
        return
    from jupyter_gpupredict.mps import client, surroundings
    from jupyter_gpupredict.mps.control import Control, program
    from jupyter_gpupredict.mps.directory import own_at
    from jupyter_gpupredict.mps.preflight import require_server

    program()
    try:
        found = surroundings.device(device, os.environ)
        driver = surroundings.driver_version()
    except TelemetryError as error:
        raise MpsError(error.message, error.hint) from error
    process = process_mps()
    joined = surroundings.joinable(os.environ) if process.daemon is None else None
    own = None if joined is None else own_at(joined)
    started = False
    control: Control | None = None
    try:
        if own is not None:
            if own.gpu_uuid != found.uuid:
                raise MpsError(f"the MPS daemon in {own.pipe} serves {own.gpu_uuid}")
            require_server(own)
            pipe, control = own.pipe, Control(own)
        elif joined is not None:
            pipe = joined
        else:
            started = process.daemon is None
            daemon = process.ready(found.uuid)
            own = daemon.directory
            pipe, control = daemon.pipe_directory, daemon.control

        def lease(percentage: int | None, memory_mib: int | None) -> Lease:
            limits = client.Limits(percentage, memory_mib)
            if own is not None:
                client.require_known(limits, own.commands)
            changes: Mapping[str, str | None] = (
                client.joined_client(pipe, limits)
                if control is None
                else client.own_client(pipe, found.uuid, limits)
            )
            environ = client.merged(os.environ, changes)
            share = AppliedShare(
                active=True,
                percentage=client.percentage_in(environ),
                memory_limit_bytes=client.memory_limit_in(environ),
                pipe_directory=str(pipe),
                joined=joined is not None,
                device_sm_count=found.sm_count,
            )
            return Lease(
                changes,
                share,
                before_signal=lambda group: _let_go(control, group),
                attached=lambda group: _attached(control, found.uuid, group),
            )

        yield Host(lease, found.name, driver, found.sm_count, found.uuid)
    finally:
        if started and process.daemon is not None:
            with contextlib.suppress(MpsError):  # a client that does not end: the keeper sees to it
                process.stop()


@contextlib.contextmanager
def child_lease(config: SessionConfig) -> Iterator[Lease]:
    """Have a place for one child; without MPS where there is none and nothing depends on it.

    Args:
        config: Names device and limits.

    Raises:
        MpsError: A limit was asked for, and there is no MPS to apply it.
    """
    with contextlib.ExitStack() as stack:
        try:
            host = stack.enter_context(hosted(config.device))
        except MpsError as error:
            for option, limit in (
                ("--mps-percentage", config.mps_percentage),
                ("--memory-limit", config.memory_limit_mib),
            ):
                if limit is not None:
                    message = f"{option} cannot be applied: {error.message}"
                    raise MpsError(message, error.hint) from error
            yield Lease(share=AppliedShare(active=False, reason=str(error)))
            return
        yield host.lease(config.mps_percentage, config.memory_limit_mib)


def _let_go(control: Control | None, group: int) -> str:
    """Have the server end the contexts of a process group; returns why no signal may be sent.

    A signal without that is allowed where the server has no other client (gpu.md, rule 9).
    """
    from jupyter_gpupredict.mps.ending import resume

    if not _uses_cuda(group):
        return ""
    if control is None:
        return "it may be a client of an MPS daemon that is not ours, which a signal would harm"
    others = True
    try:
        resume(control.directory)
        clients = [(pid, server) for server, pids in control.clients().items() for pid in pids]
        ours = [one for one in clients if _group(one[0]) == group]
        others = len(ours) < len(clients)
        for pid, server in ours:
            control.terminate_client(server, pid)
    except MpsError as error:
        return f"its MPS server did not let go of it: {error}" if others else ""
    return ""


def _attached(control: Control | None, gpu_uuid: str, group: int) -> bool | None:
    from jupyter_gpupredict.mps import attachment
    from jupyter_gpupredict.mps.ending import resume

    pids = _members(group)
    found: bool | None = None
    if control is not None:
        resume(control.directory)
        with contextlib.suppress(MpsError):
            found = attachment.known_to_daemon(control, pids)
    return found or attachment.known_to_driver(gpu_uuid, pids) or found


def _uses_cuda(group: int) -> bool:
    """Whether a process of the group has loaded libcuda; one that cannot be looked at counts."""
    for pid in _pids():
        if _group(pid) == group:
            try:
                if "libcuda.so" in Path(f"/proc/{pid}/maps").read_text(errors="replace"):
                    return True
            except PermissionError:
                return True
            except OSError:
                continue  # it has ended
    return False


def _members(group: int) -> frozenset[int]:
    return frozenset(pid for pid in _pids() if _group(pid) == group)


def _pids() -> Iterator[int]:
    return (int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal())


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
