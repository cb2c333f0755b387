"""The stand-in driver under the process that a benchmark looks at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fake_nvml.scenario import FakeGpu, Script


def environ(home: str) -> dict[str, str]:
    """Return the environment of a process that is on the stand-in's only GPU; it stores in home."""
    driver = Script(gpus=[FakeGpu(processes=[("self", 700, 30)])])
    return {**os.environ, **driver.environ(Path(home)), "JUPYTER_DATA_DIR": home}


def turn(code: str, environ: Mapping[str, str], *words: str, timeout_s: float = 600.0) -> Any:
    """Run a script in a fresh process; return what it prints, which is JSON."""
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(
        command, env=environ, check=True, stdout=subprocess.PIPE, timeout=timeout_s
    )
    return json.loads(done.stdout)
