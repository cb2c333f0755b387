"""Shows one line instead of a traceback when the interrupt that ends a cell is our own."""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_gpupredict.frontends.stopping import ConvergenceStop


def quiet_interrupt(shell: InteractiveShell, stop: ConvergenceStop) -> None:
    """Until the next interrupt or the end of the run, show no traceback for our interrupt.

    IPython offers one place for such a handler; what was there before is put back by the handler
    itself and serves every exception that is not ours.
    """
    before = (shell.custom_exceptions, getattr(shell, "CustomTB", None))

    def restore() -> None:
        shell.custom_exceptions, custom = before
        if custom is not None:
            shell.CustomTB = custom

    def handler(
        self: InteractiveShell, kind: type[BaseException], value: BaseException, trace: Any
    ) -> list[str] | None:
        restore()
        if stop.owns(value):
            return []
        if isinstance(value, before[0]) and before[1] is not None:
            shown: list[str] | None = before[1](kind, value, trace)
            return shown
        self.showtraceback((kind, value, trace), running_compiled_code=True)
        return None

    shell.custom_exceptions = (KeyboardInterrupt, asyncio.CancelledError)
    shell.CustomTB = types.MethodType(handler, shell)
    stop.on_disarm = restore
