"""Leases: what a process gets as a client of MPS, in this process or in a child."""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jupyter_gpupredict.core.errors import GpuPredictError, MpsError, TelemetryError
from jupyter_gpupredict.core.recommendation import AppliedShare
from jupyter_gpupredict.mps import client, surroundings
from jupyter_gpupredict.mps.control import Control, program, require_server
from jupyter_gpupredict.mps.daemon import resume
from jupyter_gpupredict.mps.directory import members, own_at
from jupyter_gpupredict.mps.process import ProcessMps, process_mps
from jupyter_gpupredict.mps.states import UNREACHABLE
from jupyter_gpupredict.sources.driver import cuda

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jupyter_gpupredict.core.series import Device
    from jupyter_gpupredict.mps.directory import OwnDirectory
    from jupyter_gpupredict.mps.states import Ended
    from jupyter_gpupredict.run.options import SessionConfig


@dataclass(frozen=True, slots=True)
class Lease:
    """What a process gets before CUDA starts in it; by default, that of a process without MPS."""

    changes: Mapping[str, str | None] = field(default_factory=dict)
    """What to set in its environment; None: to unset."""
    share: AppliedShare = field(default_factory=lambda: AppliedShare(active=False))
    before_signal: Callable[[int], str] | None = None
    """See `mps.child.Child`."""
    attached: Callable[[frozenset[int]], tuple[bool | None, str]] = lambda _: (None, "")
    """See `mps.client.attached`."""

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a child."""
        return client.merged(environ, self.changes)


@dataclass(frozen=True, slots=True)
class Host:
    """A daemon with a live server, and the device that it serves."""

    lease: Callable[[int | None, int | None], Lease]
    """Percentage and memory limit in MiB, None for none -> what a client gets."""
    device_name: str
    driver: str
    device_sm_count: int | None = None
    device_uuid: str = ""
    control: Control | None = None
    """Of a daemon of ours."""


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
    program()
    try:
        found = surroundings.device(device, os.environ)
        driver = surroundings.driver_version()
    except TelemetryError as error:
        raise MpsError(error.message, error.hint) from error
    process = process_mps()
    starts = process.daemon is None
    try:
        yield _host(process, found, driver)
    finally:
        if starts and process.daemon is not None:
            with contextlib.suppress(MpsError):  # a client that does not end: the keeper sees to it
                process.stop()


def _host(process: ProcessMps, device: Device, driver: str = "") -> Host:
    """Join the daemon that CUDA would find, else have this process's own run, with its server."""
    joined = surroundings.joinable(os.environ) if process.daemon is None else None
    own: OwnDirectory | None
    if joined is None:
        own = process.ready(device.uuid).directory
    elif own := own_at(joined):
        if own.gpu_uuid != device.uuid:
            raise MpsError(f"the MPS daemon in {own.pipe} serves {own.gpu_uuid}")
        require_server(own)
    control = None if own is None else Control(own)

    def lease(percentage: int | None, memory_mib: int | None) -> Lease:
        limits = client.Limits(percentage, memory_mib)
        if own is not None:
            client.require_known(limits, own.commands)
            changes = client.own_client(own.pipe, device.uuid, limits)
        else:
            assert joined is not None  # noqa: S101 - else it is our own
            changes = client.joined_client(joined, limits)
        environ = client.merged(os.environ, changes)
        share = AppliedShare(
            active=True,
            percentage=client.percentage_in(environ),
            memory_limit_bytes=client.memory_limit_in(environ),
            pipe_directory=environ[client.PIPE],
            joined=joined is not None,
            device_sm_count=device.sm_count,
        )
        return Lease(
            changes,
            share,
            before_signal=functools.partial(_let_go, control),
            attached=functools.partial(client.attached, control, device.uuid),
        )

    return Host(lease, device.name, driver, device.sm_count, device.uuid, control)


def _let_go(control: Control | None, group: int) -> str:
    """Have the server end the contexts of a process group; returns why no signal may be sent.

    A signal without that is allowed where the server has no other client (gpu.md, rule 9).
    """
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


