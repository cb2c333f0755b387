"""A backtest that is ended half-way takes its worker processes with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
LONG = """
import sys
from jupyter_gpupredict.frontends.cli import main
if __name__ == "__main__":
    sys.exit(main(["backtest", "--synthetic", "0:400", "--jobs", "2"]))
"""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_ended_half_way_it_leaves_no_process(sign, tmp_path):
    script = tmp_path / "long.py"
    script.write_text(LONG)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script)], env=environ, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        children = []
        until = time.monotonic() + 20
        while len(children) < 3 and time.monotonic() < until:  # two workers, one tracker
            time.sleep(0.1)
            children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3
        time.sleep(4.0)  # the workers have to be past their imports
        if sign == signal.SIGINT:
            os.killpg(process.pid, sign)  # as a terminal does
        else:
            process.kill()
        process.wait(20)
        _, left = psutil.wait_procs(children, timeout=10)
        assert left == []
        said = process.stderr.read().decode()
        if sign == signal.SIGINT:
            assert process.returncode == 130
            assert said == ""
