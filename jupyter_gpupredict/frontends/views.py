"""Which view a cell gets: a live widget, one line in a terminal, or nothing while it runs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.events import SessionFinished
from jupyter_gpupredict.core.run import RunFold
from jupyter_gpupredict.frontends.charts import card

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.protocols import Subscriber

CHOICES = ("auto", "bokeh", "svg", "text", "none")


class View(Protocol):
    """What a measured cell shows while it runs."""

    live: bool
    """Whether readings should be taken at the frame rate."""
    subscribers: Sequence[Subscriber]

    def show(self, session_id: str) -> None:
        """Put it on the screen, on the main thread."""
        ...


def choose(environ: Mapping[str, str], *, kernel: bool, ipykernel: str = "") -> tuple[str, str]:
    """Return which view to use and a hint for the user (mostly empty).

    Args:
        environ: `GPUPREDICT_UI` decides where it is set.
        kernel: Whether a Jupyter front end is there, as opposed to a terminal.
        ipykernel: Its version; 7.0 cannot send from threads.
    """
    wanted = environ.get("GPUPREDICT_UI", "auto")
    if wanted not in CHOICES:
        return choose({}, kernel=kernel, ipykernel=ipykernel)[0], (
            f"GPUPREDICT_UI={wanted!r} is not one of {', '.join(CHOICES)}"
        )
    if wanted in ("text", "none"):
        return wanted, ""
    if not kernel:
        return "text", ""
    if ipykernel.startswith("7.0."):
        return "none", f"no live view on ipykernel {ipykernel}: upgrade it to 7.1 or later"
    return ("bokeh" if wanted == "auto" else wanted), ""


class TerminalLine:
    """One line on stderr, rewritten in place."""

    name = "terminal"
    live = False

    def __init__(self) -> None:
        self._fold = RunFold()
        self.subscribers: Sequence[Subscriber] = (self,)

    def show(self, session_id: str) -> None:
        """Nothing to do before the first event."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Fold the events and rewrite the line; the last event clears it."""
        for event in events:
            self._fold.add(event)
        if isinstance(events[-1], SessionFinished):
            sys.stderr.write("\r\033[K")
        else:
            run = self._fold.record(live=True)
            sys.stderr.write(f"\r\033[K{card.line(run, answer(run))}")
        sys.stderr.flush()

    def close(self) -> None:
        """Nothing is held."""


class Nothing:
    """No view while the cell runs."""

    live = False
    subscribers: Sequence[Subscriber] = ()

    def show(self, session_id: str) -> None:
        """Nothing to show."""


def open_view(shell: Any) -> tuple[View, str]:
    """Return the view for a cell of this shell and a hint for the user (mostly empty)."""
    choice, hint = _choose(shell)
    kernel = getattr(shell, "kernel", None)
    if choice in ("bokeh", "svg"):
        from jupyter_gpupredict.frontends.widget import WidgetView

        # Asked for by name, BokehJS may travel from the kernel: 1.3 MB that `auto` does not spend.
        pushes = os.environ.get("GPUPREDICT_UI") == "bokeh"
        return WidgetView(cell_key(kernel), choice, pushes=pushes), hint
    if choice == "text" and kernel is None and sys.stderr.isatty():
        return TerminalLine(), hint
    return Nothing(), hint


def draws_bokeh(shell: Any) -> bool:
    """Return whether what this shell displays may be a Bokeh document."""
    return _choose(shell)[0] == "bokeh"


def _choose(shell: Any) -> tuple[str, str]:
    kernel = getattr(shell, "kernel", None)
    version = ""
    if kernel is not None:
        from importlib import metadata

        version = metadata.version("ipykernel")
    return choose(os.environ, kernel=kernel is not None, ipykernel=version)


def notebook(environ: Mapping[str, str]) -> str:
    """Return the path of the notebook whose kernel this is; empty when it is unknown.

    Source: Jupyter Server sets JPY_SESSION_NAME for the kernel of a session (since 2.0).
    """
    name = environ.get("JPY_SESSION_NAME", "")
    return name if name.endswith(".ipynb") else ""


def cell_key(kernel: Any) -> str:
    """Return the id of the notebook cell that is running; empty when it is unknown."""
    try:
        parent = kernel.get_parent("shell")
        return str(parent["metadata"].get("cellId", ""))
    except (AttributeError, KeyError, LookupError, TypeError):
        return ""
