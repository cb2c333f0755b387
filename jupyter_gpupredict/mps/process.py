"""MPS as one process uses it: its own daemon, its limits for a run, and what it says of it.

Nothing is started, joined or sent before MPS is asked for.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.ending import UNREACHABLE
from jupyter_gpupredict.core.errors import GpuPredictError, MpsError
from jupyter_gpupredict.core.machine import MpsDaemon, MpsStatus, MpsTrial, OwnDaemon
from jupyter_gpupredict.core.share import AppliedShare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jupyter_gpupredict.core.series import Device
    from jupyter_gpupredict.mps.client import Limits
    from jupyter_gpupredict.mps.control import Control
    from jupyter_gpupredict.mps.daemon import Daemon
    from jupyter_gpupredict.mps.directory import OwnDirectory
    from jupyter_gpupredict.run.options import SessionConfig


STATUS_S = 2.0
"""For so long each daemon of ours may think about its status."""


class ProcessMps:
    """This process's daemon, and whether the process has become a client."""

    def __init__(self) -> None:
        self.daemon: Daemon | None = None
        self.held: AppliedShare | None = None
        """How this process is a client, which it stays until it ends."""
        self.control: Control | None = None
        """The daemon of ours, started here or from a terminal, that it is a client of."""
        self._watching_exit = False

    def start(self, gpu_uuid: str) -> Daemon:
        """Return this process's daemon for a device, started if need be.

        Raises:
            MpsError: It does not start, or serves another device.
            SourceUnavailable: There is no driver.
        """
        from jupyter_gpupredict.mps.daemon import start
        from jupyter_gpupredict.mps.ending import resume

        daemon = self.daemon
        if daemon is not None and self.held is None:
            resume(daemon.directory)
            if not (daemon.alive and daemon.answers):
                daemon.quit()  # it was killed, or hangs: what is left of it ends
                daemon = self.daemon = None
        if daemon is None:
            daemon = self.daemon = start(gpu_uuid)
            if not self._watching_exit:
                atexit.register(self.leave)
                self._watching_exit = True
        elif daemon.gpu_uuid != gpu_uuid:
            raise MpsError(
                f"this process's MPS daemon serves {daemon.gpu_uuid}", "%gpupredict mps stop"
            )
        return daemon

    def ready(self, gpu_uuid: str) -> Daemon:
        """Return this process's daemon with a server that lives, so that clients may come.

        A daemon whose server does not start is ended: what became its client would lose CUDA.

        Raises:
            MpsError: It does not start, or serves another device.
            SourceUnavailable: There is no driver.
        """
        from jupyter_gpupredict.mps.preflight import require_server

        before = self.daemon
        daemon = self.start(gpu_uuid)
        try:
            require_server(daemon.directory)
        except BaseException as error:
            with contextlib.suppress(MpsError):
                if daemon is not before:
                    daemon.quit()
                    self.daemon = self.control = None
                elif isinstance(error, MpsError):
                    self.stop()
            raise
        return daemon

    def stop(self) -> None:
        """Quit this process's daemon.

        Raises:
            MpsError: It has clients, this process perhaps among them; or it does not end.
        """
        from jupyter_gpupredict.mps.ending import resume

        daemon = self.daemon
        if daemon is None:
            raise MpsError("no MPS daemon of this process runs", "%gpupredict mps status")
        if daemon.alive:
            resume(daemon.directory)
            self._refuse_clients(daemon)
        daemon.quit()
        self.daemon = self.control = None

    def leave(self) -> None:
        """Let go at the end of the process, or of the extension; never raises.

        A daemon that this very process is a client of is left to its keeper, which quits it when
        the process is gone.
        """
        daemon = self.daemon
        if daemon is None:
            return
        if self.held is not None:
            daemon.hand_over()
            return
        with contextlib.suppress(MpsError):  # the keeper tries again
            daemon.quit()
        self.daemon = self.control = None

    def release(self) -> None:
        """End this process's own contexts through MPS, before it is ended by a signal."""
        from jupyter_gpupredict.mps.attachment import release

        if self.control is not None:
            release(self.control, os.getpid())

    def _refuse_clients(self, daemon: Daemon) -> None:
        pids = daemon.control.client_pids()
        held_by = "" if self.held is None else self.held.pipe_directory
        if os.getpid() in pids or held_by == str(daemon.pipe_directory):
            raise MpsError(
                f"this process, {os.getpid()}, is a client of its MPS daemon until it ends",
                "restart the kernel: the daemon ends with it",
            )
        if pids:
            raise MpsError(
                f"processes {', '.join(map(str, pids))} are clients of this daemon",
                "end them first",
            )