def _uses_cuda(group: int) -> bool:
    """Whether a process of the group has loaded libcuda; one that cannot be looked at counts."""
    for pid in members(group):
        try:
            if "libcuda.so" in Path(f"/proc/{pid}/maps").read_text(errors="replace"):
                return True
        except PermissionError:
            return True
        except OSError:
            continue  # it has ended
    return False


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


# ---- a child's ----------------------------------------------------------------------------------


@contextlib.contextmanager
def child_lease(config: SessionConfig) -> Iterator[Lease]:
    """Have a lease for one child; without MPS where there is none and nothing depends on it.

    Raises:
        MpsError: A limit was asked for, and there is no MPS to apply it.
    """
    limits = (config.mps_percentage, config.memory_limit_mib)
    with contextlib.ExitStack() as stack:
        try:
            host = stack.enter_context(hosted(config.device))
        except MpsError as error:
            for option, limit in zip(("--mps-percentage", "--memory-limit"), limits, strict=True):
                if limit is not None:
                    message = f"{option} cannot be applied: {error.message}"
                    raise MpsError(message, error.hint) from error
            yield Lease(share=AppliedShare(active=False, reason=str(error)))
            return
        yield host.lease(*limits)


class _Measured(Protocol):
    """The child that a lease is held by."""

    @property
    def pid(self) -> int: ...
    @property
    def ended(self) -> Ended | None: ...


@dataclass(frozen=True, slots=True)
class ChildLease:
    """A child's lease: `core.protocols.ShareHold`. Its limits come with its environment.

    It is looked at when it has run and before it has ended: a client that is gone proves nothing.
    """

    lease: Lease
    child: _Measured

    def begin(self) -> AppliedShare:
        """Return what it was given, or why it was not."""
        return self.lease.share

    def end(self) -> AppliedShare:
        """Return the same with what shows that it was in force."""
        share, ended = self.lease.share, self.child.ended
        environ = self.lease.environment(os.environ)
        died = ended is not None and ended.outcome == "died"
        count = None if ended is None else ended.sm_count
        if not share.active:
            found = _inherited(environ, count, lambda: members(self.child.pid), died=died)
            return replace(found, reason=share.reason) if found else share
        if died:
            return replace(share, reason="its process was gone before that could be shown")
        return _proven(self.lease, members(self.child.pid), environ, count)


# ---- this process's own -------------------------------------------------------------------------


class CellLease:
    """This process's lease for one run: `core.protocols.ShareHold`."""

    def __init__(self, process: ProcessMps, config: SessionConfig) -> None:
        self._process = process
        self._config = config
        self._lease = Lease()
        self._restore: Callable[[], None] | None = None
        self._began: AppliedShare | None = None
        self._environ: Mapping[str, str] = {}
        """What CUDA was to start in."""
        self._starts = False
        """A daemon of this process was not there before."""

    def begin(self) -> AppliedShare | None:
        """Apply what was asked for, or say why not; the cell runs in any case."""
        try:
            if self._process.held is not None:
                self._began = self._still(self._process.held)
            elif self._config.mps:
                self._began = self._apply()
        except GpuPredictError as error:
            self._end_own()
            self._began = AppliedShare(active=False, reason=str(error))
        return self._began

    def end(self) -> AppliedShare | None:
        """Put the environment back and say what was in force."""
        if self._restore is not None:
            self._restore()
            self._restore = None
        if self._process.held is not None:
            return self._began
        if self._began is None:  # not asked for, or interrupted on the way
            self._end_own()
            return self._found()
        if not self._began.active:
            found = self._found()  # CUDA asks nobody whether it may attach
            return replace(found, reason=self._began.reason) if found else self._began
        ended = self._seen(self._began)
        if ended.sm_count is not None and ended.attached is not False:
            self._process.held = replace(ended, reason="")
        else:
            self._end_own()
        return ended

    def _end_own(self) -> None:
        """End the daemon that this run started; it stays where it has clients, or does not end."""
        if self._starts and self._process.daemon is not None:
            with contextlib.suppress(MpsError, KeyboardInterrupt):
                self._process.stop()

    def _still(self, held: AppliedShare) -> AppliedShare:
        """Return the share of a process that is a client already: its limits stand."""
        memory_mib = self._config.memory_limit_mib
        wanted = (self._config.mps_percentage, None if memory_mib is None else memory_mib << 20)
        if not self._config.mps or wanted == (held.percentage, held.memory_limit_bytes):
            return held
        return replace(
            held,
            reason="the limits stand since an earlier cell started CUDA: restart the kernel, or "
            "use --isolate, for others",
        )

    def _apply(self) -> AppliedShare:
        config, process = self._config, self._process
        client.require_uninitialised()
        device = surroundings.device(config.device, os.environ)
        self._starts = process.daemon is None
        host = _host(process, device)
        process.control = host.control
        self._lease = host.lease(config.mps_percentage, config.memory_limit_mib)
        self._restore = client.apply(self._lease.changes)
        self._environ = dict(os.environ)
        return self._lease.share

    def _seen(self, began: AppliedShare) -> AppliedShare:
        count = cuda.visible_sm_count()
        if count is None and client.was_refused(self._process.control, os.getpid()):
            unlimited = replace(began, percentage=None, memory_limit_bytes=None)  # nothing has run
            return replace(unlimited, attached=False, reason=UNREACHABLE)
        return _proven(self._lease, client.own_pids(), self._environ, count, cuda.first_uuid())

    def _found(self) -> AppliedShare | None:
        """Return the share of a run that did not ask, where CUDA has found a daemon by itself."""
        count = cuda.visible_sm_count()
        share = _inherited(os.environ, count, client.own_pids, uuid=cuda.first_uuid())
        if share is not None and count is not None:
            self._process.held = share
        return share


