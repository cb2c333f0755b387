"""The course of a run: marks in order, how far the loop is, and the rule that learns from it."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.progress import (
    OTHER,
    Authority,
    EpochGate,
    Mark,
    Phase,
    Progress,
    Remaining,
)
from jupyter_gpupredict.predict.epochs import StepPace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_gpupredict.core.recommendation import Estimate
    from jupyter_gpupredict.predict import ProgressPredictor


class Course:
    """Holds marks back until a reading passes them, so that each reading lands in its own phase."""

    def __init__(self, make_mix: Callable[[], ProgressPredictor]) -> None:
        self._make_mix = make_mix
        self.mix = make_mix()
        self.gate = EpochGate()
        self.phase = OTHER
        self._authority = Authority()
        self._pace = StepPace()
        self._waiting: deque[Mark] = deque()
        self._last: dict[str, Progress] = {}

    def expect(self, mark: Mark) -> None:
        """Queue a mark, if its hint is the one to believe."""
        if self._authority.accepts(mark):
            self._waiting.append(mark)

    def due(self, time_s: float) -> Iterator[Mark]:
        """Yield the marks before a time, oldest first."""
        while self._waiting and self._waiting[0].time_s < time_s:
            yield self._waiting.popleft()

    def take(self, mark: Mark) -> Estimate | None:
        """Let a mark take effect; returns the estimate when the rule fires with it."""
        self.gate.update(mark)
        if isinstance(mark, Phase):
            self.phase = mark.name
        else:
            self._last[mark.unit] = mark
            if mark.unit == "step":
                self._pace.update(mark.time_s, mark.done, mark.total)
        return self.mix.mark(mark)

    def add(self, time_s: float, value: float, weight_s: float, span_s: float) -> None:
        """Book one reading."""
        self.mix.update(time_s, value, weight_s, span_s)

    def begin_anew(self, time_s: float) -> None:
        """Forget what was learned; where the loop is now is still known."""
        self.mix = self._make_mix()
        self.mix.mark(Phase(time_s, self.phase, "again"))
        for progress in self._last.values():
            self.mix.mark(replace(progress, time_s=time_s))

    def remaining(self, now_s: float) -> Remaining | None:
        """Return the predicted rest: from whole epochs, else from steps; None while unknown."""
        epoch = self._last.get("epoch")
        if epoch is None or epoch.total == 1:  # else steps may count one epoch's, not the run's
            return self.mix.remaining(now_s) or self._pace.remaining(now_s)
        return self.mix.remaining(now_s)

    def words(self) -> str:
        """Return how far the loop is; empty when nothing tells."""
        told = self._last.get("epoch") or self._last.get("step")
        if told is None:
            return ""
        total = "" if told.total is None else f" of {told.total:.0f}"
        phase = "" if self.phase == OTHER else f", in {self.phase}"
        lacking = ", ".join(self.mix.lacking())
        unseen = f"; {lacking} not learned yet" if lacking else ""
        return f"{told.done:.0f}{total} {told.unit}s complete{phase} (from {told.hint}){unseen}"
