"""Programs that tests start in processes of their own: a script, a Dask cluster."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _environ():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def start_script(source, folder):
    """Start a script in a session of its own, as from a terminal; its standard error is kept."""
    script = folder / "script.py"
    script.write_text(source)
    return subprocess.Popen(
        [sys.executable, str(script)],
        env=_environ(),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@contextlib.contextmanager
def dask_cluster(folder, workers):
    """Yield (address, process) of a scheduler that has workers of one thread, without nannies.

    Each process is in a session of its own: what interrupts the test's does not reach them.
    """
    info = folder / "scheduler.json"
    common = ["--scheduler-file", str(info), "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    started = []

    def start(*words):
        command = [sys.executable, "-m", "dask", *words, *common]
        started.append(
            subprocess.Popen(
                command, env=_environ(), stderr=subprocess.DEVNULL, start_new_session=True
            )
        )

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0")
        deadline = time.monotonic() + 30
        while not info.is_file():
            assert time.monotonic() < deadline, "the scheduler"
            time.sleep(0.02)
        for _ in range(workers):
            start("worker", "--no-nanny", "--nthreads", "1")
        yield json.loads(info.read_text())["address"], started[0]
    finally:
        for process in started:
            process.kill()
            process.wait(10)