def cell_share(config: SessionConfig) -> CellLease | None:
    """Return what applies the limits of MPS to a run of this process; None: it is not measured."""
    return None if config.simulated else CellLease(process_mps(), config)


# ---- what shows it ------------------------------------------------------------------------------


def _proven(
    lease: Lease,
    pids: frozenset[int],
    environ: Mapping[str, str],
    sm_count: int | None,
    uuid: str = "",
) -> AppliedShare:
    """Return the share of processes with what shows that it was in force."""
    try:
        attached, problem = lease.attached(pids)
    except KeyboardInterrupt:  # the program hangs; the run is to have its end all the same
        attached, problem = None, "interrupted"
    reason = ""
    if attached is None:
        reason = f"whether it was a client cannot be shown: {problem}"
    elif not attached and sm_count is None:
        reason = "CUDA did not start in this cell"
    elif not attached:
        reason = "CUDA started, and the daemon does not know its process"
    first = None if sm_count is None else surroundings.first_device(environ, sm_count, uuid)
    sms = lease.share.device_sm_count if first is None else first.sm_count
    return lease.share.seen(attached, sm_count, sms, reason)


def _inherited(
    environ: Mapping[str, str],
    sm_count: int | None,
    pids: Callable[[], frozenset[int]],
    *,
    uuid: str = "",
    died: bool = False,
) -> AppliedShare | None:
    """Return the share of processes that were given none; None: nothing shows that they have one.

    What CUDA gives decides, and no file of a daemon's: it may run in another container.

    Args:
        environ: The environment that CUDA has started in.
        sm_count: SMs that CUDA gives there; None: it was not started, or cannot be asked.
        pids: The processes.
        uuid: As for `surroundings.first_device`.
        died: It could not be asked any more; limits that it may have had then count as its own.
    """
    folder = surroundings.control_socket(environ)
    if sm_count is None and folder is None:
        return None
    first = surroundings.first_device(environ, sm_count, uuid)
    share = AppliedShare(
        active=True,
        percentage=client.percentage_in(environ),
        memory_limit_bytes=client.memory_limit_in(environ),
        pipe_directory="" if folder is None else str(folder),
        joined=True,
        attached=None if first is None else client.known_to_driver(first.uuid, pids()),
        sm_count=sm_count,
        device_sm_count=None if first is None else first.sm_count,
    )
    if not share.short and None not in (sm_count, share.device_sm_count):
        share = replace(share, percentage=None)  # whatever the environment says
    limited = share.capped or share.memory_limit_bytes is not None
    reachable = folder is not None and (sm_count is not None or died)
    return share if share.attached or share.short or (limited and reachable) else None
