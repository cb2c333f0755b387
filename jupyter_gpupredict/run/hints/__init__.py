"""Progress read from libraries' loops, one file each; `registry` names them."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.protocols import ProgressSink


class Reporter:
    """What one hint reports through; silent until `open` and after `close`.

    Our part of a hook runs through `call`: what fails there is kept for `check`, which the hint
    calls in its `poll`, and the reporter falls silent. The user's loop never sees it.
    """

    def __init__(self, hint: str) -> None:
        self._hint = hint
        self._sink: ProgressSink | None = None
        self._phase = ""
        self._fault: Exception | None = None

    def open(self, sink: ProgressSink) -> None:
        """Report to this sink from now on."""
        self._sink, self._phase, self._fault = sink, "", None

    def close(self) -> None:
        """Fall silent."""
        self._sink = None

    def call(self, report: Callable[..., object], *args: Any) -> None:
        """Call `report(*args)` if anyone listens; never raises."""
        if self._sink is None:
            return
        try:
            report(*args)
        except Exception as fault:  # noqa: BLE001 - border: the user's loop is above us
            self._sink, self._fault = None, fault

    def check(self) -> None:
        """Raise what went wrong in a hook since `open`, once."""
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def progress(self, unit: Unit, done: float, total: float | None) -> None:
        """Report that so many epochs or steps are complete now."""
        if self._sink is not None:
            self._sink.progress(unit, done, total, self._hint)

    def phase(self, name: str) -> None:
        """Report that a phase begins; reporting it again costs nothing."""
        if self._sink is not None and name != self._phase:
            self._phase = name
            self._sink.phase(name, self._hint)


class Wrap:
    """A method of somebody's class with ours around it, until `undo`."""

    def __init__(
        self, owner: type[Any], name: str, around: Callable[[Callable[..., Any]], Any]
    ) -> None:
        """Put `around(method)` in the method's place.

        Raises:
            KeyError: The class itself has no such method: not the library that we know.
        """
        self._owner, self._name = owner, name
        self._former = vars(owner)[name]
        self._ours = functools.wraps(self._former)(around(self._former))
        setattr(owner, name, self._ours)

    def undo(self) -> None:
        """Put the method back, unless someone has wrapped ours meanwhile: then theirs stays."""
        if vars(self._owner).get(self._name) is self._ours:
            setattr(self._owner, self._name, self._former)


class MethodHint:
    """A hint that wraps one method of its library while it is attached."""

    module: str
    name: str
    """Reported with each mark."""

    def __init__(self) -> None:
        self._reporter = Reporter(self.name)
        self._wrap: Wrap | None = None

    def attach(self, sink: ProgressSink) -> None:
        """Wrap the method."""
        owner, method = self._find(sys.modules[self.module])
        self._wrap = Wrap(owner, method, self._around)
        self._reporter.open(sink)

    def poll(self) -> None:
        """Raise what went wrong in a hook; there is nothing to look at."""
        self._reporter.check()

    def detach(self) -> None:
        """Unwrap; a training that still runs goes on without us."""
        self._reporter.close()
        if self._wrap is not None:
            self._wrap.undo()
            self._wrap = None

    def _find(self, library: Any) -> tuple[type[Any], str]:
        """Return the class and the name of its method."""
        raise NotImplementedError

    def _around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return what stands in the method's place and calls it."""
        raise NotImplementedError


def callback_class(
    base: type[Any], fit: type[Any], hook: Callable[[str], Callable[..., None]], **members: Any
) -> type[Any]:
    """Return a callback's class: a hook for each method `on_...` of `fit`.

    It is made here because its base needs the library, which only the user imports.
    """
    hooks = {name: hook(name) for name in vars(fit) if name.startswith("on_")}
    return type("GpuPredictProgress", (base,), {**members, **hooks})
