"""Many traces on a real Dask cluster of this machine: the same answers, workers killed or not."""

import functools
import gc
import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from jupyter_gpupredict.backtest.cases import Simulated
from jupyter_gpupredict.backtest.run import backtest
from jupyter_gpupredict.backtest.spread import Where, spread
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.frontends.cli import main
from tests.integration.processes import start_script
from tests.traces import write_csv

distributed = pytest.importorskip("distributed", reason="Dask distributed is not installed")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def nannies():
    """Two worker processes with nannies, as a user would have them."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as made:
        yield made


@pytest.fixture
def cluster(nannies):
    """The same, once the workers that a test before has killed are back."""
    with distributed.Client(nannies, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
    return nannies


@pytest.fixture
def traces(tmp_path):
    place = tmp_path / "traces"
    place.mkdir()
    for n in range(12):
        write_csv(place / f"t{n:02d}.csv", [0] * 10 + [30 + n] * (590 + n))
    (place / "torn.csv").write_text("nonsense\n")
    return place


def test_the_rows_are_the_same_byte_for_byte(cluster, traces, tmp_path):
    told = {}
    for name, where in (
        ("serial", ["--jobs", "1"]),
        ("processes", ["--jobs", "2"]),
        ("dask", ["--scheduler", cluster.scheduler_address]),
    ):
        for ending in ("jsonl", "parquet"):
            out = tmp_path / f"{name}.{ending}"
            assert main(["predict", str(traces), "--rule", "quick", *where, "--out", str(out)]) == 0
            told[name, ending] = out.read_bytes()
    for ending in ("jsonl", "parquet"):
        assert told["serial", ending] == told["processes", ending] == told["dask", ending]


def test_a_backtest_is_the_same(cluster):
    cases = [Simulated("steady", 1), Simulated("rl", 2), Simulated("epoch_vhigh", 1)]
    serial = backtest(cases, ["default", "vpa"], jobs=1)
    assert backtest(cases, ["default", "vpa"], scheduler=cluster.scheduler_address) == serial


def is_tracker(process):
    """Python's own process that minds semaphores lives on; it is not one of ours."""
    try:
        return "resource_tracker" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def test_a_cluster_of_its_own_is_gone_afterwards(traces, tmp_path, capsys):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    out = tmp_path / "r.jsonl"
    words = ["predict", str(traces), "--scheduler", "local", "--jobs", "2", "--out", str(out)]
    assert main(words) == 0
    assert len(out.read_text().splitlines()) == 13
    left = [c for c in psutil.Process().children(recursive=True) if c.pid not in before]
    _, left = psutil.wait_procs([c for c in left if not is_tracker(c)], timeout=10)
    assert left == []


def die_once(items, marker):
    """Kill the worker on the first item that is worked on anywhere, and only then."""
    if 3 in items:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return [10 * item for item in items]


def die_always(items):
    if 3 in items:
        os.kill(os.getpid(), signal.SIGKILL)
    return [10 * item for item in items]


def every(work, cluster):
    found = spread(work, range(8), Where(None, cluster.scheduler_address), lambda item, why: why)
    return [one for _, some in sorted(found) for one in some]


def test_a_killed_worker_costs_nothing(cluster, tmp_path):
    work = functools.partial(die_once, marker=str(tmp_path / "died"))
    assert every(work, cluster) == [10 * n for n in range(8)]
    assert (tmp_path / "died").exists()


def test_what_kills_every_worker_is_a_row_with_the_reason(cluster):
    got = every(die_always, cluster)
    assert [one for one in got if isinstance(one, int)] == [0, 10, 20, 40, 50, 60, 70]
    assert "every worker that tried it was killed" in got[3]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "h:p"])
def test_no_scheduler_is_one_line(address, traces, capsys, monkeypatch):
    from jupyter_gpupredict.backtest import spread as module

    monkeypatch.setattr(module, "_CONNECT_S", 1.0)
    assert main(["predict", str(traces), "--scheduler", address]) == 2
    said = capsys.readouterr()
    assert "no Dask scheduler answers" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    # one that is collected while the next one starts waits for a lock that this thread holds
    assert not [one for one in gc.get_objects() if type(one) is distributed.Client]


def test_workers_of_another_version_are_refused(cluster, monkeypatch):
    from jupyter_gpupredict.backtest import spread as module

    monkeypatch.setattr(module, "__version__", "99.0")
    with pytest.raises(InvalidOption, match="install version"):
        list(spread(die_always, range(2), Where(None, cluster.scheduler_address), None))


LONG = """
import sys
from jupyter_gpupredict.frontends.cli import main
if __name__ == "__main__":
    sys.exit(main(["backtest", "--synthetic", "0:400", "--scheduler", "local", "--jobs", "2"]))
"""


def test_ctrl_c_half_way_leaves_no_process(tmp_path):
    with start_script(LONG, tmp_path) as process:
        children = []
        until = time.monotonic() + 40
        while len(children) < 3 and time.monotonic() < until:
            time.sleep(0.1)
            children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3
        time.sleep(6.0)  # past their imports
        os.kill(process.pid, signal.SIGINT)
        process.wait(30)
        _, left = psutil.wait_procs(children, timeout=15)
        said = process.stderr.read().decode()
    assert left == []
    assert process.returncode == 130
    assert "Traceback" not in said


def test_json_lines_go_to_stdout(cluster, traces, capsys):
    assert main(["predict", str(traces), "--scheduler", cluster.scheduler_address]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["trace"] for row in rows] == [*(f"t{n:02d}" for n in range(12)), "torn"]
