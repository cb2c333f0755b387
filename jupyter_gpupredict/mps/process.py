"""MPS as one process uses it: its own daemon, and what there is of MPS around it.

Nothing is started, joined or sent before MPS is asked for.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import GpuPredictError, MpsError
from jupyter_gpupredict.mps import client, surroundings
from jupyter_gpupredict.mps.control import (
    Control,
    Record,
    by_driver,
    loaded_driver,
    program,
    require_server,
)
from jupyter_gpupredict.mps.daemon import end, resume, start
from jupyter_gpupredict.mps.directory import found, own_at
from jupyter_gpupredict.mps.states import MpsDaemon, MpsStatus, MpsTrial, OwnDaemon

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jupyter_gpupredict.core.recommendation import AppliedShare
    from jupyter_gpupredict.mps.daemon import Daemon
    from jupyter_gpupredict.mps.directory import OwnDirectory

STATUS_S = 2.0
"""For so long each daemon of ours may think about its status."""


@dataclass(eq=False)
class ProcessMps:
    """This process's daemon, and whether the process has become a client."""

    daemon: Daemon | None = None
    held: AppliedShare | None = None
    """How this process is a client, which it stays until it ends."""
    control: Control | None = None
    """The daemon of ours, started here or from a terminal, that it is a client of."""

    def start(self, gpu_uuid: str) -> Daemon:
        """Return this process's daemon for a device, started if need be; raises as `ready`."""
        daemon = self.daemon
        if daemon is not None and self.held is None:
            resume(daemon.directory)
            if not (daemon.alive and daemon.answers):
                daemon.quit()  # it was killed, or hangs: what is left of it ends
                daemon = self.daemon = None
        if daemon is None:
            daemon = self.daemon = start(gpu_uuid)
            atexit.register(self.leave)  # another time does no harm
        elif daemon.directory.gpu_uuid != gpu_uuid:
            raise MpsError(
                f"this process's MPS daemon serves {daemon.directory.gpu_uuid}",
                "%gpupredict mps stop",
            )
        return daemon

    def ready(self, gpu_uuid: str) -> Daemon:
        """Return this process's daemon with a server that lives, so that clients may come.

        A daemon whose server does not start is ended: what became its client would lose CUDA.

        Raises:
            MpsError: It does not start, or serves another device.
            SourceUnavailable: There is no driver.
        """
        before = self.daemon
        daemon = self.start(gpu_uuid)
        try:
            require_server(daemon.directory)
        except BaseException as error:
            with contextlib.suppress(MpsError):
                if daemon is not before:
                    self._quit(daemon)
                elif isinstance(error, MpsError):
                    self.stop()
            raise
        return daemon

    def stop(self) -> None:
        """Quit this process's daemon.

        Raises:
            MpsError: There is none, it has clients, this process perhaps among them, or it does
                not end.
        """
        daemon = self.daemon
        if daemon is None:
            raise MpsError("no MPS daemon of this process runs", "%gpupredict mps status")
        if daemon.alive:
            resume(daemon.directory)
            self._refuse_clients(daemon)
        self._quit(daemon)

    def leave(self) -> None:
        """Let go at the end of the process, or of the extension; never raises.

        A daemon that this very process is a client of is left to its keeper, which quits it when
        the process is gone.
        """
        if self.daemon is not None and self.held is not None:
            self.daemon.hand_over()
        elif self.daemon is not None:
            with contextlib.suppress(MpsError):  # the keeper tries again
                self.daemon.quit()
            self.daemon = self.control = None

    def release(self) -> None:
        """End this process's own contexts through MPS, before it is ended by a signal."""
        if self.control is not None:
            client.release(self.control, os.getpid())

    def _quit(self, daemon: Daemon) -> None:
        daemon.quit()
        self.daemon = self.control = None

    def _refuse_clients(self, daemon: Daemon) -> None:
        pids = daemon.control.client_pids()
        held_by = "" if self.held is None else self.held.pipe_directory
        if os.getpid() in pids or held_by == str(daemon.directory.pipe):
            raise MpsError(
                f"this process, {os.getpid()}, is a client of its MPS daemon until it ends",
                "restart the kernel: the daemon ends with it",
            )
        _refuse(pids)


