"""Hugging Face `Trainer`: listens among its callbacks.

Every event passes `CallbackHandler.call_event`. Wrapping that meets trainers made in earlier cells,
which the list of default callbacks would not, and puts nothing of ours into a trainer. The control
that an event returns says what comes next, so a validation or checkpoint begins exactly there. An
epoch is complete when its evaluation and checkpoint are, which come after `on_epoch_end`: it is
reported when the next one begins, or at the end. A stream without a length has steps alone: its one
epoch ends with the run.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.run.hints import MethodHint

if TYPE_CHECKING:
    from collections.abc import Callable

_SLACK = 1e-6
"""`state.epoch` is a sum of fractions."""


class TransformersHint(MethodHint):
    """Progress of `Trainer.train`."""

    module = "transformers.trainer"
    name = "transformers"
    _training = False

    def _find(self, library: Any) -> tuple[type[Any], str]:
        self._training = False
        return library.CallbackHandler, "call_event"

    def _around(self, call_event: Callable[..., Any]) -> Callable[..., Any]:
        def watched(handler: Any, *args: Any, **kwargs: Any) -> Any:
            control = call_event(handler, *args, **kwargs)
            self._reporter.call(self._on_event, control, *args)
            return control

        return watched

    def _on_event(self, control: Any, event: str, args: Any, state: Any, *_: Any) -> None:
        reporter = self._reporter
        if event == "on_train_begin":
            self._training = True
        if not self._training:  # a lone `evaluate` or `predict`
            return
        match event:
            case "on_epoch_begin":
                self._report_epochs(args, state)
                reporter.phase("train")
            case "on_step_end":
                reporter.progress("step", state.global_step, state.max_steps)
                reporter.phase(_next_phase(control))
            case "on_epoch_end" | "on_evaluate" | "on_save":
                reporter.phase(_next_phase(control))
            case "on_prediction_step":  # one that no control announced, as `eval_on_start`
                reporter.phase("validation")
            case "on_train_end":
                self._report_epochs(args, state)
                reporter.phase("other")
                self._training = False

    def _report_epochs(self, args: Any, state: Any) -> None:
        if state.num_train_epochs < sys.maxsize:  # its word for a stream
            done = math.floor((state.epoch or 0.0) + _SLACK)
            self._reporter.progress("epoch", done, _total_epochs(args, state))


def _next_phase(control: Any) -> str:
    """Return what the trainer does next: it evaluates first, and then saves."""
    if control.should_evaluate:
        return "validation"
    return "checkpoint" if control.should_save else "train"


def _total_epochs(args: Any, state: Any) -> float | None:
    """Return how many epochs the training takes, a fraction where `max_steps` ends it within one.

    The state's own total is rounded up.
    """
    if args.max_steps <= 0:
        return float(args.num_train_epochs)
    if not state.global_step:
        return None
    return round(float(state.max_steps * state.epoch / state.global_step), 6)
