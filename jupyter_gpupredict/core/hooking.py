"""What every progress hint needs: a voice that cannot raise, and a wrap that comes off again."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.protocols import ProgressSink


class Voice:
    """One hint's way to the sink; silent until `open` and after `close`.

    Our part of a hook runs through `listen`: what fails there is kept for `check`, which the hint
    calls in its `poll`, and the voice falls silent. The user's loop never sees it.
    """

    def __init__(self, hint: str) -> None:
        self._hint = hint
        self._sink: ProgressSink | None = None
        self._phase = ""
        self._fault: Exception | None = None

    def open(self, sink: ProgressSink) -> None:
        """Speak to this sink from now on."""
        self._sink, self._phase, self._fault = sink, "", None

    def close(self) -> None:
        """Fall silent."""
        self._sink = None

    def listen(self, tell: Callable[..., object], *args: Any) -> None:
        """Call `tell(*args)` if anyone listens; never raises."""
        if self._sink is None:
            return
        try:
            tell(*args)
        except Exception as fault:  # noqa: BLE001 - border: the user's loop is above us
            self._sink, self._fault = None, fault

    def check(self) -> None:
        """Raise what went wrong in a hook since `open`, once."""
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def progress(self, unit: Unit, done: float, total: float | None) -> None:
        """Say that so many epochs or steps are complete now."""
        if self._sink is not None:
            self._sink.progress(unit, done, total, self._hint)

    def phase(self, name: str) -> None:
        """Say that a phase begins; saying it again costs nothing."""
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