@functools.cache
def process_mps() -> ProcessMps:
    """Return what this process has to do with MPS; free to call while that is nothing."""
    return ProcessMps()


def mps_status(device: str | None = None) -> MpsStatus:
    """Return what there is of MPS. Only daemons that we started are asked; nothing is changed."""
    driver = _or_empty(surroundings.driver_version) or loaded_driver()
    record = by_driver(driver)
    there = surroundings.running_daemon(os.environ)
    if there is not None and own_at(there.pipe_directory) is not None:
        there = None
    return MpsStatus(
        program=_or_empty(program),
        driver=driver,
        commands="" if record is None else record.text,
        uid=os.geteuid(),
        compute_mode=_or_empty(lambda: surroundings.compute_mode(_uuid(device))),
        own=tuple(map(_own, found())),
        other="" if there is None else f"{there.whose}, in {there.pipe_directory}",
        foreign=there is not None and there.foreign,
        client=process_mps().held is not None,
    )


def _or_empty(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except GpuPredictError:
        return ""


def _uuid(device: str | None) -> str:
    return surroundings.device(device, os.environ).uuid


def mps_trial(device: str | None = None) -> MpsTrial:
    """Start a daemon in a private directory, ask it, start its server, and remove it again."""
    try:
        daemon = start(_uuid(device))
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
    """Start this process's daemon, if it does not run yet; raises as `mps_start_detached`."""
    process_mps().ready(_uuid(device))
    return mps_status(device)


def mps_stop() -> MpsStatus:
    """Quit this process's daemon; raises as `ProcessMps.stop`."""
    process_mps().stop()
    return mps_status()


def mps_start_detached(device: str | None = None) -> str:
    """Start a daemon that outlives this process; returns its pipe directory.

    One that was started so for this device, and answers, is returned as it is.

    Raises:
        MpsError: It, or its server, does not start.
        SourceUnavailable: There is no driver, or no GPU.
    """
    uuid = _uuid(device)
    for directory in found():
        if directory.detached and directory.gpu_uuid == uuid and directory.daemon is not None:
            require_server(directory)
            return str(directory.pipe)
    daemon = start(uuid)
    try:
        require_server(daemon.directory)
        return str(daemon.detach().pipe)
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
            _refuse(Control(directory).client_pids())
        end(directory)  # which refuses one of another PID namespace
    elsewhere = [str(directory.pipe) for directory in detached if not directory.here]
    return [str(directory.pipe) for directory in here], elsewhere


def _refuse(clients: list[int]) -> None:
    if clients:
        pids = ", ".join(map(str, clients))
        raise MpsError(f"processes {pids} are clients of this daemon", "end them first")


def _own(directory: OwnDirectory) -> OwnDaemon:
    daemon, control = directory.daemon, Control(directory, STATUS_S)
    servers: Mapping[int, str] = {}
    clients: list[int] = []
    problem = ""
    if not directory.here:
        problem = "started in another PID namespace, so nothing is known of it"
    elif daemon is None:
        problem = "its daemon does not run"
    else:
        try:
            of_server = control.clients()
            servers = {pid: control.get_server_status(pid) for pid in of_server}
            clients = sorted({pid for pids in of_server.values() for pid in pids})
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
        clients=tuple(clients),
        problem=problem,
    )


def mps_daemon(environ: Mapping[str, str] | None = None) -> MpsDaemon:
    """Return whether an MPS control daemon is there that CUDA would attach to by itself.

    It is neither connected to nor asked.
    """
    known = os.environ if environ is None else environ
    folder = known.get("CUDA_MPS_PIPE_DIRECTORY") or str(surroundings.DEFAULT_PIPE_DIRECTORY)
    there = surroundings.running_daemon(known)
    if there is not None:
        return MpsDaemon(
            True, folder, f"a control daemon runs: {there.whose}, in {there.pipe_directory}"
        )
    if surroundings.control_socket(known) is None:
        return MpsDaemon(False, folder, "no control daemon is there")
    return MpsDaemon(False, folder, "a control daemon left its files there, or cannot be seen")
