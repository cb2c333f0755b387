"""One device's utilization from the driver's own buffer: each reading once, on our clock.

Source: gpu.md's facts of nvmlDeviceGetSamples: stamps may be of another clock, and the buffer may
run dry while the device idles. Where a device has no buffer, it is polled.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.series import Gap
from jupyter_gpupredict.sources.driver.nvml import NvmlError, Sample, ratio

if TYPE_CHECKING:
    from jupyter_gpupredict.core.clock import Clock
    from jupyter_gpupredict.sources.driver.nvml import Nvml

POLL_S = 0.2
"""Period where there is no sample buffer; utilization is rarely newer than this."""
DEFAULT_PERIOD_S = 0.167
"""Assumed refresh of the driver until the buffer has shown its own."""


class SampleBuffer:
    """The buffer of one device, read from where the last call ended."""

    def __init__(self, nvml: Nvml, uuid: str, clock: Clock, interval_s: float | None) -> None:
        self._nvml = nvml
        self._uuid = uuid
        self._clock = clock
        self._interval_s = interval_s
        self._since_us = 0
        self._offset_s: float | None = None
        self._last_s = -math.inf
        self.period_s = DEFAULT_PERIOD_S
        """Spacing of the readings: the driver's own, as its stamps show it."""
        self.depth_s: float | None = None
        """Seconds that the buffer held at first; None where there is no buffer."""

    def open(self) -> None:
        """See whether there is a buffer, how deep it is and how often it is new.

        Raises:
            NvmlError: The device gives no utilization at all, or is lost.
        """
        try:
            samples = self._nvml.utilization_samples(self._uuid, 0)
        except NvmlError as error:
            if not error.permanent:
                raise
            self._nvml.utilization_percent(self._uuid)  # neither of the two: no utilization
            self.period_s = self._interval_s or POLL_S
            return
        self.depth_s = 0.0
        if samples:
            self._since_us = samples[-1].time_us
            self.depth_s = (samples[-1].time_us - samples[0].time_us) / 1e6
            self._synchronise(samples[-1])
        if len(samples) > 2:
            steps = sorted(b.time_us - a.time_us for a, b in itertools.pairwise(samples))
            self.period_s = max(0.01, steps[len(steps) // 2] / 1e6)

    def read(self, now_s: float, gaps: list[Gap]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return (times in monotonic seconds, ratios) since the last call; () when nothing is new.

        Args:
            now_s: The present on our clock.
            gaps: Takes what the buffer is known to have dropped.

        Raises:
            NvmlError: It cannot be had.
        """
        if self.depth_s is None:
            return (now_s,), (self._now(),)
        samples = self._nvml.utilization_samples(self._uuid, self._since_us)
        if not samples:
            # A buffer that runs dry while the device idles must not look like a dead sampler. The
            # stamp is left alone, since this reading is not the buffer's.
            if now_s - self._last_s < max(1.0, 3.0 * self.period_s):
                return (), ()
            self._last_s = now_s
            return (now_s,), (self._now(),)
        self._see_overrun(samples, gaps)
        offset_s = self._synchronise(samples[-1])
        self._since_us = samples[-1].time_us
        times_s = tuple(max(self._last_s + 1e-6, s.time_us / 1e6 + offset_s) for s in samples)
        self._last_s = times_s[-1]
        return times_s, tuple(ratio(s.percent) for s in samples)

    def _now(self) -> float:
        return ratio(self._nvml.utilization_percent(self._uuid))

    def _see_overrun(self, samples: list[Sample], gaps: list[Gap]) -> None:
        """A buffer that is full and begins well after the last reading has dropped some."""
        if not self._since_us or self._offset_s is None:
            return
        missed_s = (samples[0].time_us - self._since_us) / 1e6
        held_s = (samples[-1].time_us - samples[0].time_us) / 1e6
        full = held_s >= 0.9 * (self.depth_s or math.inf)
        if full and missed_s > max(1.0, 3.0 * self.period_s):
            from_s, to_s = (
                us / 1e6 + self._offset_s for us in (self._since_us, samples[0].time_us)
            )
            gaps.append(Gap(from_s, to_s, "buffer_overrun"))

    def _synchronise(self, newest: Sample) -> float:
        """Learn the offset of the driver's clock: a stamp can be old, never from the future.

        The smallest age ever seen of a newest stamp is taken as none at all.
        """
        offset_s = self._clock.monotonic_s() - newest.time_us / 1e6
        known_s = self._offset_s
        if known_s is None or offset_s < known_s or offset_s > known_s + 60.0:
            self._offset_s = known_s = offset_s
        return known_s
