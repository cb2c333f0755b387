"""From readings to a recommendation. What a rule is stands here: readings in, an estimate out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from jupyter_gpupredict.registry import lazy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.progress import Mark, Remaining
    from jupyter_gpupredict.core.recommendation import Estimate
    from jupyter_gpupredict.predict.slowdown import KEPT
    from jupyter_gpupredict.predict.windows import ClosedWindow

__all__ = ["KEPT", "Predictor", "ProgressPredictor"]

__getattr__ = lazy(__name__, ("slowdown",), ("KEPT",))


class Predictor(Protocol):
    """A stop rule. Causal and O(1) per reading."""

    def update(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> Estimate | None:
        """Take one finite reading of the share series and say whether the rule fires now.

        Args:
            time_s: Stamp, seconds since the session began; never decreases.
            value: Ratio 0..1.
            weight_s: What the reading weighs: the seconds it speaks for, `min(gap, 2 x period)`,
                of a share while busy times the share of them that was busy.
            span_s: The seconds it speaks for, where that is more; None: the weight.
        """

    def predict(self) -> Estimate | None:
        """Return what the whole active span says so far; None without an active reading."""

    def windows(self) -> Sequence[ClosedWindow]:
        """Return the windows closed since the last call, for display."""


class ProgressPredictor(Predictor, Protocol):
    """A rule that learns from epochs and phases, and fires at their ends."""

    @property
    def knows(self) -> bool:
        """Whether it is known how much is still to come: then this rule decides."""

    def mark(self, mark: Mark) -> Estimate | None:
        """Take a mark, after all readings before it, and say whether the rule fires with it."""

    def remaining(self, now_s: float) -> Remaining | None:
        """Return the predicted rest; None while nothing can be said."""

    def lacking(self) -> Sequence[str]:
        """Return the phases that must be seen before the rule may fire."""
