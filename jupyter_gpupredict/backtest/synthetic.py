"""Seeded synthetic training runs with known truth, as a driver and a poller would show them.

A run is a timeline of stretches of iterations; each iteration is busy, then pauses. The driver
reports the busy share of its last window in whole percent, and the poller sees each report until
the next. Everything is drawn from the seed: the same seed gives the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jupyter_gpupredict.core.errors import UnknownName
from jupyter_gpupredict.core.progress import OTHER, Mark, Phase, Progress
from jupyter_gpupredict.core.series import Device, Series
from jupyter_gpupredict.sources.recording import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

UUID = "GPU-synthetic"
SHARE = Series("gpu_util_ratio", UUID)
MEMORY = Series("memory_used_bytes", UUID)
TOTAL_BYTES = 40 << 30
HINT = "trace"
"""The source that the marks name."""
DRIVER_WINDOWS_S = (1 / 6, 0.25, 0.5, 1.0)
"""Over how long NVML averages, by device (nvmlDeviceGetUtilizationRates)."""
POLLS_S = (0.1, 0.2, 0.5, 1.0)
LENGTHS_S = (600.0, 7200.0)
LONG_S, SLOW_POLLS_S = (1800.0, 14_400.0), (1.0, 5.0, 15.0, 60.0)
LONG = ("longidle", "pauses", "steps", "slowlog")
"""Scenarios that are long, and logged as slowly as people log."""
_GIB = float(1 << 30)
_MIB = float(1 << 20)


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A run with what is known of it."""

    trace: Trace
    marks: tuple[Mark, ...] = ()
    """What exact hints would have said, in order of time; none where a run has no epochs."""
    epochs_total: int | None = None


def run(scenario: str, seed: int) -> Synthetic:
    """Return the run of one of `SCENARIOS`, else raise `UnknownName`; seeds count from 0."""
    if scenario not in SCENARIOS:
        raise UnknownName("scenario", scenario, SCENARIOS)
    draw = np.random.default_rng([seed, list(SCENARIOS).index(scenario)])
    length_s = _log_uniform(draw, *(LONG_S if scenario in LONG else LENGTHS_S))
    window_s = float(draw.choice(DRIVER_WINDOWS_S))
    poll_s = float(draw.choice(SLOW_POLLS_S if scenario in LONG else POLLS_S))
    amplitude = 1.0 if draw.random() < 0.5 else float(draw.uniform(0.35, 0.95))
    line = _Timeline(draw, length_s, window_s)
    line.lead_in()
    SCENARIOS[scenario](line)
    times_s, share = line.readings(window_s, poll_s, amplitude)
    memory = line.memory(times_s)
    rows = tuple(
        zip(times_s.tolist(), zip(share.tolist(), memory.tolist(), strict=True), strict=True)
    )
    device = Device(UUID, "synthetic GPU", 0, TOTAL_BYTES)
    trace = Trace(
        f"{scenario}-{seed}", rows, (SHARE, MEMORY), (device,), f"scenario {scenario}, seed {seed}"
    )
    return Synthetic(trace, tuple(line.marks), line.epochs_total)


