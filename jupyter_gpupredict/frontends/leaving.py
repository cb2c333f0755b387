"""Lets go of MPS when the kernel is asked to end, before anybody ends it by a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.mps import process_mps

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_MARK = "_gpupredict_leaves"


def release_on_shutdown(shell: InteractiveShell) -> None:
    """End this kernel's MPS contexts when it is told to shut down or restart; once per kernel.

    The request arrives on the kernel's control thread, also while a cell keeps the main thread
    busy. What follows it, unless the kernel ends in time, is SIGKILL; and a client that is killed
    with work under way leaves its server undefined for all others (MPS documentation).
    """
    kernel: Any = getattr(shell, "kernel", None)
    if kernel is None or getattr(kernel, _MARK, False):
        return
    shut_down = kernel.do_shutdown

    def do_shutdown(restart: bool) -> Any:
        process_mps().release()
        return shut_down(restart)

    kernel.do_shutdown = do_shutdown
    setattr(kernel, _MARK, True)
