"""`jupyter gpupredict mps status|start|stop [--json]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.frontends import mps
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.mps import mps_start_detached, mps_status, mps_stop_detached

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("what", choices=("status", "start", "stop"))
    parser.add_argument("--device", metavar="UUID|INDEX", help="default: the first visible GPU")
    parser.add_argument("--json", action="store_true", help="print the status as JSON")


def main(options: argparse.Namespace) -> int:
    """Show, start or stop; a daemon started here runs until it is stopped here."""
    said = ""
    if options.what == "start":
        pipe = mps_start_detached(options.device)
        said = (
            f"started. What runs as its client starts with\nexport CUDA_MPS_PIPE_DIRECTORY={pipe}"
        )
    elif options.what == "stop":
        stopped, elsewhere = mps_stop_detached()
        said = "\n".join(
            [f"stopped {pipe}" for pipe in stopped]
            + [f"left alone {pipe}: started in another PID namespace" for pipe in elsewhere]
        )
    status = mps_status(options.device)
    if options.json:
        say(mps.as_json(status))
    else:
        say(said or mps.text(status))
    return 0
