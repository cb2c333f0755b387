"""`jupyter gpupredict stop ID`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict import config
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.frontends.waiting import from_store

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("id", nargs="?", default="last", help="a session id, or last")


def main(options: argparse.Namespace) -> int:
    """Leave a mark that the run looks for."""
    from_store(config.request_stop, options.id)
    say(f"asked {options.id} to stop measuring; its cell goes on")
    return 0
