"""Progress read from libraries' loops, one file each; `registry` names them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.hooking import Voice, Wrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.protocols import ProgressSink


class MethodHint:
    """A hint that wraps one method of its library while it is attached."""

    module: str
    name: str
    """Reported with each mark."""

    def __init__(self) -> None:
        self._voice = Voice(self.name)
        self._wrap: Wrap | None = None

    def attach(self, sink: ProgressSink) -> None:
        """Wrap the method."""
        owner, method = self._find(sys.modules[self.module])
        self._wrap = Wrap(owner, method, self._around)
        self._voice.open(sink)

    def poll(self) -> None:
        """Raise what went wrong in a hook; there is nothing to look at."""
        self._voice.check()

    def detach(self) -> None:
        """Unwrap; a training that still runs goes on without us."""
        self._voice.close()
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
