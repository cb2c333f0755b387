"""`jupyter gpupredict doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.frontends import doctor
from jupyter_gpupredict.frontends.terminal import say

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--json", action="store_true", help="a JSON list on stdout")


def main(options: argparse.Namespace) -> int:
    """Print the page."""
    say(doctor.report_json() if options.json else doctor.report())
    return 0