@functools.cache
def process_mps() -> ProcessMps:
    """Return what this process has to do with MPS; free to call while that is nothing."""
    return ProcessMps()


class CellLease:
    """The limits of one run: `core.protocols.ShareHold`."""

    def __init__(self, process: ProcessMps, config: SessionConfig) -> None:
        self._process = process
        self._config = config
        self._restore: Callable[[], None] | None = None
        self._began: AppliedShare | None = None
        self._device: Device | None = None
        self._environ: Mapping[str, str] = {}
        """What CUDA was to start in."""
        self._started_here = False

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
            return self._inherited()
        if not self._began.active:
            found = self._inherited()  # CUDA asks nobody whether it may attach
            return replace(found, reason=self._began.reason) if found else self._began
        ended = self._proven(self._began)
        if ended.sm_count is not None and ended.attached is not False:
            self._process.held = replace(ended, reason="")
        else:
            self._end_own()
        return ended

    def _end_own(self) -> None:
        """End the daemon that this run started; it stays where it has clients, or does not end."""
        if self._started_here and self._process.daemon is not None:
            with contextlib.suppress(MpsError, KeyboardInterrupt):
                self._process.stop()

    # ---- the way in ---------------------------------------------------------------------------

    def _limits(self) -> Limits:
        from jupyter_gpupredict.mps.client import Limits

        return Limits(self._config.mps_percentage, self._config.memory_limit_mib)

    def _still(self, held: AppliedShare) -> AppliedShare:
        """Return the share of a process that is a client already: its limits stand."""
        limits = self._limits()
        wanted = (limits.percentage, _bytes(limits))
        if not self._config.mps or wanted == (held.percentage, held.memory_limit_bytes):
            return held
        return replace(
            held,
            reason="the limits stand since an earlier cell started CUDA: restart the kernel, or "
            "use --isolate, for others",
        )

    def _apply(self) -> AppliedShare:
        from jupyter_gpupredict.mps import client, surroundings
        from jupyter_gpupredict.mps.control import Control
        from jupyter_gpupredict.mps.directory import own_at
        from jupyter_gpupredict.mps.preflight import require_server

        client.require_uninitialised()
        limits = self._limits()
        self._device = device = surroundings.device(self._config.device, os.environ)
        process, joined = self._process, None
        if process.daemon is None:
            joined = surroundings.joinable(os.environ)
        own = None if joined is None else own_at(joined)
        if joined is not None and own is None:
            pipe, changes = joined, client.joined_client(joined, limits)
        elif own is not None:
            if own.gpu_uuid != device.uuid:
                raise MpsError(f"the MPS daemon in {own.pipe} serves {own.gpu_uuid}")
            require_server(own)
            pipe, process.control = own.pipe, Control(own)
        else:
            self._started_here = process.daemon is None
            daemon = process.ready(device.uuid)
            own = daemon.directory
            pipe, process.control = daemon.pipe_directory, daemon.control
        if own is not None:
            client.require_known(limits, own.commands)
            changes = client.own_client(pipe, device.uuid, limits)
        self._restore = client.apply(changes)
        self._environ = dict(os.environ)
        return AppliedShare(
            active=True,
            percentage=client.percentage_in(os.environ),
            memory_limit_bytes=client.memory_limit_in(os.environ),
            pipe_directory=str(pipe),
            joined=joined is not None,
            device_sm_count=device.sm_count,
        )

    # ---- the way out --------------------------------------------------------------------------

    def _proven(self, began: AppliedShare) -> AppliedShare:
        """Return the share with what shows that it was in force."""
        from jupyter_gpupredict.mps import attachment, client, surroundings

        count = client.visible_sm_count()
        if count is None and attachment.was_refused(self._process.control, os.getpid()):
            unlimited = replace(began, percentage=None, memory_limit_bytes=None)  # nothing has run
            return replace(unlimited, attached=False, reason=UNREACHABLE)
        first = None if count is None else surroundings.own_first_device(self._environ, count)
        pids = attachment.own_pids()
        device = self._device
        attached: bool | None = None
        reason = ""
        if self._process.control is not None:
            try:
                attached = attachment.known_to_daemon(self._process.control, pids)
            except MpsError as error:
                reason = f"whether it was a client cannot be shown: {error}"
            except KeyboardInterrupt:  # the program hangs; the run is to have its end all the same
                reason = "whether it was a client cannot be shown: interrupted"
        if not attached and device is not None:
            attached = attachment.known_to_driver(device.uuid, pids) or attached
        if attached is False:
            reason = (
                "CUDA did not start in this cell"
                if count is None
                else "CUDA started, and the daemon does not know this process"
            )
        elif attached is None and not reason:
            reason = "whether it was a client cannot be shown: the driver does not list it"
        sms = began.device_sm_count if first is None else first.sm_count
        return began.seen(attached, count, sms, "" if attached else reason)

    def _inherited(self) -> AppliedShare | None:
        """Return the share of a run that did not ask, where CUDA has found a daemon by itself."""
        from jupyter_gpupredict.mps import attachment, client

        count = client.visible_sm_count()
        share = inherited(os.environ, count, attachment.own_pids, own=True)
        if share is not None and count is not None:
            self._process.held = share
        return share


