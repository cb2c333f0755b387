"""Keras: a callback that joins every list of callbacks whose training begins while we measure.

It joins in `CallbackList.on_train_begin`: lists made before the session are met too, and those of a
lone `evaluate` or `predict` are not. It comes last, so that an epoch is complete after everything
that belongs to it, and after Keras has decided whether batch callbacks may run asynchronously.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.hooking import Voice, Wrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.protocols import ProgressSink


class KerasHint:
    """Progress of `fit`."""

    module = "keras"

    def __init__(self) -> None:
        self._voice = Voice("keras")
        self._wrap: Wrap | None = None
        self._callback: type[Any] | None = None

    def attach(self, sink: ProgressSink) -> None:
        """Wrap `CallbackList.on_train_begin`."""
        library: Any = sys.modules[self.module]
        if self._callback is None:
            self._callback = _make_class(library.callbacks.Callback, self._voice)
        self._wrap = Wrap(library.callbacks.CallbackList, "on_train_begin", self._around)
        self._voice.open(sink)

    def poll(self) -> None:
        """Raise what went wrong in a hook; there is nothing to look at."""
        self._voice.check()

    def detach(self) -> None:
        """Unwrap; a fit that still runs goes on without us."""
        self._voice.close()
        if self._wrap is not None:
            self._wrap.undo()
            self._wrap = None

    def _around(self, on_train_begin: Callable[..., Any]) -> Callable[..., Any]:
        def watched(callbacks: Any, *args: Any, **kwargs: Any) -> Any:
            self._voice.listen(self._join, callbacks)
            return on_train_begin(callbacks, *args, **kwargs)

        return watched

    def _join(self, callbacks: Any) -> None:
        assert self._callback is not None  # noqa: S101 - made by `attach`
        if not any(isinstance(one, self._callback) for one in callbacks.callbacks):
            ours = self._callback()
            ours.set_params(callbacks.params)
            callbacks.callbacks.append(ours)


class _Fit:
    """What one fit has come to."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._training = False
        self._before: float | None = None
        """Steps of the epochs before this one; None before the first."""
        self._done = 0.0

    def train_begin(self, params: dict[str, Any], _index: int) -> None:
        self._training, self._before = True, None

    def epoch_begin(self, params: dict[str, Any], epoch: int) -> None:
        if self._before is None:  # `initial_epoch` is known only now
            self._before = self._done = epoch * (params.get("steps") or 0.0)
            self._voice.progress("epoch", epoch, params.get("epochs"))
        self._voice.phase("train")

    def batch_end(self, params: dict[str, Any], batch: int) -> None:
        epochs, steps = params.get("epochs"), params.get("steps")
        done = (self._before or 0.0) + batch + 1
        if done > self._done:  # Keras may call this from a pool of threads, and out of order
            self._done = done
            self._voice.progress("step", done, epochs * steps if epochs and steps else None)

    def epoch_end(self, params: dict[str, Any], epoch: int) -> None:
        self._before = self._done
        self._voice.progress("epoch", epoch + 1, params.get("epochs"))

    def validation_begin(self, params: dict[str, Any], _index: int) -> None:
        if self._training:
            self._voice.phase("validation")

    def validation_end(self, params: dict[str, Any], _index: int) -> None:
        if self._training:
            self._voice.phase("train")

    def train_end(self, params: dict[str, Any], _index: int) -> None:
        self._training = False
        self._voice.phase("other")


_HOOKS = {
    "on_train_begin": "train_begin",
    "on_epoch_begin": "epoch_begin",
    "on_train_batch_end": "batch_end",
    "on_epoch_end": "epoch_end",
    "on_test_begin": "validation_begin",
    "on_test_end": "validation_end",
    "on_train_end": "train_end",
}
"""Keras's hook -> ours."""


def _make_class(base: type[Any], voice: Voice) -> type[Any]:
    """Return the callback's class, which needs the library, and that only the user imports."""

    def __init__(callback: Any) -> None:
        base.__init__(callback)
        callback._gpupredict = _Fit(voice)

    def hook(name: str) -> Callable[..., None]:
        def called(callback: Any, index: Any = None, *_args: Any, **_kwargs: Any) -> None:
            tell = getattr(callback._gpupredict, name)
            voice.listen(tell, callback.params or {}, index)

        return called

    members: dict[str, Any] = {theirs: hook(ours) for theirs, ours in _HOOKS.items()}
    return type("GpuPredictProgress", (base,), {"__init__": __init__, **members})
