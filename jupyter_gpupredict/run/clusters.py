"""`--cluster`: which engine, and what its workers sample with."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.clock import SystemClock
from jupyter_gpupredict.core.devices import visible
from jupyter_gpupredict.core.errors import InvalidOption, MissingExtra, TelemetryError
from jupyter_gpupredict.core.series import Device
from jupyter_gpupredict.run.sources import make_source

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from jupyter_gpupredict.core.clock import Clock
    from jupyter_gpupredict.core.nodes import Engine
    from jupyter_gpupredict.core.protocols import DeviceWatch, TelemetrySource
    from jupyter_gpupredict.run.options import SessionConfig

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")
HELLO_S = 1.5
"""For what a worker's driver is asked before the worker is heard: one that hangs is named."""
DRIVEN = ("auto", "gpm", "nvml")
"""Sources that read the driver's devices; of the others each worker is a device of its own."""


@dataclass(frozen=True, slots=True)
class WorkerSources:
    """What a worker samples with: the options of the notebook's session; as `NodeSources`."""

    config: SessionConfig

    def clock(self) -> Clock:
        """Return the worker's clock."""
        return SystemClock()

    def place(self) -> tuple[str, str, str]:
        """Return (host name, boot id, namespace of process numbers)."""
        boot = namespace = ""
        with contextlib.suppress(OSError):
            boot = _BOOT.read_text(encoding="ascii").strip()
            namespace = str(_NAMESPACE.readlink())
        return platform.node(), boot, namespace

    def devices(self) -> tuple[Device, ...]:
        """Return the GPUs that this worker's process may use; the process itself without any.

        Raises:
            TelemetryError: GPUs are asked for and cannot be seen.
        """
        if self.config.source in DRIVEN:
            try:
                found = self._gpus()
            except TelemetryError as error:
                if self.config.source != "auto" or error.reason == "timed_out":
                    raise
                found = ()
            if found:
                return found
        host, boot, _ = self.place()
        return (Device(f"worker-{host}-{boot[:8]}-{os.getpid()}", f"process {os.getpid()}"),)

    def source(
        self, uuid: str, peers: Callable[[], Collection[int]], limit_s: float | None = None
    ) -> TelemetrySource:
        """Return the source of one device, not opened yet; the rest as in `SourceOptions`."""
        if uuid.startswith("worker-"):
            name = "cpu" if self.config.source in DRIVEN else self.config.source
            return make_source(replace(self.config, source=name), self.clock())
        config = replace(self.config, device=uuid)
        return make_source(config, self.clock(), peers=peers, limit_s=limit_s)

    def offered(self, uuid: str) -> TelemetrySource:
        """Return the same to see what it gives; a driver that hangs is not waited for."""
        return self.source(uuid, tuple, HELLO_S)

    def _gpus(self) -> tuple[Device, ...]:
        watch: DeviceWatch = registry.load("watches", "nvml")(HELLO_S)
        try:
            table = watch.read()
        finally:
            watch.close()
        every = [
            Device(one.uuid, one.name, one.index, one.memory_total_bytes) for one in table.devices
        ]
        return visible(every, os.environ)


def make_engine(text: str, found: object, session: str) -> Engine | None:
    """Return the engine that `--cluster` names; None: `auto`, and there is no cluster.

    Args:
        text: What was written: an address, a variable's name, or `auto`.
        found: The value of the variable of that name; None where there is none.
        session: The session's id.

    Raises:
        InvalidOption: It is none of these.
        MissingExtra: The engine's library is not installed.
    """
    if found is None and text == "auto":
        found = _current()
        if found is None:
            return None
    if found is None:
        if "://" not in text and ":" not in text:
            raise InvalidOption(
                f"--cluster {text}: there is no such variable, and it is no address",
                "tcp://HOST:8786, or a variable that holds a client",
            )
        return _dask(text, session)
    kind = type(found).__module__.partition(".")[0]
    if kind == "ipyparallel":
        return _ipyparallel(found, session)
    if kind in ("distributed", "dask_cuda", "dask_jobqueue", "dask_kubernetes", "dask"):
        return _dask(found, session)
    if isinstance(found, str):
        return _dask(found, session)
    raise InvalidOption(
        f"--cluster {text} is a {type(found).__name__}", "a Dask or ipyparallel client is wanted"
    )


def _dask(cluster: Any, session: str) -> Engine:
    try:
        from jupyter_gpupredict.sources.dask import DaskEngine
    except ImportError as error:
        raise MissingExtra("--cluster", "Dask distributed", "dask") from error
    return DaskEngine(cluster, session)


def _ipyparallel(target: Any, session: str) -> Engine:
    try:
        from jupyter_gpupredict.sources.ipp import IppEngine
    except ImportError as error:
        raise MissingExtra("--cluster", "ipyparallel", "ipyparallel") from error
    return IppEngine(target, session)


def _current() -> object:
    """Return the current Dask client, else the active ipyparallel view, of those in use here."""
    distributed = sys.modules.get("distributed")
    if distributed is not None:
        try:
            found: object = distributed.client.default_client()
        except ValueError:
            pass  # there is none
        else:
            return found
    ipyparallel = sys.modules.get("ipyparallel")
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if ipyparallel is not None and shell is not None:
        magics = shell.magics_manager.magics["line"].get("px")
        view: object = getattr(getattr(magics, "__self__", None), "view", None)
        return view
    return None
