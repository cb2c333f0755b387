"""The source that is asked for, or the best that works here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.clock import SystemClock
from jupyter_gpupredict.core.errors import TelemetryError
from jupyter_gpupredict.core.series import SourceOptions

if TYPE_CHECKING:
    from jupyter_gpupredict.config.options import SessionConfig
    from jupyter_gpupredict.core.clock import Clock
    from jupyter_gpupredict.core.protocols import TelemetrySource
    from jupyter_gpupredict.core.series import Batch, SourceInfo


AUTO = ("gpm", "nvml", "cpu")
"""What `--source auto` tries, best first."""


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


def make_source(config: SessionConfig, clock: Clock) -> TelemetrySource:
    """Return the source that is asked for, not opened yet."""
    options = SourceOptions(
        device=config.device,
        interval_s=config.interval_s,
        path=config.path,
        speed=config.speed,
        scenario=config.scenario,
        seed=config.seed,
        url=config.url,
        match=config.match,
    )
    if config.source == "auto":
        return _FirstThatOpens(options, clock)
    source: TelemetrySource = registry.load("sources", config.source)(options, clock)
    return source


@dataclass(frozen=True, slots=True)
class SourceProbe:
    """Whether a source can be opened here."""

    name: str
    works: bool
    found: str
    hint: str


def probe_sources() -> list[SourceProbe]:
    """Open and close each real source once; nothing is changed on any device."""
    probes = []
    for name in AUTO:
        source: TelemetrySource = registry.load("sources", name)(SourceOptions(), SystemClock())
        try:
            info = source.open()
        except TelemetryError as error:
            probes.append(SourceProbe(name, False, f"{error.reason}: {error.message}", error.hint))
        else:
            found = "; ".join(f"{device.name} ({device.uuid})" for device in info.devices)
            probes.append(SourceProbe(name, True, found, ""))
        finally:
            source.close()
    return probes
