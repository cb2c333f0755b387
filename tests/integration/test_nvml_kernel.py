"""A real kernel under the stand-in driver: what a user's cell must survive, end to end."""

import itertools
import json
import os
import subprocess
import sys
import time

import pytest

from jupyter_gpupredict.run import build_store
from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import UUID, FakeGpu, Script
from tests.integration.kernels import Kernel
from tests.traces import stored_ends

pytestmark = pytest.mark.integration
MAGIC = "%%gpupredict --source nvml --interval 0.1 -o run"
OTHER = "GPU-99999999-2222-3333-4444-555555555555"
GPU_IS_LOST = 15


class Bench:
    """A kernel, the script its driver plays, and the switch for failures."""

    def __init__(self, home, *gpus):
        self.home = home
        self.control = home / "control.txt"
        script = home / "script.txt"
        script.write_text(Script(gpus=gpus or [FakeGpu(depth=600), FakeGpu(uuid=OTHER)]).text())
        self.environ = {
            "JUPYTER_DATA_DIR": str(home / "data"),
            "IPYTHONDIR": str(home / "ipython"),
            "LD_LIBRARY_PATH": str(library_dir()),
            "FAKE_NVML_SCRIPT": str(script),
            "FAKE_NVML_CONTROL": str(self.control),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        }
        self.kernel = Kernel(**self.environ)

    def run(self, *lines):
        return self.kernel.run("\n".join([MAGIC, *lines]))

    def ask(self, expression):
        """Return the value of an expression in the kernel, through JSON."""
        reply = self.kernel.run(f"import json; print(json.dumps({expression}))")
        assert reply.status == "ok", reply.tracebacks
        return json.loads(reply.text("stdout"))


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("nvml"))
    with bench.kernel:
        yield bench


@pytest.fixture
def bench(shared_bench):
    shared_bench.control.unlink(missing_ok=True)
    return shared_bench


@pytest.fixture(scope="module", autouse=True)
def settling(tmp_path_factory):
    """Two kernels with a cell of 34 s each, the shortest that settles.

    They begin with the first test of this file and run beside the others; who asks them waits.
    """
    # busy 80 % of the time on a quarter of the SMs
    sm_share = FakeGpu(points=[(0.0, 80.0, 1000.0, 25.0)], gpm=True, cores=(16896, "9.0"))
    several = (
        FakeGpu(points=[(0.0, 30.0, 1000.0)], processes=[("self", 900), (1, 100)], throttle=4),
        FakeGpu(points=[(0.0, 70.0, 2000.0)], uuid=OTHER, processes=[("self", 1900)]),
    )
    benches = {
        "sm_share": Bench(tmp_path_factory.mktemp("sm_share"), sm_share),
        "several": Bench(tmp_path_factory.mktemp("several"), *several),
    }
    options = {"sm_share": "--interval 0.2", "several": "--source nvml --device all"}
    with benches["sm_share"].kernel, benches["several"].kernel:
        for name, bench in benches.items():
            magic = f"%%gpupredict {options[name]} --window 2 --agree 2 --tolerance 3 -o run"
            bench.kernel.client.execute(f"{magic}\nimport time; time.sleep(34)")
        yield benches


def test_a_cell_is_measured_on_the_gpu(bench):
    reply = bench.run("import time; time.sleep(2)", "'mine'")
    assert (reply.status, reply.result) == ("ok", "'mine'")
    found = bench.ask("run.to_dict()")
    assert (found["source"], found["metric"]) == ("nvml", "gpu_util_ratio")
    assert found["mean_ratio"] == pytest.approx(0.5)
    assert found["sampled_ratio"] > 0.8
    assert found["errors"] == []


def test_a_cell_of_50_ms_has_its_end(bench):
    reply = bench.run("import time; time.sleep(0.05)")
    assert reply.status == "ok"
    found = bench.ask("run.to_dict()")
    assert found["outcome"] == "completed"
    assert found["duration_s"] < 2


def test_a_driver_that_hangs_costs_the_measuring_alone(bench):
    reply = bench.run(
        "import time, pathlib",
        "time.sleep(0.5)",
        f"pathlib.Path({str(bench.control)!r}).write_text('hang *')",
        "time.sleep(1.5)",
        "ended_s = time.monotonic()",
        "'mine'",
    )
    assert (reply.status, reply.result) == ("ok", "'mine'")
    assert bench.ask("time.monotonic() - ended_s") < 10.0  # 2.75 s and what a busy machine adds
    found = bench.ask("run.to_dict()")
    assert any("its thread is left alone" in error for error in found["errors"])
    assert "left alone" in reply.text("stderr")
    bench.control.unlink()
    names = "[t.name for t in __import__('threading').enumerate()]"
    while "gpupredict-sampler" in bench.ask(names):
        time.sleep(0.05)
    assert bench.run("import time; time.sleep(0.05)").status == "ok"
    assert bench.ask("run.to_dict()")["errors"] == []


@pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlShutdown"])
def test_the_command_line_exits_under_a_driver_that_hangs(bench, function):
    bench.control.write_text(f"hang {function}")
    script = bench.home / "script.py"
    script.write_text("import sys\nsys.exit(7)")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "jupyter_gpupredict.frontends.cli",
            "run",
            "--source",
            "nvml",
            str(script),
        ],
        env={**os.environ, **bench.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7
    told = "nothing was measured" if function == "nvmlInitWithFlags" else "left alone"
    assert told in done.stderr


def test_a_thread_starved_by_the_gil_loses_no_reading(bench):
    """The driver keeps the readings: a stall of ten seconds leaves every 0.2 s step in place."""
    reply = bench.run("import ctypes", "ctypes.PyDLL(None).sleep(10)", "import time; time.sleep(1)")
    assert reply.status == "ok"
    times = bench.ask("run.to_dataframe().dropna(subset='gpu_util_ratio').time_s.tolist()")
    steps = [b - a for a, b in itertools.pairwise(times)]
    assert len(times) >= 50  # 11 s at 5 Hz, less the ends
    assert max(steps) < 0.25


def test_a_driver_lost_in_mid_run_and_back(bench):
    code = [
        "import time, pathlib",
        "time.sleep(1)",
        f"switch = pathlib.Path({str(bench.control)!r})",
        f"switch.write_text('fail * {GPU_IS_LOST}\\n')",
        "time.sleep(2)",
        "switch.unlink()",
        "time.sleep(3)",
        "'survived'",
    ]
    reply = bench.run(*code)
    assert (reply.status, reply.result) == ("ok", "'survived'")
    assert bench.ask("[type(one).__name__ for one in run.run.losses]") == [
        "SourceLost",
        "SourceRecovered",
    ]
    assert bench.ask("run.run.losses[0].reason") == "device_lost"
    assert bench.ask("run.to_dict()")["sampled_ratio"] < 0.9
    assert bench.ask("run.run.gaps != ()")


def test_a_driver_lost_for_good(bench):
    bench.run(
        "import time, pathlib",
        "time.sleep(1)",
        f"pathlib.Path({str(bench.control)!r}).write_text('fail * {GPU_IS_LOST}\\n')",
        "time.sleep(1.5)",
    )
    found = bench.ask("run.to_dict()")
    assert found["outcome"] == "completed"
    assert found["state"] == "abstained"
    assert bench.run("'the next cell'").result == "'the next cell'"


@pytest.mark.parametrize(
    ("choice", "uuid"),
    [("1", OTHER), ("GPU-9999", OTHER), (OTHER, OTHER), ("0", FakeGpu().uuid)],
)
def test_the_gpu_is_chosen(bench, choice, uuid):
    magic = f"%%gpupredict --source nvml --device {choice} -o run"
    assert bench.kernel.run(f"{magic}\nimport time; time.sleep(0.5)").status == "ok"
    assert bench.ask("run.run.started.devices[0].uuid") == uuid


def test_a_wrong_gpu_is_one_line_with_the_known_ones(bench):
    reply = bench.kernel.run("%%gpupredict --source nvml --device 7\nprint('ran')")
    told = "\n".join([*reply.tracebacks, reply.text("stderr")])
    assert OTHER in told
    assert "Traceback" not in told


def test_a_full_disk_costs_the_storing_only(bench):
    reply = bench.run(
        "import resource, time",
        "soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))",
        "time.sleep(2)",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))",
        "'unharmed'",
    )
    assert (reply.status, reply.result) == ("ok", "'unharmed'")
    assert len(reply.summaries) == 1
    warnings = [line for line in reply.text("stderr").splitlines() if "gpupredict" in line]
    assert len(warnings) == 1, reply.text("stderr")
    assert bench.ask("len(run.errors)") == 1


@pytest.mark.parametrize("runs", [25, pytest.param(100, marks=pytest.mark.long)])
def test_many_runs_leave_nothing(bench, runs):
    census = (
        "[len(threading.enumerate()), files(), len(psutil.Process().children()),"
        " len(ipywidgets.Widget.widgets) if hasattr(ipywidgets.Widget, 'widgets') else"
        " len(ipywidgets.widgets.widget._instances)]"
    )
    bench.kernel.run(
        "import os, threading, psutil, ipywidgets\n"
        "def files():\n"
        "    paths = [f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd')]\n"
        "    names = [os.readlink(p) for p in paths if os.path.lexists(p)]\n"
        "    return sum('profile_default' not in n for n in names)  # IPython's history"
    )
    for _ in range(3):
        bench.run("pass")
    before = bench.ask(census)
    for _ in range(runs):
        assert bench.run("pass").status == "ok"
    after = bench.ask(census)
    assert all(now <= then for now, then in zip(after[:3], before[:3], strict=True)), (
        f"threads, files, children: {before[:3]} -> {after[:3]}"
    )
    assert after[3] <= before[3] + 16, "only the last few views may be alive"