class _Timeline:
    """A run that is being composed, from its beginning on."""

    def __init__(self, draw: np.random.Generator, length_s: float, window_s: float) -> None:
        self.draw = draw
        self.length_s = length_s
        self.window_s = window_s
        self.now_s = 0.0
        self.iteration_s = _log_uniform(draw, 0.08, 0.8)
        """Usual length of an iteration."""
        self.spread = self.uniform(0.03, 0.1)
        """Coefficient of variation of both parts of an iteration."""
        self.marks: list[Mark] = []
        self.epochs_total: int | None = None
        self._from_s: list[NDArray[np.float64]] = []
        self._to_s: list[NDArray[np.float64]] = []
        self._held: list[tuple[float, float]] = [(0.0, self.uniform(0.3, 0.6) * _GIB)]
        """(from when, bytes of memory)."""
        self.model_bytes = _log_uniform(draw, 2.0, 24.0) * _GIB

    @property
    def left_s(self) -> float:
        return self.length_s - self.now_s

    def uniform(self, low: float, high: float) -> float:
        return float(self.draw.uniform(low, high))

    # ---- parts of a run ------------------------------------------------------------------------

    def idle(self, seconds: float) -> None:
        """Let time pass without work."""
        self.now_s = min(self.length_s, self.now_s + max(0.0, seconds))

    def work(
        self,
        seconds: float,
        duty: float,
        *,
        until_duty: float | None = None,
        iteration_s: float | None = None,
        stall_every: int = 0,
    ) -> None:
        """Add iterations, at most until the end of the run.

        `duty` is the busy share of an iteration, which moves to `until_duty` by the end. One
        iteration in `stall_every` waits 0.2 to 2 s more; 0: none does.
        """
        seconds = min(seconds, self.left_s)
        if seconds <= 0.0:
            return
        usual_s = iteration_s or self.iteration_s
        count = math.ceil(1.1 * seconds / usual_s) + 10
        place = np.minimum(1.0, np.arange(count) * usual_s / seconds)
        duties = duty + ((duty if until_duty is None else until_duty) - duty) * place
        busy_s = usual_s * duties * self._noise(count)
        pause_s = usual_s * (1.0 - duties) * self._noise(count)
        if stall_every:
            stalls = self.draw.random(count) < 1.0 / stall_every
            pause_s = pause_s + stalls * self.draw.uniform(0.2, 2.0, count)
        begins_s = np.concatenate(([0.0], np.cumsum(busy_s + pause_s)[:-1]))
        inside = begins_s < seconds
        begins_s, ends_s = begins_s[inside], np.minimum(seconds, (begins_s + busy_s)[inside])
        self._from_s.append(self.now_s + begins_s)
        self._to_s.append(self.now_s + ends_s)
        self.now_s += seconds

    def hold(self, size_bytes: float) -> None:
        """Set how much memory is used from now on."""
        self._held.append((self.now_s, min(0.97 * TOTAL_BYTES, size_bytes)))

    def lead_in(self) -> None:
        """Idle before the work, then a warm-up in which the work stutters or is compiled."""
        self.idle(self.uniform(1.0, 15.0))
        warm_s = self.uniform(5.0, 75.0)
        self.hold(0.35 * self.model_bytes)
        if self.draw.random() < 0.4:
            self.idle(0.4 * warm_s)
            slow_s = self.uniform(3.0, 8.0) * self.iteration_s
            self.work(0.6 * warm_s, self.uniform(0.1, 0.4), iteration_s=slow_s)
        else:
            every = int(self.draw.integers(2, 6))
            self.work(warm_s, self.uniform(0.4, 0.9), stall_every=every)
        self.hold(self.model_bytes)
        if self.left_s > 0.0:  # the allocator's cache settles
            grown = 1.0 + self.uniform(0.0, 0.06)
            at_s = self.now_s + min(0.2 * self.left_s, self.uniform(10.0, 200.0))
            self._held.append((at_s, self.model_bytes * grown))
            self.model_bytes *= grown

    # ---- what is seen of it --------------------------------------------------------------------

    def readings(
        self, window_s: float, poll_s: float, amplitude: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (stamps, ratios in whole percent) as polled, both shape (n,)."""
        reports = int(self.length_s / window_s + 1e-9) + 1
        busy_s = self._busy_until(window_s * np.arange(reports, dtype=np.float64))
        share = np.diff(busy_s, prepend=0.0) / window_s
        percent = np.rint(100.0 * amplitude * np.clip(share, 0.0, 1.0))
        times_s = np.round(poll_s * np.arange(1, int(self.length_s / poll_s + 1e-9) + 1), 6)
        newest = np.minimum(reports - 1, np.floor(times_s / window_s + 1e-9).astype(np.int64))
        return times_s, percent[newest] / 100.0

    def memory(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the bytes in use at these times, in whole MiB."""
        held = sorted(self._held, key=lambda one: one[0])
        place = np.searchsorted([at_s for at_s, _ in held], times_s, side="right") - 1
        sizes = np.array([size for _, size in held])
        return np.floor(sizes[np.maximum(place, 0)] / _MIB) * _MIB

    def _busy_until(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the busy seconds up to each of these times."""
        from_s, to_s = np.concatenate(self._from_s), np.concatenate(self._to_s)
        edges_s = np.stack((from_s, to_s), axis=1).ravel()
        total = np.cumsum(to_s - from_s)
        so_far = np.stack((np.concatenate(([0.0], total[:-1])), total), axis=1).ravel()
        found: NDArray[np.float64] = np.interp(times_s, edges_s, so_far, left=0.0)
        return found

    def _noise(self, count: int) -> NDArray[np.float64]:
        """Return log-normal factors of mean 1 and coefficient of variation `spread`."""
        sigma = math.sqrt(math.log1p(self.spread**2))
        return self.draw.lognormal(-0.5 * sigma**2, sigma, count)


def _log_uniform(draw: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(draw.uniform(math.log(low), math.log(high))))


# ---- scenarios ---------------------------------------------------------------------------------


def _steady(line: _Timeline) -> None:
    """Iterations with hardly a pause."""
    gap = line.uniform(0.0, 0.12)
    line.work(line.left_s, 1.0 / (1.0 + gap))


def _sawtooth(line: _Timeline) -> None:
    """Iterations about as long as the driver's window, which beats against them."""
    iteration_s = line.uniform(0.5, 3.3) * line.window_s
    line.work(line.left_s, line.uniform(0.3, 0.85), iteration_s=iteration_s)


def _stalls(line: _Timeline) -> None:
    """A loader that now and then is late."""
    every = int(line.draw.integers(2, 17))
    line.work(line.left_s, line.uniform(0.6, 0.97), stall_every=every)


def _epochs(
    line: _Timeline, training: tuple[float, float], validating: tuple[float, float]
) -> None:
    """Epochs of training, validation and a checkpoint, at such duties; the first one is slower."""
    train, validation = line.uniform(*training), line.uniform(*validating)
    epoch_s = min(_log_uniform(line.draw, 40.0, 600.0), line.length_s / 3)
    validation_s = line.uniform(0.08, 0.25) * epoch_s
    checkpoint_s = line.uniform(1.0, 12.0)
    train_s = max(0.2 * epoch_s, epoch_s - validation_s - checkpoint_s)
    first = line.uniform(1.0, 1.5)
    cycle_s = train_s + validation_s + checkpoint_s
    total = max(2, 1 + int((line.left_s - first * train_s - cycle_s + train_s) // cycle_s))
    held_bytes = line.model_bytes * line.uniform(0.9, 1.25)
    line.epochs_total = total
    line.marks.append(Progress(line.now_s, "epoch", 0.0, float(total), HINT))
    for epoch in range(1, total + 1):
        jitter = float(line.draw.normal(1.0, 0.01))
        line.marks.append(Phase(line.now_s, "train", HINT))
        if epoch == 1:
            line.work(first * train_s, 0.8 * train)
        else:
            line.work(jitter * train_s, train)
        line.marks.append(Phase(line.now_s, "validation", HINT))
        line.hold(max(held_bytes, line.model_bytes))  # the cache keeps what validation needed
        line.work(jitter * validation_s, validation)
        line.marks.append(Phase(line.now_s, "checkpoint", HINT))
        line.idle(checkpoint_s)
        line.marks.append(Progress(line.now_s, "epoch", float(epoch), float(total), HINT))
    line.marks.append(Phase(line.now_s, OTHER, HINT))
    line.length_s = line.now_s  # the run ends with its last epoch


def _phase(line: _Timeline) -> None:
    """Two or three regimes that never come back."""
    parts = int(line.draw.integers(2, 4))
    cuts_s = np.sort(line.draw.uniform(0.12, 0.88, parts - 1)) * line.length_s
    duty = line.uniform(0.2, 0.97)
    for end_s in [*cuts_s.tolist(), line.length_s]:
        line.work(end_s - line.now_s, duty)
        before = duty
        while abs(duty - before) < 0.15:
            duty = line.uniform(0.2, 0.97)
        line.hold(line.model_bytes * line.uniform(0.9, 1.4))


def _drift(line: _Timeline) -> None:
    """Use that moves slowly from the first minute to the last."""
    moved = line.uniform(0.12, 0.3) * (1.0 if line.draw.random() < 0.5 else -1.0)
    low, high = max(0.2, 0.2 - moved), min(0.97, 0.97 - moved)
    duty = line.uniform(low, high)
    line.work(line.left_s, duty, until_duty=duty + moved)


def _rl(line: _Timeline) -> None:
    """Rollouts that hardly use the device, then updates that do."""
    rollout_s, update_s = line.uniform(4.0, 45.0), line.uniform(3.0, 25.0)
    rolling, updating = line.uniform(0.05, 0.35), line.uniform(0.8, 0.99)
    while line.left_s > 1e-6:
        line.work(rollout_s * float(line.draw.normal(1.0, 0.05)), rolling)
        line.work(update_s * float(line.draw.normal(1.0, 0.05)), updating)


def _notebook(line: _Timeline) -> None:
    """Someone works by hand: bursts, and pauses to think."""
    while line.left_s > 1e-6:
        line.work(line.uniform(20.0, 180.0), line.uniform(0.5, 0.97))
        line.idle(float(line.draw.lognormal(math.log(25.0), 1.0)))


def _rare_heavy(line: _Timeline) -> None:
    """A light base with rare bursts at full use, such as a large evaluation."""
    base = 0.8 * line.uniform(0.35, 0.75)
    every_s = line.uniform(0.1, 0.22) * line.length_s
    burst_s = line.uniform(0.008, 0.03) * line.length_s
    heavier = line.model_bytes * line.uniform(1.0, 1.3)
    while line.left_s > 1e-6:
        line.work(every_s, base)
        line.hold(heavier)
        line.work(burst_s, 1.0)
        line.hold(line.model_bytes)


def _long_idle(line: _Timeline) -> None:
    """Hours of a session of which the training is a part: blips before it, and idle after it."""
    end_s = line.now_s + line.uniform(0.1, 0.4) * line.length_s
    while line.now_s < end_s:
        line.work(line.uniform(0.2, 3.0), line.uniform(0.1, 0.9))
        line.idle(line.uniform(60.0, 900.0))
    line.work(line.uniform(0.2, 0.6) * line.length_s, line.uniform(0.3, 0.97))
    line.hold(0.5 * _GIB)
    line.idle(line.left_s)


def _pauses(line: _Timeline) -> None:
    """Training that waits for minutes now and then: for data, for storage, for a person."""
    duty = line.uniform(0.3, 0.97)
    each_s = line.uniform(300.0, 1500.0)
    while line.left_s > 1e-6:
        line.work(each_s * line.uniform(0.5, 1.5), duty)
        line.idle(each_s * line.uniform(0.05, 0.5))


def _steps(line: _Timeline) -> None:
    """A staircase: use and memory rise with every stage, as where layers are unfrozen."""
    count = int(line.draw.integers(3, 7))
    cuts_s = np.sort(line.draw.uniform(0.05, 0.95, count - 1)) * line.length_s
    duty, until = line.uniform(0.1, 0.5), line.uniform(0.6, 0.97)
    for number, end_s in enumerate([*cuts_s.tolist(), line.length_s], 1):
        line.work(end_s - line.now_s, duty)
        duty += (until - duty) * line.uniform(0.2, 1.0) * number / count
        line.model_bytes *= line.uniform(1.0, 1.25)
        line.hold(line.model_bytes)


def _slow_log(line: _Timeline) -> None:
    """What people log once a minute: two regimes at most, with rare lulls."""
    line.idle(line.uniform(0.0, 0.2) * line.length_s)
    regimes = int(line.draw.integers(1, 3))
    for left in range(regimes, 0, -1):
        end_s = line.now_s + line.left_s * (1.0 if left == 1 else line.uniform(0.1, 0.6))
        duty = line.uniform(0.3, 0.95)
        while line.now_s < end_s - 1e-6:
            line.work(min(end_s - line.now_s, line.uniform(200.0, 2000.0)), duty)
            line.work(min(end_s - line.now_s, line.uniform(5.0, 60.0)), 0.2 * duty)
        line.hold(line.model_bytes * line.uniform(0.9, 1.4))


SCENARIOS: dict[str, Callable[[_Timeline], None]] = {
    "steady": _steady,
    "sawtooth": _sawtooth,
    "stalls": _stalls,
    "epoch_vlow": lambda line: _epochs(line, (0.7, 0.98), (0.2, 0.6)),
    "epoch_vhigh": lambda line: _epochs(line, (0.35, 0.75), (0.85, 0.99)),
    "phase": _phase,
    "drift": _drift,
    "rl": _rl,
    "notebook": _notebook,
    "rareheavy": _rare_heavy,
    "longidle": _long_idle,
    "pauses": _pauses,
    "steps": _steps,
    "slowlog": _slow_log,
}
"""Name -> what composes it. Their order is part of the seeds: append only."""
