"""How far the user's loop has come: marks in time, and which hint counts.

A hint never changes the loop, never raises, and may stop reporting at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["epoch", "step"]
OTHER = "other"
"""Time outside any named phase."""
_PRECEDENCE = {"api": 0, "trace": 0, "tqdm": 2}
"""Hint -> its rank; 1 for frameworks. The lower one counts where two report the same thing."""


@dataclass(frozen=True, slots=True)
class Progress:
    """So many epochs or steps are complete."""

    time_s: float
    """Monotonic seconds (in a session: since it began)."""
    unit: Unit
    done: float
    total: float | None
    """None: not known."""
    hint: str
    """What reports it: `api`, `trace`, or a framework's name."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A named part of the run began; the former one ended."""

    time_s: float
    name: str
    hint: str


Mark = Progress | Phase


class Authority:
    """Decides which hint counts: the best-ranked one that has reported, the first among equals.

    >>> authority = Authority()
    >>> authority.accepts(Progress(1.0, "epoch", 0, 5, "tqdm"))
    True
    >>> authority.accepts(Progress(2.0, "epoch", 0, 5, "api"))
    True
    >>> authority.accepts(Progress(3.0, "epoch", 1, 5, "tqdm"))
    False
    """

    def __init__(self) -> None:
        self._best: dict[str, str] = {}

    def accepts(self, mark: Mark) -> bool:
        """Return whether to believe a mark; judged apart for phases, epochs and steps."""
        subject = "phase" if isinstance(mark, Phase) else mark.unit
        best = self._best.setdefault(subject, mark.hint)
        if _PRECEDENCE.get(mark.hint, 1) < _PRECEDENCE.get(best, 1):
            self._best[subject] = best = mark.hint
        return best == mark.hint


class EpochGate:
    """When a rule that knows nothing of epochs may converge: not before two whole ones.

    Where validation is marked, one of the two must have had it: it is the part that differs. A run
    of one epoch in all repeats nothing that could be waited for: it is left to the rule.
    """

    def __init__(self) -> None:
        self._first_done: float | None = None
        self._single = False
        self._done = 0.0
        self._complete = 0.0
        self._in_validation = False
        self._validated = False
        self.open_s: float | None = None
        """When the gate opened; None: not yet."""

    def update(self, mark: Mark) -> None:
        """Take the next mark."""
        if isinstance(mark, Phase):
            self._validated = self._validated or (self._in_validation and mark.name != "validation")
            self._in_validation = mark.name == "validation"
        elif mark.unit == "epoch":
            if self._first_done is None or mark.done < self._done:
                self._first_done = mark.done
            self._done = mark.done
            self._single = mark.total == 1
            self._complete = max(self._complete, mark.done - self._first_done)
        if (
            self.open_s is None
            and self._complete >= 2
            and (self._validated or not self._in_validation)
        ):
            self.open_s = mark.time_s

    def reason(self, time_s: float) -> str:
        """Return why a rule may not converge at this time; empty when it may."""
        if (
            self._first_done is None
            or self._single
            or (self.open_s is not None and self.open_s <= time_s)
        ):
            return ""
        if self._complete < 2:
            return f"{self._complete:.0f} of the two whole epochs that are needed were seen"
        return "validation has not been seen to its end yet"


@dataclass(frozen=True, slots=True)
class Remaining:
    """Predicted seconds to the end of the loop."""

    expected_s: float
    low_s: float | None
    high_s: float | None
    """95 % interval if the rest runs like the part that was seen; None while that is too little."""