def test_a_restarted_kernel_begins_anew(tmp_path, monkeypatch):
    bench = Bench(tmp_path)
    monkeypatch.setenv("JUPYTER_DATA_DIR", bench.environ["JUPYTER_DATA_DIR"])
    with bench.kernel as kernel:
        kernel.client.execute(f"{MAGIC}\nimport time; time.sleep(60)")
        store, deadline = build_store(), time.monotonic() + 30
        while not any(store.path(one).stat().st_size for one in store.ids()):
            assert time.monotonic() < deadline  # a kill before the first line leaves no run
            time.sleep(0.1)
        kernel.restart()
        assert kernel.run(f"{MAGIC}\n'again'").result == "'again'"
        states = [ends.ended for ends in stored_ends()]
    assert sorted(states) == [False, True]


@pytest.mark.parametrize(
    ("environ", "words", "found"),
    [
        ({"LD_LIBRARY_PATH": ""}, "library", "no nvidia driver"),
        ({"FAKE_NVML_SCRIPT": "no-driver.txt"}, "driver", "no nvidia driver"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "no gpu is visible", "no gpu is visible"),
    ],
)
def test_without_a_gpu_the_cell_runs_and_the_reason_is_told(tmp_path, environ, words, found):
    """No library, no driver, no visible device: one line; `auto` goes on with the CPU."""
    (tmp_path / "no-driver.txt").write_text("fail nvmlInit_v2 9\nfail nvmlInitWithFlags 9\n")
    environ = {
        key: str(tmp_path / value) if value.endswith(".txt") else value
        for key, value in environ.items()
    }
    bench = Bench(tmp_path)
    with Kernel(**{**bench.environ, **environ}) as kernel:
        reply = kernel.run(f"{MAGIC}\n'ran'")
        assert (reply.status, reply.result) == ("ok", "'ran'")
        lines = reply.text("stderr").strip().splitlines()
        assert len(lines) == 1
        assert words in lines[0].lower()
        kernel.run("%%gpupredict -o run\n1")
        assert kernel.run("run.source").result == "'cpu'"
        assert found in kernel.run("%gpupredict doctor").text().lower()


def test_a_data_directory_that_cannot_be_written(tmp_path):
    bench = Bench(tmp_path)
    (tmp_path / "data").write_text("a file where the folder should be")
    runtime = tmp_path / "runtime"
    with Kernel(**{**bench.environ, "JUPYTER_RUNTIME_DIR": str(runtime)}) as kernel:
        reply = kernel.run(f"{MAGIC}\n'ran'")
        assert (reply.status, reply.result) == ("ok", "'ran'")
        assert len(reply.summaries) == 1
        warnings = [line for line in reply.text("stderr").splitlines() if "gpupredict" in line]
        assert len(warnings) == 1, warnings
    assert (tmp_path / "data").is_file()


def test_sm_share_and_time_share_side_by_side(settling):
    """`auto` takes SM activity where there is some; both shares are shown, neither as the other."""
    bench = settling["sm_share"]
    assert bench.kernel.run("run.source, run.basis, run.state").result == (
        "('gpm', 'sm_share', 'converged')"
    )
    assert bench.ask("[run.target_ratio, run.run.started.devices[0].sm_count]") == [0.25, 132]
    [beside] = bench.ask("run.to_dict()['others']")
    assert (beside["metric"], beside["basis"]) == ("gr_active_ratio", "time_share")
    assert (beside["state"], beside["target_ratio"]) == ("converged", 0.8)
    text = bench.ask("run.to_text()")
    assert "25 % of the GPU's SMs" in text
    assert "80 % engine busy time (time share)" in text


def test_several_gpus_are_predicted_each(settling):
    """Who was on which GPU is shown, and the main share is never another's."""
    bench = settling["several"]
    found = bench.ask("run.to_dict()")
    assert (found["state"], found["target_ratio"]) == ("converged", 0.3)
    [beside] = found["others"]
    assert (beside["device"], beside["state"], beside["target_ratio"]) == (
        OTHER,
        "converged",
        0.7,
    )
    assert (found["gpus"], found["processes"], found["other_processes"]) == (2, 1, 1)
    ended = bench.ask("str(run.run.used)")
    assert ended == str(tuple(sorted((UUID, OTHER))))
    assert found["throttled_ratio"] == {"power cap": 0.5}  # one GPU of the two
    text = bench.ask("run.to_text()")
    assert "70 % of the time" in text
    assert "the largest of 2 GPUs" in text
    assert "new every 0.2 s, from the driver's own buffer" in text
    assert "1 other process on the GPU" in text
    assert "power cap 50 % of the time" in text
