"""The sources, rules and cluster engines that a run's options name."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.devices import visible
from jupyter_gpupredict.core.errors import InvalidOption, MissingExtra, TelemetryError
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.core.series import Device, SourceOptions
from jupyter_gpupredict.run.options import EPOCH_RULE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from jupyter_gpupredict.core.devices import Host
    from jupyter_gpupredict.core.protocols import Clock, DeviceWatch, TelemetrySource
    from jupyter_gpupredict.core.series import Batch, SourceInfo
    from jupyter_gpupredict.predict import Predictor, ProgressPredictor
    from jupyter_gpupredict.run.options import SessionConfig
    from jupyter_gpupredict.sources.messages import Engine

AUTO = ("gpm", "nvml", "cpu")
"""What `--source auto` tries, best first."""
DRIVEN = ("auto", "gpm", "nvml")
"""Sources that read the driver's devices; of the others each worker is a device of its own."""
SETTLE_S = 0.25
"""Between the two reads of a probe: some sources give nothing before the second."""
PROBE_S = 5.0
"""For all of one probe: a machine that keeps no driver loaded takes seconds to load it."""
HELLO_S = 1.5
"""For what a worker's driver is asked before the worker is heard: one that hangs is named."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


# ---- rules ------------------------------------------------------------------------------------


def rule_options(config: SessionConfig, period_s: float) -> RuleOptions:
    """Return the preset's figures with what the user gave in their place."""
    _, preset = registry.PRESETS.get(config.rule, ("", {}))
    chosen: dict[str, Any] = dict(preset)
    for name in ("window_s", "agree", "tolerance_points"):
        given = getattr(config, name)
        if given is not None:
            chosen[name] = int(given) if name == "agree" else given
    return RuleOptions(**chosen, coverage=config.coverage, period_s=period_s, epochs=config.epochs)


def make_rule(config: SessionConfig, period_s: float) -> Predictor:
    """Return the rule of the preset that is asked for, or the predictor of that name."""
    predictor, _ = registry.PRESETS.get(config.rule, (config.rule, {}))
    made: Predictor = registry.load("predictors", predictor)(rule_options(config, period_s))
    return made


def make_mix(config: SessionConfig, period_s: float) -> ProgressPredictor:
    """Return the rule that learns from epochs; its tolerance is its own unless one is given."""
    tolerance = config.tolerance_points
    options = replace(rule_options(config, period_s), tolerance_points=tolerance)
    made: ProgressPredictor = registry.load("predictors", EPOCH_RULE)(options)
    return made


# ---- sources ----------------------------------------------------------------------------------


class _FirstThatOpens:
    """The best source that works here, with the reasons why better ones do not."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._source: TelemetrySource | None = None

    def open(self) -> SourceInfo:
        if self._source is not None:  # re-opened after a loss: stay with what was chosen
            return self._source.open()
        passed_over: dict[str, list[str]] = {}
        for name in AUTO:
            source: TelemetrySource = registry.load("sources", name)(self._options, self._clock)
            try:
                info = source.open()
            except TelemetryError as error:
                if name == AUTO[-1]:
                    raise
                passed_over.setdefault(error.message, []).append(name)
                continue
            self._source = source
            notes = (f"{', '.join(names)} not used: {why}" for why, names in passed_over.items())
            return replace(info, notes=(*notes, *info.notes))
        raise AssertionError("AUTO is empty")

    def read(self, *, slow: bool) -> Batch:
        assert self._source is not None  # noqa: S101 - opened before
        return self._source.read(slow=slow)

    def close(self) -> None:
        if self._source is not None:
            self._source.close()


def make_source(
    config: SessionConfig,
    clock: Clock,
    root_pid: int | None = None,
    peers: Callable[[], Collection[int]] = tuple,
    limit_s: float | None = None,
    left_s: Callable[[], float] = lambda: math.inf,
    hand_over: Callable[[Batch], None] | None = None,
) -> TelemetrySource:
    """Return the source that is asked for, not opened yet; the rest as in `SourceOptions`."""
    names = ("device", "interval_s", "path", "speed", "scenario", "seed", "url", "match")
    given: dict[str, Any] = {name: getattr(config, name) for name in names}
    options = SourceOptions(
        **given,
        root_pid=root_pid,
        peers=peers,
        limit_s=limit_s,
        left_s=left_s,
        hand_over=hand_over,
    )
    if config.source == "auto":
        return _FirstThatOpens(options, clock)
    source: TelemetrySource = registry.load("sources", config.source)(options, clock)
    return source


@dataclass(frozen=True, slots=True)
class SourceProbe:
    """Whether a source can be opened here, and what it gives."""

    name: str
    works: bool
    found: str
    """Its devices, or why it cannot be opened."""
    hint: str
    driver: str = ""
    """The driver's version, where there is a driver."""
    gives: tuple[str, ...] = ()
    """Labels of the metrics that had a reading."""
    lacks: tuple[tuple[str, str], ...] = ()
    """(label, reason) of those that cannot be had."""


