"""Waits for work that may never end, on a thread of its own, and no longer than it is worth."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Value = TypeVar("_Value")


def within(limit_s: float, work: Callable[..., _Value], *arguments: Any) -> _Value:
    """Return what `work(*arguments)` returns.

    Args:
        limit_s: How long to wait; the thread is left behind then.
        work: What to do.
        arguments: With what.

    Raises:
        TimeoutError: It took longer.
        Exception: Whatever `work` raises.
    """
    found: list[_Value] = []
    raised: list[Exception] = []

    def run() -> None:
        try:
            found.append(work(*arguments))
        except Exception as error:  # noqa: BLE001 - border: it is raised where it is waited for
            raised.append(error)

    thread = threading.Thread(target=run, name="gpupredict-deadline", daemon=True)
    thread.start()
    thread.join(limit_s)
    if raised:
        raise raised[0]
    if not found:
        raise TimeoutError(f"no answer in {limit_s:g} s")
    return found[0]
