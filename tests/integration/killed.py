"""What a measured process that is killed in the middle has lost; shared with `benchmarks.kills`."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from benchmarks.stand_in import environ
from jupyter_gpupredict.core.events import SamplesTaken, SessionStarted
from jupyter_gpupredict.run.store import Store

CHILD = """
import sys, time
from jupyter_gpupredict.run import SessionConfig, build_session
run = build_session(SessionConfig(source="nvml"), live=sys.argv[1] == "view")
run.start()
print(flush=True)
time.sleep(600)
"""
MOST_S = {"view": 1.0, "none": 2.0}
"""View -> how old the newest stored reading may be when the process is killed."""


def newest_age_s(home: Path, view: str, after_s: float) -> float:
    """Kill a measured process so long after its start; return its newest stored reading's age.

    Args:
        home: An empty folder of its own.
        view: `view` or `none`: whether one is attached.
        after_s: When.
    """
    command = [sys.executable, "-c", CHILD, view]
    with subprocess.Popen(command, env=environ(str(home)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after_s)
        killed_s = time.time()
        process.kill()
    store = Store(home / "gpupredict" / "sessions")
    newest_s = began_s = 0.0
    for event in store.events(store.ids()[0]):
        if isinstance(event, SessionStarted):
            began_s = newest_s = datetime.fromisoformat(event.started_at).timestamp()
        elif isinstance(event, SamplesTaken):
            for one in event.readings:
                newest_s = max(newest_s, began_s + one.times_s[-1])
    return killed_s - newest_s
