"""Lightning: a callback that joins each `Trainer.fit` while a session measures.

It joins at `fit`, not when a trainer is made, because in a notebook the trainer often comes from an
earlier cell. An epoch is complete when all that belongs to it is, validation and checkpoint too:
that is told when the next epoch starts, or at the end. The sanity check before training counts as
`other`: its two cold batches resemble no validation phase. A stream without a length has steps
alone: its one epoch may end with the run.
"""

from __future__ import annotations

import contextlib
import math
import sys
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.hooking import Voice, Wrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.protocols import ProgressSink


class LightningHint:
    """Progress of `lightning.pytorch`."""

    module = "lightning.pytorch"

    def __init__(self) -> None:
        self._voice = Voice("lightning")
        self._wrap: Wrap | None = None
        self._callback: Any = None

    def attach(self, sink: ProgressSink) -> None:
        """Wrap `Trainer.fit`."""
        library: Any = sys.modules[self.module]
        if self._callback is None:
            self._callback = _make_callback(library.Callback, self.module, self._voice)
        self._wrap = Wrap(library.Trainer, "fit", self._around)
        self._voice.open(sink)

    def poll(self) -> None:
        """Raise what went wrong in a hook; there is nothing to look at."""
        self._voice.check()

    def detach(self) -> None:
        """Unwrap; a trainer that is still training goes on without us."""
        self._voice.close()
        if self._wrap is not None:
            self._wrap.undo()
            self._wrap = None

    def _around(self, fit: Callable[..., Any]) -> Callable[..., Any]:
        def watched(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            self._voice.listen(self._join, trainer)
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
        self._voice.listen(self._voice.phase, "other")


class PytorchLightningHint(LightningHint):
    """Progress of the same library under its older name."""

    module = "pytorch_lightning"


class _Fit:
    """What one fit has come to."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._cut_short = False
        self._endless = False
        self._told = -1
        self._steps: float | None = None
        self._epochs: float | None = None

    def train_start(self, trainer: Any) -> None:
        self._cut_short = False
        self._steps = _known(trainer.estimated_stepping_batches)
        self._endless = _known(trainer.num_training_batches) is None
        self._epochs = _total_epochs(trainer, self._steps)
        self._told = -1
        self.epoch_start(trainer)  # a fit that resumes within an epoch does not start it again

    def epoch_start(self, trainer: Any) -> None:
        self._tell(trainer.current_epoch)
        self._voice.phase("train")

    def batch_start(self, trainer: Any) -> None:
        self._voice.phase("train")

    def batch_end(self, trainer: Any) -> None:
        done = trainer.global_step
        if self._steps is not None and done > self._steps:
            self._steps = None  # several optimizers: each of them counts as a step
        self._voice.progress("step", done, self._steps)
        self._voice.phase("train")

    def epoch_end(self, trainer: Any) -> None:
        self._cut_short = not trainer.is_last_batch  # max_steps, max_time or an early stop

    def train_end(self, trainer: Any) -> None:
        self._tell(trainer.current_epoch - self._cut_short)
        self._voice.phase("other")

    def validation_start(self, trainer: Any) -> None:
        if not trainer.sanity_checking:
            self._voice.phase("validation")

    def validation_end(self, trainer: Any) -> None:
        if not trainer.sanity_checking:
            self._voice.phase("train")

    def save(self, trainer: Any) -> None:
        self._voice.phase("checkpoint")  # nothing tells its end: the next hook of any kind does

    def _tell(self, done: int) -> None:
        if done != self._told and not self._endless:
            self._told = done
            self._voice.progress("epoch", done, self._epochs)


_HOOKS = {
    "on_train_start": "train_start",
    "on_train_epoch_start": "epoch_start",
    "on_train_batch_start": "batch_start",
    "on_train_batch_end": "batch_end",
    "on_train_epoch_end": "epoch_end",
    "on_train_end": "train_end",
    "on_validation_start": "validation_start",
    "on_validation_end": "validation_end",
    "on_save_checkpoint": "save",
}
"""Lightning's hook -> ours."""


def _make_callback(base: type[Any], module: str, voice: Voice) -> Any:
    """Return a callback; its class needs the library, which only the user imports."""
    fit = _Fit(voice)

    def hook(name: str) -> Callable[..., None]:
        tell = getattr(fit, name)
        return lambda _callback, trainer, *_args, **_kwargs: voice.listen(tell, trainer)

    members: dict[str, Any] = {theirs: hook(ours) for theirs, ours in _HOOKS.items()}
    # A trainer is copied, or pickled for a spawned process, with its callbacks: there, a mute one.
    members["__reduce__"] = lambda _callback: (_mute, (module,))
    return type("GpuPredictProgress", (base,), members)()


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
