"""`jupyter gpupredict doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.frontends import doctor
from jupyter_gpupredict.frontends.terminal import say

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "--mps", action="store_true", help="start a daemon of MPS, ask it, and remove it again"
    )
    parser.add_argument("--json", action="store_true", help="a JSON list on stdout")


def main(options: argparse.Namespace) -> int:
    """Print the page."""
    page = doctor.report_json if options.json else doctor.report
    say(page(mps=options.mps))
    return 0
