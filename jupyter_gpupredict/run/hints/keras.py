"""Keras: a callback that joins every list of callbacks whose training begins while we measure.

It joins in `CallbackList.on_train_begin`: lists made before the session are met too, and those of a
lone `evaluate` or `predict` are not. It comes last, so that an epoch is complete after everything
that belongs to it, and after Keras has decided whether batch callbacks may run asynchronously.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.run.hints import MethodHint, callback_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.run.hints import Reporter


class KerasHint(MethodHint):
    """Progress of `fit`."""

    module = name = "keras"
    _callback: type[Any] | None = None

    def _find(self, library: Any) -> tuple[type[Any], str]:
        if self._callback is None:
            self._callback = _make_class(library.callbacks.Callback, self._reporter)
        return library.callbacks.CallbackList, "on_train_begin"

    def _around(self, on_train_begin: Callable[..., Any]) -> Callable[..., Any]:
        def watched(callbacks: Any, *args: Any, **kwargs: Any) -> Any:
            self._reporter.call(self._join, callbacks)
            return on_train_begin(callbacks, *args, **kwargs)

        return watched

    def _join(self, callbacks: Any) -> None:
        assert self._callback is not None  # noqa: S101 - made by `attach`
        if not any(isinstance(one, self._callback) for one in callbacks.callbacks):
            ours = self._callback()
            ours.set_params(callbacks.params)
            callbacks.callbacks.append(ours)


class _Fit:
    """The progress of one fit, reported from Keras's hooks of these names."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._training = False
        self._before: float | None = None
        """Steps of the epochs before this one; None before the first."""
        self._done = 0.0

    def on_train_begin(self, params: dict[str, Any], _index: int) -> None:
        self._training, self._before = True, None

    def on_epoch_begin(self, params: dict[str, Any], epoch: int) -> None:
        if self._before is None:  # `initial_epoch` is known only now
            self._before = self._done = epoch * (params.get("steps") or 0.0)
            self._reporter.progress("epoch", epoch, params.get("epochs"))
        self._reporter.phase("train")

    def on_train_batch_end(self, params: dict[str, Any], batch: int) -> None:
        epochs, steps = params.get("epochs"), params.get("steps")
        done = (self._before or 0.0) + batch + 1
        if done > self._done:  # Keras may call this from a pool of threads, and out of order
            self._done = done
            self._reporter.progress("step", done, epochs * steps if epochs and steps else None)

    def on_epoch_end(self, params: dict[str, Any], epoch: int) -> None:
        self._before = self._done
        self._reporter.progress("epoch", epoch + 1, params.get("epochs"))

    def on_test_begin(self, params: dict[str, Any], _index: int) -> None:
        if self._training:
            self._reporter.phase("validation")

    def on_test_end(self, params: dict[str, Any], _index: int) -> None:
        if self._training:
            self._reporter.phase("train")

    def on_train_end(self, params: dict[str, Any], _index: int) -> None:
        self._training = False
        self._reporter.phase("other")


def _make_class(base: type[Any], reporter: Reporter) -> type[Any]:
    def __init__(callback: Any) -> None:
        base.__init__(callback)
        callback._gpupredict = _Fit(reporter)

    def hook(name: str) -> Callable[..., None]:
        def called(callback: Any, index: Any = None, *_args: Any, **_kwargs: Any) -> None:
            report = getattr(callback._gpupredict, name)
            reporter.call(report, callback.params or {}, index)

        return called

    return callback_class(base, _Fit, hook, __init__=__init__)
