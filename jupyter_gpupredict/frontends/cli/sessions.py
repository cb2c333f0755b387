"""`jupyter gpupredict sessions`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from jupyter_gpupredict import config
from jupyter_gpupredict.frontends import report
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.frontends.waiting import from_store

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--limit", type=int, default=20, help="how many, newest first")
    parser.add_argument("--json", action="store_true", help="a JSON list on stdout")


def main(options: argparse.Namespace) -> int:
    """Print the stored runs."""
    headers = from_store(config.list_runs, options.limit)
    if not options.json:
        say(report.history_text(headers))
        return 0
    listed = []
    for header in headers:
        started, finished = header.started, header.finished
        told = finished.recommendation if finished else None
        listed.append(
            {
                "session_id": header.session_id,
                "started_at": started.started_at if started else None,
                "source": started.source if started else None,
                "simulated": started.simulated if started else None,
                "metric": started.share.metric if started else None,
                "outcome": finished.outcome if finished else None,
                "state": told.state if told else None,
                "target_ratio": told.target_ratio if told else None,
                "duration_s": finished.duration_s if finished else None,
                "problem": header.problem,
            }
        )
    say(json.dumps(listed, allow_nan=False))
    return 0
