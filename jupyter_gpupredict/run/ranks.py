"""One analysis for each rank of a distributed run, and one recommendation for the function.

All replicas of a function get the same share, so its share is the largest of its ranks, and so is
its memory. It has converged when every rank that still reports has; a rank that lags behind the
others is named, not corrected.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.events import StateChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.recommendation import (
        MemoryEstimate,
        Profile,
        Recommendation,
        State,
    )
    from jupyter_gpupredict.core.series import Readings, Series, SourceInfo
    from jupyter_gpupredict.run.analysis import Analysis, Change

STRAGGLER_RATIO = 0.10
"""A mean this far from the median of all makes a rank a straggler."""


class Ranks:
    """As `Analysis`, of a source whose share is that of several devices, which come and go."""

    def __init__(self, info: SourceInfo, make: Callable[[SourceInfo], Analysis]) -> None:
        self._info = info
        self._make = make
        self._ranks: dict[str, Analysis] = {}
        """Device -> its analysis."""
        self._series: dict[str, Series] = {}
        self._lost: set[str] = set()
        self._last_s = 0.0
        self._state: State = "warming"

    def ingest(self, readings: Sequence[Readings], marks: Sequence[Mark] = ()) -> Sequence[Change]:
        """Take the readings of every rank; returns what changed for the function."""
        of_device: dict[str, list[Readings]] = {}
        for one in readings:
            of_device.setdefault(one.series.device, []).append(one)
            if one.series.metric == self._info.share.metric:
                self._begin(one.series)
                self._last_s = max(self._last_s, one.times_s[-1])
        changes: list[Change] = []
        for device, analysis in self._ranks.items():
            found = analysis.ingest(of_device.get(device, ()), marks)
            if device == self._info.share.device:  # the one whose windows are drawn
                changes += [one for one in found if not isinstance(one, StateChanged)]
        return [*changes, *self._moved()]

    def finish(self) -> Sequence[Change]:
        """End the run for every rank."""
        for analysis in self._ranks.values():
            analysis.finish()
        return self._moved()

    def lose(self, device: str) -> Sequence[Change]:
        """Leave a device out of the question whether all have converged."""
        self._lost.add(device)
        return self._moved()

    def regain(self, device: str) -> Sequence[Change]:
        """Take it in again."""
        self._lost.discard(device)
        return self._moved()

    def profile(self) -> Profile | None:
        """Return None: an earlier run of several ranks is not compared."""
        return None

    def parts(self) -> tuple[Recommendation, ...]:
        """Return what is recommended of each rank, by rank and device."""
        found = [
            replace(
                analysis.recommendation(),
                device=device,
                rank=self._series[device].rank,
                lost=device in self._lost,
            )
            for device, analysis in self._ranks.items()
        ]
        return tuple(sorted(found, key=lambda one: (one.rank is None, one.rank or 0, one.device)))

    def recommendation(self) -> Recommendation:
        """Return what is recommended for the function, of which each rank is a replica."""
        parts = self.parts()
        if not parts:
            first = self._make(self._info).recommendation()
            return replace(first, device="", memory=None)
        state = _state(parts)
        widest = max(parts, key=lambda one: one.target_ratio or 0.0)
        slowest = max(parts, key=lambda one: one.remaining_s or 0.0)
        means = [one.mean_ratio for one in parts if one.mean_ratio is not None]
        covered = [one.coverage_ratio for one in parts if one.coverage_ratio is not None]
        settled = [one.converged_at_s for one in parts if one.converged_at_s is not None]
        return replace(
            slowest,
            device="",
            rank=None,
            lost=False,
            state=state,
            reason=_reason(parts, state),
            target_ratio=None if state == "stale" else widest.target_ratio,
            mean_ratio=statistics.fmean(means) if means else None,
            coverage_ratio=min(covered, default=None),
            watched_s=min(one.watched_s for one in parts),
            active_s=min(one.active_s or 0.0 for one in parts),
            converged_at_s=max(settled) if state == "converged" and settled else None,
            memory=_memory(parts),
            confidence=widest.confidence if state == "converged" else None,
            sampled_ratio=min(one.sampled_ratio for one in parts),
        )

    def _begin(self, series: Series) -> None:
        """Begin the analysis of a device that is seen for the first time."""
        info, known = self._info, series.device in self._series
        self._series[series.device] = series
        if known:
            return

        def own(one: Series | None) -> Series | None:
            return None if one is None else replace(one, device=series.device, rank=series.rank)

        self._ranks[series.device] = self._make(
            replace(
                info,
                share=series,
                duty=own(info.duty),
                memory=own(info.memory),
                process_memory=own(info.process_memory),
                also=(),
                ranks=False,
            )
        )

    def _moved(self) -> list[Change]:
        """Return the change of the function's state, if it has changed."""
        now = self.recommendation()
        if now.state == self._state:
            return []
        old, self._state = self._state, now.state
        return [StateChanged(-1, self._last_s, old, now.state, now.reason)]


def _state(parts: Sequence[Recommendation]) -> State:
    states = {one.state for one in parts if not one.lost} or {one.state for one in parts}
    for state in ("stale", "abstained", "warming", "watching"):
        if state in states:
            # A rank that has begun to be watched makes the run watched, whoever still warms up.
            return "watching" if state == "warming" and states != {"warming"} else state
    return "converged"


def _memory(parts: Sequence[Recommendation]) -> MemoryEstimate | None:
    """Return the estimate of the rank that needs most; without a target while any lacks one."""
    found = [one.memory for one in parts if one.memory is not None]
    if not found:
        return None
    lacking = next((one for one in found if one.target_bytes is None), None)
    most = max(found, key=lambda one: (one.peak_bytes == one.peak_bytes, one.peak_bytes))
    if lacking is not None and most.target_bytes is not None:
        return replace(most, target_bytes=None, reason=f"of one rank: {lacking.reason}")
    return most


def _reason(parts: Sequence[Recommendation], state: State) -> str:
    present = [one for one in parts if not one.lost]
    done = sum(one.state == "converged" for one in present)
    words = [f"{done} of {len(present)} ranks have settled"]
    blocking = next((one for one in present if one.state == state and state != "converged"), None)
    if blocking is not None:
        words.append(f"{name(blocking)}: {blocking.reason}")
    lost = [name(one) for one in parts if one.lost]
    if lost:
        words.append(f"partial, without {', '.join(lost[:4])}")
    words += [f"{name(one)} is a straggler" for one in stragglers(present)]
    return "; ".join(words)


def stragglers(parts: Sequence[Recommendation]) -> list[Recommendation]:
    """Return the ranks whose mean lies more than 10 points from the median of all."""
    means = {id(one): one.mean_ratio for one in parts if one.mean_ratio is not None}
    if len(means) < 2:
        return []
    median = statistics.median(means.values())
    return [one for one in parts if abs(means.get(id(one), median) - median) > STRAGGLER_RATIO]


def name(one: Recommendation) -> str:
    """Return the name of a rank."""
    return one.device[:12] if one.rank is None else f"rank {one.rank}"
