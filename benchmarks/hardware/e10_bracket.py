"""E10: whether the slowdown lies between S_lo and S_hi, for loops of four widths."""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from benchmarks.hardware.clients import PROGRESS, Client, started, uncapped
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import main
from jupyter_gpupredict.core.events import SamplesTaken
from jupyter_gpupredict.mps import Bound, Subject, verify
from jupyter_gpupredict.mps.child import Program
from jupyter_gpupredict.mps.lease import Host, hosted
from jupyter_gpupredict.run import SessionConfig, build_session

SHARES = (70, 50, 35, 20)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Verify four shares of each loop, and read its activity without a cap."""
    found: dict[str, Any] = {}
    with hosted(options.device) as host:
        for blocks in (20, 60, 130, 400):
            text = work(blocks, idle_s=0.0005)
            subject = Subject(Program(text, progress=PROGRESS), None)
            tried = {}
            for share in SHARES:
                done = verify(subject, share, Bound(seconds=options.seconds), 4, host=host)
                tried[str(share)] = {
                    "ratio": done.ratios[share],
                    "trials": [[t.percent, t.speed(done.unit), t.sm_count] for t in done.trials],
                }
            found[f"{blocks} blocks"] = {"activity": _activity(text, host, options), "at": tried}
    return found


def _activity(text: str, host: Host, options: argparse.Namespace) -> dict[str, Any]:
    """Return mean SM activity and engine activity while the loop runs without a cap."""
    session_config = SessionConfig(source="auto", device=options.device)
    client = Client(text, uncapped(host))
    seen: dict[str, list[float]] = {}

    class Keep:
        name = "keep"

        def deliver(self, events: Any) -> None:
            for event in events:
                if isinstance(event, SamplesTaken):
                    for one in event.readings:
                        seen.setdefault(one.series.metric, []).extend(one.values)

        def close(self) -> None:
            """Nothing is held."""

    with started(client):
        client.running()
        session = build_session(session_config, subscribers=(Keep(),))
        session.start()
        client.for_seconds(options.seconds)
        session.stop("completed")
    clean = {metric: [v for v in values if v == v] for metric, values in seen.items()}  # noqa: PLR0124
    return {metric: statistics.fmean(values) for metric, values in clean.items() if values}


if __name__ == "__main__":
    raise SystemExit(
        main(
            "E10: the slowdown bracket",
            measure,
            more=lambda parser: parser.add_argument("--seconds", type=float, default=20.0),
        )
    )
