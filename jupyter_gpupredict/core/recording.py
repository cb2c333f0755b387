"""A recording: what replay, prediction and backtests read, whatever wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.core.metrics import BY_CSV, METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.rows import Row
    from jupyter_gpupredict.core.series import Device, Series

_SHARE_ORDER = (
    "gpu_util_ratio",
    "gr_active_ratio",
    "sm_active_ratio",
    "breadth_ratio",
    "cpu_util_ratio",
)
_MEMORY_ORDER = ("process_memory_used_bytes", "memory_used_bytes", "rss_bytes")


@dataclass(frozen=True, slots=True)
class Trace:
    """A recording: one row for each time."""

    name: str
    rows: Sequence[Row]
    series: tuple[Series, ...]
    devices: tuple[Device, ...]
    origin: str
    """What made the recording: a source's name, `csv` or `nvidia-smi`."""
    notes: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    """`# key=value` lines of a CSV."""
    main: Series | None = None
    """The share that the run itself predicted, where it is one of our own traces."""
    marks: Sequence[Mark] = ()
    """What was recorded of epochs, steps and phases, oldest first."""

    def share_series(self, metric: str | None = None) -> Series:
        """Return the series to predict the share from.

        Args:
            metric: A metric, by our name or the CSV's; None for the trace's best.

        Raises:
            Malformed: The trace does not hold it.
        """
        if metric is None and self.main in self.series and self.main is not None:
            return self.main
        wanted = [metric] if metric else list(_SHARE_ORDER)
        names = [BY_CSV[name].name if name in BY_CSV else name for name in wanted]
        for name in names:
            for one in self.series:
                if one.metric == name and METRICS[name].basis is not None:
                    return one
        held = ", ".join(METRICS[one.metric].csv for one in self.series) or "nothing"
        raise Malformed(f"{self.name} holds no {metric or 'share of a device'}", f"it holds {held}")

    def duty_series(self, share: Series) -> Series | None:
        """Return the series that weighs a share while busy; None for a share of all time."""
        if share.metric != "breadth_ratio":
            return None
        duty = replace(share, metric="gr_active_ratio")
        return duty if duty in self.series else None

    def memory_series(self) -> Series | None:
        """Return the series to predict memory from, if there is one."""
        here = self.main.device if self.main is not None else None
        by_name = {one.metric: one for one in self.series if here in (None, one.device)}
        return next((by_name[name] for name in _MEMORY_ORDER if name in by_name), None)

    def points(self, series: Series) -> Iterator[tuple[float, float]]:
        """Yield (time_s, value) of one series where there is a value."""
        column = self.series.index(series)
        for time_s, values in self.rows:
            value = values[column]
            if value is not None:
                yield time_s, value

    def period_s(self, series: Series) -> float:
        """Return the median gap between readings in the first minute, at least 0.01 s."""
        times_s: list[float] = []
        for time_s, _ in self.points(series):
            if times_s and time_s - times_s[0] > 60.0 and len(times_s) > 2:
                break
            times_s.append(time_s)
        gaps = sorted(b - a for a, b in pairwise(times_s))
        return max(0.01, gaps[len(gaps) // 2]) if gaps else 1.0