def probe_sources() -> list[SourceProbe]:
    """Open each real source once, on all devices, and read it; nothing is changed on any."""
    return [_probe(name) for name in AUTO]


def _probe(name: str) -> SourceProbe:
    make = registry.load("sources", name)
    source: TelemetrySource = make(SourceOptions(device="all", limit_s=PROBE_S), SystemClock())
    try:
        info = source.open()
        batches = [source.read(slow=True)]
        time.sleep(SETTLE_S)
        batches.append(source.read(slow=True))
    except TelemetryError as error:
        return SourceProbe(name, False, f"{error.reason}: {error.message}", error.hint)
    finally:
        source.close()
    taken = [readings for batch in batches for readings in batch.readings]
    read = {one.series.metric for one in taken if not all(map(math.isnan, one.values))}
    missing = {one.series.metric: one.reason for batch in batches for one in batch.unavailable}
    return SourceProbe(
        name,
        True,
        "; ".join(f"{device.name} ({device.uuid})" for device in info.devices),
        "",
        driver=dict(info.versions).get("driver", ""),
        gives=tuple(METRICS[metric].label for metric in sorted(read)),
        lacks=tuple((METRICS[m].label, reason) for m, reason in sorted(missing.items())),
    )


def kernel_tracers() -> list[str]:
    """Return what could record the kernels of a process that uses it; nothing is imported."""
    from jupyter_gpupredict.sources.tracers import installed

    return installed()


def device_watch() -> DeviceWatch:
    """Return what sees all devices of this machine; nothing is opened yet."""
    made: DeviceWatch = registry.load("watches", "nvml")()
    return made


def host() -> Host:
    """Return what kind of machine this is; nothing is changed."""
    found: Host = registry.load("watches", "host")().read()
    return found


# ---- clusters ---------------------------------------------------------------------------------


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
        with contextlib.closing(watch):
            found = watch.read().devices
        every = [Device(one.uuid, one.name, one.index, one.memory_total_bytes) for one in found]
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
        found = _current_cluster()
        if found is None:
            return None
    if found is None:
        if ":" not in text:
            raise InvalidOption(
                f"--cluster {text}: no such variable, and not an address either",
                "tcp://HOST:8786, or a variable that holds a client",
            )
        found = text
    kind = type(found).__module__.partition(".")[0]
    if kind == "ipyparallel":
        try:
            from jupyter_gpupredict.sources.ipp import IppEngine
        except ImportError as error:
            raise MissingExtra("--cluster", "ipyparallel", "ipyparallel") from error
        return IppEngine(found, session)
    dask = ("distributed", "dask_cuda", "dask_jobqueue", "dask_kubernetes", "dask")
    if kind in dask or isinstance(found, str):
        try:
            from jupyter_gpupredict.sources.dask import DaskEngine
        except ImportError as error:
            raise MissingExtra("--cluster", "Dask distributed", "dask") from error
        return DaskEngine(found, session)
    raise InvalidOption(
        f"--cluster {text} is a {type(found).__name__}", "a Dask or ipyparallel client is wanted"
    )


def _current_cluster() -> object:
    """Return the current Dask client, else the active ipyparallel view, of those in use here."""
    distributed = sys.modules.get("distributed")
    if distributed is not None:
        with contextlib.suppress(ValueError):  # there is none
            found: object = distributed.client.default_client()
            return found
    ipyparallel = sys.modules.get("ipyparallel")
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if ipyparallel is None or shell is None:
        return None
    magics = shell.magics_manager.magics["line"].get("px")
    view: object = getattr(getattr(magics, "__self__", None), "view", None)
    return view
