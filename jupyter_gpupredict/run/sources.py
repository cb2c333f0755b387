"""The source that is asked for, or the best that works here."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.clock import SystemClock
from jupyter_gpupredict.core.errors import TelemetryError
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.series import SourceOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from jupyter_gpupredict.core.clock import Clock
    from jupyter_gpupredict.core.machine import Host
    from jupyter_gpupredict.core.protocols import TelemetrySource
    from jupyter_gpupredict.core.series import Batch, SourceInfo
    from jupyter_gpupredict.run.options import SessionConfig


AUTO = ("gpm", "nvml", "cpu")
"""What `--source auto` tries, best first."""
SETTLE_S = 0.25
"""Between the two reads of a probe: some sources give nothing before the second."""
PROBE_S = 5.0
"""For all of one probe: a machine that keeps no driver loaded takes seconds to load it."""


class _FirstThatOpens:
    """The best source that works here, with the reasons why better ones do not."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._source: TelemetrySource | None = None

    def open(self) -> SourceInfo:
        """Open the first source of `AUTO` that can be opened.

        Raises:
            SourceUnavailable: None can; the last one's reason.
        """
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
        """Read the chosen source."""
        assert self._source is not None  # noqa: S101 - opened before
        return self._source.read(slow=slow)

    def close(self) -> None:
        """Close the chosen source."""
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
    options = SourceOptions(
        device=config.device,
        interval_s=config.interval_s,
        path=config.path,
        speed=config.speed,
        scenario=config.scenario,
        seed=config.seed,
        root_pid=root_pid,
        peers=peers,
        url=config.url,
        match=config.match,
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
    read = {
        readings.series.metric
        for batch in batches
        for readings in batch.readings
        if not all(map(math.isnan, readings.values))
    }
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


def host() -> Host:
    """Return what kind of machine this is; nothing is changed."""
    found: Host = registry.load("watches", "host")().read()
    return found