def inherited(
    environ: Mapping[str, str],
    sm_count: int | None,
    pids: Callable[[], frozenset[int]],
    *,
    own: bool = False,
    died: bool = False,
) -> AppliedShare | None:
    """Return the share of processes that were given none; None: nothing shows that they have one.

    What CUDA gives decides, and no file of a daemon's: it may run in another container.

    Args:
        environ: The environment that CUDA has started in.
        sm_count: SMs that CUDA gives there; None: it was not started, or cannot be asked.
        pids: The processes.
        own: This very process is the one that was asked.
        died: It could not be asked any more; limits that it may have had then count as its own.
    """
    from jupyter_gpupredict.mps import attachment, client, surroundings

    folder = surroundings.control_socket(environ)
    if sm_count is None and folder is None:
        return None
    if own and sm_count is not None:
        first = surroundings.own_first_device(environ, sm_count)
    else:
        first = surroundings.first_device(environ, sm_count)
    share = AppliedShare(
        active=True,
        percentage=client.percentage_in(environ),
        memory_limit_bytes=client.memory_limit_in(environ),
        pipe_directory="" if folder is None else str(folder),
        joined=True,
        attached=None if first is None else attachment.known_to_driver(first.uuid, pids()),
        sm_count=sm_count,
        device_sm_count=None if first is None else first.sm_count,
    )
    if not share.short and None not in (sm_count, share.device_sm_count):
        share = replace(share, percentage=None)  # whatever the environment says
    limited = share.capped or share.memory_limit_bytes is not None
    reachable = folder is not None and (sm_count is not None or died)
    return share if share.attached or share.short or (limited and reachable) else None


def _bytes(limits: Limits) -> int | None:
    return None if limits.memory_mib is None else limits.memory_mib << 20


# ---- what is there -------------------------------------------------------------------------------


def mps_status(device: str | None = None) -> MpsStatus:
    """Return what there is of MPS. Only daemons that we started are asked; nothing is changed."""
    from jupyter_gpupredict.mps import surroundings
    from jupyter_gpupredict.mps.control import program
    from jupyter_gpupredict.mps.directory import found, own_at
    from jupyter_gpupredict.mps.records import by_driver

    process = process_mps()
    try:
        path = program()
    except MpsError:
        path = ""
    try:
        mode = surroundings.compute_mode(surroundings.device(device, os.environ).uuid)
    except GpuPredictError:
        mode = ""
    driver = surroundings.driver_version_or_none()
    record = by_driver(driver)
    there = surroundings.running_daemon(os.environ)
    if there is not None and own_at(there.pipe_directory) is not None:
        there = None
    return MpsStatus(
        program=path,
        driver=driver,
        commands="" if record is None else record.text,
        uid=os.geteuid(),
        compute_mode=mode,
        own=tuple(_own(directory) for directory in found()),
        other="" if there is None else there.text,
        foreign=there is not None and there.foreign,
        client=process.held is not None,
    )


def mps_trial(device: str | None = None) -> MpsTrial:
    """Start a daemon in a private directory, ask it, start its server, and remove it again."""
    from jupyter_gpupredict.mps import surroundings
    from jupyter_gpupredict.mps.daemon import start
    from jupyter_gpupredict.mps.preflight import require_server
    from jupyter_gpupredict.mps.records import Record

    try:
        daemon = start(surroundings.device(device, os.environ).uuid)
    except GpuPredictError as error:
        return MpsTrial(problem=str(error))
    server = ""
    try:
        require_server(daemon.directory)
    except MpsError as error:
        server = str(error)
    finally:
        daemon.quit()
    return MpsTrial(Record("asking it", daemon.directory.commands).text, server)


def mps_start(device: str | None = None) -> MpsStatus:
    """Start this process's daemon; does nothing where it runs.

    Raises:
        MpsError: It does not start.
        SourceUnavailable: There is no driver, or no GPU.
    """
    from jupyter_gpupredict.mps import surroundings

    process_mps().ready(surroundings.device(device, os.environ).uuid)
    return mps_status(device)


