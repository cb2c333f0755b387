"""Who was on the devices during a run, and what held their clocks down: folded from readings."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.throttle import causes

if TYPE_CHECKING:
    from jupyter_gpupredict.core.series import Readings


@dataclass(slots=True)
class Neighbors:
    """Takes the readings of every device of a run."""

    own: dict[str, int] = field(default_factory=dict)
    """Device -> most compute processes of the run's own tree at one time; only where there were."""
    others: dict[str, int] = field(default_factory=dict)
    """Device -> most compute processes of others at one time; only where there were."""
    _throttled: Counter[str] = field(default_factory=Counter)
    _asked: int = 0

    def add(self, readings: Readings) -> None:
        """Take readings; those of other metrics say nothing here."""
        metric, device = readings.series.metric, readings.series.device
        if metric == "throttle_bits":
            for bits in readings.values:
                self._asked += not math.isnan(bits)
                if bits > 0.0:  # not so for NaN, and rarely so for others
                    self._throttled.update(causes(bits))
            return
        if metric == "own_process_count":
            most = self.own
        elif metric == "other_process_count":
            most = self.others
        else:
            return
        for count in readings.values:
            if count >= 1.0:  # not so for NaN
                most[device] = max(most.get(device, 0), int(count))

    def throttled(self) -> tuple[tuple[str, float], ...]:
        """Return (cause, share of the readings), the most frequent first."""
        return tuple((word, n / self._asked) for word, n in self._throttled.most_common())
