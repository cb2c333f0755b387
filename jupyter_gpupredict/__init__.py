"""How much of a GPU does this training cell need, and how is it deployed on a shared one?

`%load_ext jupyter_gpupredict` brings the `%%gpupredict` magic; `measure` and `measured` are for
scripts. Importing the package loads nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict._version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_gpupredict.frontends.measure import epoch, last, measure, measured, phase, track
    from jupyter_gpupredict.frontends.report import Result

__all__ = ["Result", "__version__", "epoch", "last", "measure", "measured", "phase", "track"]

_LAZY = {
    "Result": "jupyter_gpupredict.frontends.report",
    "epoch": "jupyter_gpupredict.frontends.measure",
    "last": "jupyter_gpupredict.frontends.measure",
    "measure": "jupyter_gpupredict.frontends.measure",
    "measured": "jupyter_gpupredict.frontends.measure",
    "phase": "jupyter_gpupredict.frontends.measure",
    "track": "jupyter_gpupredict.frontends.measure",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Add `%%gpupredict` and `%gpupredict` to this shell."""
    from jupyter_gpupredict.frontends.magic import load

    load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Remove everything that `load_ipython_extension` added and join our threads."""
    from jupyter_gpupredict.frontends.magic import unload

    unload(ipython)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "jupyter_gpupredict.frontends.server"}]
