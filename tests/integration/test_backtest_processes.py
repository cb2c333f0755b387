"""A backtest that is ended half-way takes its worker processes with it."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.processes import start_script

pytestmark = pytest.mark.integration
LONG = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from jupyter_gpupredict.frontends.cli import main
if __name__ == "__main__":  # not in its workers, which inherit what is blocked
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    sys.exit(main(["backtest", "--synthetic", "0:400", "--jobs", "2"]))
"""


def _workers(pid):
    """The tracker and two workers that are at work: past their imports, with their alarm set."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        children = psutil.Process(pid).children(recursive=True)
        if sum(_ignores_interrupts(child.pid) for child in children) >= 2 and len(children) >= 3:
            return children
        time.sleep(0.1)
    raise AssertionError("the workers did not start")


def _ignores_interrupts(pid):
    """Only a worker does, and only once it has begun."""
    return signal.SIGINT in _signals(pid, "SigIgn") and signal.SIGALRM in _signals(pid, "SigCgt")


def _imports(pid):
    """Whether Python has begun in a worker, and our part of it has not: it would raise."""
    return signal.SIGINT in _signals(pid, "SigCgt")


def _signals(pid, field):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    bits = next(int(line.split()[1], 16) for line in lines if line.startswith(field))
    return {one for one in signal.Signals if bits & 1 << one - 1}


def test_interrupted_while_its_workers_start_it_says_nothing(tmp_path):
    with start_script(LONG, tmp_path) as process:
        until = time.monotonic() + 60
        while sum(_imports(one.pid) for one in psutil.Process(process.pid).children()) < 2:
            assert time.monotonic() < until
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert said == ""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_ended_half_way_it_leaves_no_process(sign, tmp_path):
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    with start_script(LONG, tmp_path) as process:
        try:
            children = _workers(process.pid)
            if sign == signal.SIGINT:
                os.killpg(process.pid, sign)  # as a terminal does
            else:
                process.kill()
            process.wait(60)
        finally:
            process.kill()
        _, left = psutil.wait_procs(children, timeout=30)
        assert left == []
        said = process.stderr.read().decode()
        if sign == signal.SIGINT:
            assert process.returncode == 130
            assert said == ""
