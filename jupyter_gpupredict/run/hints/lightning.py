"""Lightning: a callback that joins each `Trainer.fit` while a session measures.

It joins at `fit`, not when a trainer is made, because in a notebook the trainer often comes from an
earlier cell. An epoch is complete when all that belongs to it is, validation and checkpoint too:
that is reported when the next epoch starts, or at the end. The sanity check before training is
`other`: its two cold batches resemble no validation phase. A stream without a length has steps
alone: its one epoch may end with the run.
"""

from __future__ import annotations

import contextlib
import math
import sys
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.run.hints import MethodHint, callback_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.run.hints import Reporter


class LightningHint(MethodHint):
    """Progress of `lightning.pytorch`."""

    module = "lightning.pytorch"
    name = "lightning"
    _callback: Any = None

    def _find(self, library: Any) -> tuple[type[Any], str]:
        if self._callback is None:
            self._callback = _make_callback(library.Callback, self.module, self._reporter)
        return library.Trainer, "fit"

    def _around(self, fit: Callable[..., Any]) -> Callable[..., Any]:
        def watched(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            self._reporter.call(self._join, trainer)
            try:
                return fit(trainer, *args, **kwargs)
            finally:
                self._leave(trainer)

        return watched

    def _join(self, trainer: Any) -> None:
        # Last: a checkpoint that a callback writes in a hook has then ended when we hear of it.
        trainer.callbacks.append(self._callback)

    def _leave(self, trainer: Any) -> None:
        with contextlib.suppress(Exception):  # also when nobody listens any more
            trainer.callbacks[:] = [one for one in trainer.callbacks if one is not self._callback]
        self._reporter.call(self._reporter.phase, "other")


class PytorchLightningHint(LightningHint):
    """Progress of the same library under its older name."""

    module = "pytorch_lightning"


class _Fit:
    """The progress of one fit, reported from Lightning's hooks of these names."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._cut_short = False
        self._endless = False
        self._reported = -1
        self._steps: float | None = None
        self._epochs: float | None = None

    def on_train_start(self, trainer: Any) -> None:
        self._cut_short = False
        self._steps = _known(trainer.estimated_stepping_batches)
        self._endless = _known(trainer.num_training_batches) is None
        self._epochs = _total_epochs(trainer, self._steps)
        self._reported = -1
        self.on_train_epoch_start(
            trainer
        )  # a fit that resumes within an epoch does not start it again

    def on_train_epoch_start(self, trainer: Any) -> None:
        self._report(trainer.current_epoch)
        self._reporter.phase("train")

    def on_train_batch_start(self, trainer: Any) -> None:
        self._reporter.phase("train")

    def on_train_batch_end(self, trainer: Any) -> None:
        done = trainer.global_step
        if self._steps is not None and done > self._steps:
            self._steps = None  # several optimizers: each of them counts as a step
        self._reporter.progress("step", done, self._steps)
        self._reporter.phase("train")

    def on_train_epoch_end(self, trainer: Any) -> None:
        self._cut_short = not trainer.is_last_batch  # max_steps, max_time or an early stop

    def on_train_end(self, trainer: Any) -> None:
        self._report(trainer.current_epoch - self._cut_short)
        self._reporter.phase("other")

    def on_validation_start(self, trainer: Any) -> None:
        if not trainer.sanity_checking:
            self._reporter.phase("validation")

    def on_validation_end(self, trainer: Any) -> None:
        if not trainer.sanity_checking:
            self._reporter.phase("train")

    def on_save_checkpoint(self, trainer: Any) -> None:
        self._reporter.phase("checkpoint")  # nothing marks its end but the next hook of any kind

    def _report(self, done: int) -> None:
        if done != self._reported and not self._endless:
            self._reported = done
            self._reporter.progress("epoch", done, self._epochs)


def _make_callback(base: type[Any], module: str, reporter: Reporter) -> Any:
    fit = _Fit(reporter)

    def hook(name: str) -> Callable[..., None]:
        report = getattr(fit, name)
        return lambda _callback, trainer, *_args, **_kwargs: reporter.call(report, trainer)

    # A trainer is copied, or pickled for a spawned process, with its callbacks: there, a mute one.
    return callback_class(base, _Fit, hook, __reduce__=lambda _callback: (_mute, (module,)))()


def _mute(module: str) -> Any:
    library: Any = sys.modules[module]
    return library.Callback()


def _known(number: float | None) -> float | None:
    """Return the number; None for Lightning's `None`, -1 and infinity, which mean unknown."""
    return number if number is not None and 0 < number < math.inf else None


def _total_epochs(trainer: Any, steps: float | None) -> float | None:
    """Return how many epochs the fit will take, a fraction where `max_steps` ends it within one."""
    epochs, batches = _known(trainer.max_epochs), _known(trainer.num_training_batches)
    if _known(trainer.max_steps) is None or steps is None or batches is None:
        return epochs
    if not trainer.lightning_module.automatic_optimization:
        return None  # how many steps a batch makes is not known
    return float(steps / math.ceil(batches / trainer.accumulate_grad_batches))