def mps_stop() -> MpsStatus:
    """Quit this process's daemon.

    Raises:
        MpsError: There is none, or it has clients, or it does not end.
    """
    process_mps().stop()
    return mps_status()


def mps_start_detached(device: str | None = None) -> str:
    """Start a daemon that outlives this process; returns its pipe directory.

    One that was started so for this device, and answers, is returned as it is.

    Raises:
        MpsError: It, or its server, does not start.
        SourceUnavailable: There is no driver, or no GPU.
    """
    from jupyter_gpupredict.mps import surroundings
    from jupyter_gpupredict.mps.daemon import detach, start
    from jupyter_gpupredict.mps.directory import found
    from jupyter_gpupredict.mps.preflight import require_server

    uuid = surroundings.device(device, os.environ).uuid
    for directory in found():
        if directory.detached and directory.gpu_uuid == uuid and directory.daemon is not None:
            require_server(directory)
            return str(directory.pipe)
    daemon = start(uuid)
    try:
        require_server(daemon.directory)
        return str(detach(daemon).pipe)
    except BaseException:
        daemon.quit()
        raise


def mps_stop_detached() -> tuple[list[str], list[str]]:
    """Quit the daemons that were started from a terminal.

    Returns:
        Their pipe directories; and those of other PID namespaces, which were left alone.

    Raises:
        MpsError: There is none here, or one has clients, or does not end.
    """
    from jupyter_gpupredict.mps.control import Control
    from jupyter_gpupredict.mps.directory import found
    from jupyter_gpupredict.mps.ending import end, resume

    own = found()
    detached = [directory for directory in own if directory.detached]
    if not detached:
        owners = ", ".join(str(one.owner.pid) for one in own if one.owner.alive)
        hint = f"that of process {owners} ends there: %gpupredict mps stop" if owners else ""
        raise MpsError("no MPS daemon was started from a terminal", hint)
    here = [directory for directory in detached if directory.here]
    for directory in here or detached:
        if directory.daemon is not None:
            resume(directory)
            pids = Control(directory).client_pids()
            if pids:
                raise MpsError(
                    f"processes {', '.join(map(str, pids))} are clients of its daemon",
                    "end them first",
                )
        end(directory)  # which refuses one of another PID namespace
    elsewhere = [str(directory.pipe) for directory in detached if not directory.here]
    return [str(directory.pipe) for directory in here], elsewhere


def _own(directory: OwnDirectory) -> OwnDaemon:
    from jupyter_gpupredict.mps.control import Control

    daemon = directory.daemon
    servers: Mapping[int, str] = {}
    clients: tuple[int, ...] = ()
    problem = ""
    if not directory.here:
        problem = "started in another PID namespace, so nothing is known of it"
    elif daemon is None:
        problem = "its daemon does not run"
    else:
        control = Control(directory, STATUS_S)
        try:
            found = control.clients()
            servers = {pid: control.get_server_status(pid) for pid in found}
            clients = tuple(sorted({pid for pids in found.values() for pid in pids}))
        except MpsError as error:
            problem = str(error)
    return OwnDaemon(
        pid=None if daemon is None else daemon.pid,
        owner_pid=directory.owner.pid,
        detached=directory.detached,
        gpu_uuid=directory.gpu_uuid,
        pipe_directory=str(directory.pipe),
        log_directory=str(directory.log),
        servers=servers,
        clients=clients,
        problem=problem,
    )


def cell_share(config: SessionConfig) -> CellLease | None:
    """Return what applies the limits of MPS for a run of this process; None: it is not measured."""
    return None if config.simulated else CellLease(process_mps(), config)


def mps_daemon(environ: Mapping[str, str] | None = None) -> MpsDaemon:
    """Return whether an MPS control daemon is there that CUDA would attach to by itself.

    It is neither connected to nor asked.
    """
    from jupyter_gpupredict.mps import surroundings

    known = os.environ if environ is None else environ
    folder = known.get("CUDA_MPS_PIPE_DIRECTORY") or str(surroundings.DEFAULT_PIPE_DIRECTORY)
    there = surroundings.running_daemon(known)
    if there is not None:
        return MpsDaemon(True, folder, f"a control daemon runs: {there.text}")
    if surroundings.control_socket(known) is None:
        return MpsDaemon(False, folder, "no control daemon is there")
    return MpsDaemon(False, folder, "a control daemon left its files there, or cannot be seen")
