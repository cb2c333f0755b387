"""The stand-in driver under the process that a benchmark looks at."""

from __future__ import annotations

import os
from pathlib import Path

from tests.fake_nvml.scenario import FakeGpu, Script


def environ(home: str) -> dict[str, str]:
    """Return the environment of a process that is on the stand-in's only GPU; it stores in home."""
    driver = Script(gpus=[FakeGpu(processes=[("self", 700, 30)])])
    return {**os.environ, **driver.environ(Path(home)), "JUPYTER_DATA_DIR": home}
