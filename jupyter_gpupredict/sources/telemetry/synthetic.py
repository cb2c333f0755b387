"""Made-up readings with the shape of training runs, always labelled as such."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import UnknownName
from jupyter_gpupredict.core.series import (
    Batch,
    Device,
    Readings,
    Series,
    SourceInfo,
    SourceOptions,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.protocols import Clock

PERIOD_S = 0.1
UUID = "GPU-00000000-0000-0000-0000-5e7e00000000"
TOTAL_BYTES = 24 << 30
SHARE = Series("gpu_util_ratio", UUID)
MEMORY = Series("memory_used_bytes", UUID)
LEAD_IN_S = 1.0
"""Leading idle, as real runs have it."""


def _steady(t_s: float, noise: random.Random) -> float:
    return 0.80 + noise.uniform(-0.02, 0.02)


def _step(t_s: float, noise: random.Random) -> float:
    return (0.40 if t_s < 30.0 else 0.90) + noise.uniform(-0.02, 0.02)


def _bursts(t_s: float, noise: random.Random) -> float:
    return (0.95 if t_s % 4.0 < 2.5 else 0.10) + noise.uniform(-0.05, 0.05)


def _epochs(t_s: float, noise: random.Random) -> float:
    """Epochs of 10 s: 8 s of training, 2 s of validation."""
    return (0.85 if t_s % 10.0 < 8.0 else 0.35) + noise.uniform(-0.03, 0.03)


SCENARIOS: dict[str, Callable[[float, random.Random], float]] = {
    "steady": _steady,
    "step": _step,
    "bursts": _bursts,
    "epochs": _epochs,
}


class SyntheticSource:
    """Readings at 10 Hz from a scenario and a seed; the same for the same clock."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._noise = random.Random(options.seed)
        self._start_s = 0.0
        self._next_s = 0.0

    def open(self) -> SourceInfo:
        """Start the scenario now.

        Raises:
            UnknownName: No such scenario.
        """
        if self._options.scenario not in SCENARIOS:
            raise UnknownName("scenario", self._options.scenario, SCENARIOS)
        period_s = self._options.interval_s or PERIOD_S
        self._start_s = self._clock.monotonic_s()
        self._next_s = self._start_s + period_s
        device = Device(UUID, "synthetic GPU", 0, TOTAL_BYTES)
        return SourceInfo(
            source="synthetic",
            devices=(device,),
            series=(SHARE, MEMORY),
            share=SHARE,
            memory=MEMORY,
            period_s=period_s,
            simulated=True,
            origin=f"scenario {self._options.scenario}",
        )

    def read(self, *, slow: bool) -> Batch:
        """Return the readings that fell due since the last call."""
        now_s = self._clock.monotonic_s()
        period_s = self._options.interval_s or PERIOD_S
        times_s: list[float] = []
        values: list[float] = []
        memory: list[float] = []
        while self._next_s <= now_s:
            t_s = self._next_s - self._start_s
            times_s.append(self._next_s)
            values.append(self._value(t_s))
            memory.append(float(min(6, 2 + t_s) * (1 << 30)))
            self._next_s += period_s
        if not times_s:
            return Batch()
        stamps = tuple(times_s)
        return Batch(
            (Readings(SHARE, stamps, tuple(values)), Readings(MEMORY, stamps, tuple(memory)))
        )

    def close(self) -> None:
        """Nothing is held."""

    def _value(self, t_s: float) -> float:
        if t_s < LEAD_IN_S:
            return 0.0
        value = SCENARIOS[self._options.scenario](t_s - LEAD_IN_S, self._noise)
        return round(min(1.0, max(0.0, value)), 2)
