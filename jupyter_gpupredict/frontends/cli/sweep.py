"""`jupyter gpupredict sweep FOLDER|NOTEBOOK [--svg FILE]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.frontends import verifying
from jupyter_gpupredict.frontends.cli.verify import subject
from jupyter_gpupredict.frontends.terminal import say

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("what", help="an exported folder, or a notebook with a %%%%gpupredict cell")
    parser.add_argument("--device", metavar="UUID|INDEX", help="which GPU")
    parser.add_argument("--svg", metavar="FILE", help="write speed against share there")
    verifying.arguments(parser, sweeps=True)


def main(options: argparse.Namespace) -> int:
    """Print what was found; that no smaller share keeps the speed is exit status 1."""
    found = verifying.run(options, subject(options), None, sweeps=True)
    say(found.to_json() if options.json else found.to_text())
    if options.svg:
        Path(options.svg).write_text(found.to_svg() + "\n", encoding="utf-8")
    return 0 if found.found.record is not None else 1
