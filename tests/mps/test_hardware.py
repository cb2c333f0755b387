"""The scripts for real hardware: without it they say so; the stand-ins answer as they should."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.colocation import Function, functions, report
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import Lacking
from jupyter_gpupredict.sources.reading import open_trace
from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import FakeGpu, Script

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / "hardware"
SCRIPTS = ["record_training", *sorted(p.stem for p in FOLDER.glob("e*.py"))]


def ran(module, *words, environ=None, limit_s=240.0):
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *words],
        capture_output=True, text=True, check=False, timeout=limit_s, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
    )  # fmt: skip


@pytest.fixture
def environ(machine, driver):
    driver.play(Script([FakeGpu(cores=(132 * 128, "9.0"))]))
    return {
        "LD_LIBRARY_PATH": f"{library_dir()}:{library_dir('libcuda.so.1')}",
        "CUDA_MPS_PIPE_DIRECTORY": str(machine.folder / "none"),
    }


def readings(script, tmp_path, environ, *words):
    path = tmp_path / "found.json"
    done = ran(f"hardware.{script}", "-o", str(path), *words, environ=environ)
    assert done.returncode == 0, done.stderr
    assert path.exists(), done.stdout
    found = json.loads(path.read_text())
    assert found["devices"]
    assert found["driver"]
    assert found["date"]
    return found["readings"]


@pytest.mark.parametrize("script", [f"hardware.{one}" for one in SCRIPTS] + ["colocation"])
def test_without_a_gpu_the_reason_is_said_and_nothing_has_failed(script):
    done = ran(script, environ={"PATH": "/nowhere", "LD_LIBRARY_PATH": "/nowhere"})
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "skipped: " in line


@pytest.mark.live_server
def test_percentages_become_sms(tmp_path, environ):
    found = readings("e06_percentages", tmp_path, environ, "--step", "33")["sms"]
    # 132 SMs in steps of two, rounded down: 1 % is 1.32 and so none at all, 34 % is 44.88
    assert {share: one["sm_count"] for share, one in found.items()} == {
        "1": None, "34": 44, "67": 88, "100": 132, "none": 132,
    }  # fmt: skip
    assert found["34"]["value"]["after_context"] == [0, 44]


@pytest.mark.live_server
def test_the_environment_counts_until_cuda_starts(tmp_path, environ):
    found = readings("e07_environment", tmp_path, environ)
    sms = {when: found[when]["value"]["sms"] for when in ("at_start", "after_load", "after_init")}
    assert sms == {"at_start": 52, "after_load": 52, "after_init": 132}
    assert found["after_init"]["value"]["detected"]["loaded"] == ""


@pytest.mark.live_server
def test_what_counts_towards_the_memory_limit(tmp_path, environ):
    found = readings("e09_memory", tmp_path, environ)
    value = {what: one["value"] for what, one in found.items()}
    for mib in (1024, 2048, 4096, 8192):
        for how in ("plain", "async"):
            refused = value[f"{mib} MiB, {how}"]
            assert (refused["taken"] >> 20, refused["code"]) == (mib, 2)
        for how in ("managed", "host"):
            free = value[f"{mib} MiB, {how}"]
            assert (free["taken"] >> 20, free["code"]) == (2 * mib, 0)
    assert {value[f"context at {share} %"]["context"] for share in (10, 25, 50, 75, 100)} == {0}


@pytest.mark.live_server
def test_a_client_is_found_by_its_number(tmp_path, environ):
    found = readings("e14_pids", tmp_path, environ)
    assert list(found["clients"].values()) == [[found["client"]]]
    assert found["terminate_client"] == "done"


@pytest.fixture
def hopper(driver, environ):
    """Half of the SMs are used while a kernel runs, half of the time."""
    points = [(0.1 * k, 100.0 * (k % 2), 1000.0, 50.0) for k in range(1200)]
    driver.play(Script([FakeGpu(points, cores=(132 * 128, "9.0"), gpm=True)]))
    driver.script_path.write_text(  # the script's time is the wall's, in other processes
        driver.script_path.read_text().replace("start ", "# start ")
    )
    return environ


@pytest.mark.long
def test_refresh_periods_are_seen_in_the_values(tmp_path, hopper):
    found = readings("e01_refresh", tmp_path, hopper, "--seconds", "2")
    assert 0.05 < min(found["utilization_percent at 1000 Hz"]["changes_s"]) < 0.2
    assert len(found["stamps_us"]) > 2


def test_stamps_are_set_beside_each_clock(tmp_path, hopper):
    found = readings("e02_stamps", tmp_path, hopper, "--idle", "0.5")
    row = found["busy"][-1]
    # the stand-in's stamps are of the wall clock
    assert abs(row["newest_us"] / 1e6 - row["clocks_s"]["wall"]) < 5.0
    assert found["idle"]
    assert found["burst"]


@pytest.mark.long
def test_gpm_is_read_at_each_interval_and_by_two(tmp_path, hopper):
    found = readings("e03_gpm_access", tmp_path, hopper)
    assert all(v is None for row in found["intervals"]["20 ms"] for v in row["value"].values())
    assert any(row["value"]["1"] is not None for row in found["intervals"]["200 ms"])
    assert len(found["two readers"]) == 10


def test_gpm_that_is_refused_is_told_by_its_code(tmp_path, driver, environ):
    driver.play(Script([FakeGpu(gpm=True)], failures=[("nvmlGpmQueryDeviceSupport", 4)]))
    assert readings("e03_gpm_access", tmp_path, environ)["open"]["code"] == 4


@pytest.mark.long
def test_breadth_is_set_beside_the_kernels_width(tmp_path, hopper):
    found = readings("e04_breadth", tmp_path, hopper, "--seconds", "1.2")
    assert found["sm_count"] == 132
    engine, sm = found["rows"][0]["engine_and_sm"][-1]
    assert sm == pytest.approx(engine / 2, abs=0.02)


def test_the_cost_of_watching_is_paired_with_nothing(tmp_path, hopper):
    found = readings("e13_sampler_cost", tmp_path, hopper, "--seconds", "0.3", "--rounds", "2")
    assert {len(figures) for figures in found["steps_per_s"].values()} == {2}
    assert set(found["steps_per_s"]) == {"nothing", "nothing again", "nvml", "gpm"}


def test_a_recording_has_both_sources_of_one_run(tmp_path, hopper):
    words = ("--model", "spin", "--minutes", "0.1", "--traces", str(tmp_path / "traces"))
    found = readings("record_training", tmp_path, hopper, *words)
    assert found == {"spin": {"nvml": "spin-nvml.jsonl", "gpm": "spin-gpm.jsonl"}}
    for source, metric in (("nvml", "gpu_util_ratio"), ("gpm", "breadth_ratio")):
        trace = open_trace(str(tmp_path / "traces" / f"spin-{source}.jsonl"))
        assert trace.share_series().metric == metric
        assert len(list(trace.points(trace.share_series()))) > 5
        assert trace.marks  # its steps


def test_without_a_framework_real_training_is_not_recorded(tmp_path, hopper):
    if importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is installed")
    done = ran("hardware.record_training", "-o", str(tmp_path / "x"), environ=hopper)
    assert (done.returncode, "PyTorch" in done.stdout) == (0, True)


def test_endings_are_not_tried_by_accident(environ):
    done = ran("hardware.e08_endings", environ=environ)
    assert (done.returncode, "--really" in done.stdout) == (0, True)


@pytest.mark.long
@pytest.mark.live_server
def test_a_share_that_is_too_narrow_slows_its_function_and_no_other(tmp_path, environ):
    for name in ("wide", "narrow"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "train_fn.py").write_text(work(40, cycles=40_000_000))  # 20 SMs, 20 ms
    path = tmp_path / "found.json"
    done = ran(
        "colocation", f"{tmp_path / 'wide'}:90", f"{tmp_path / 'narrow'}:6", "--rounds", "1",
        "--seconds", "2.0", "--warm-up", "0.3", "--json", str(path), environ=environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert path.exists(), done.stdout
    told = json.loads(path.read_text())["report"]
    # 6 % of 132 SMs are 6 (steps of two), for 20 that are needed: 3.3 times as long, and less than
    # that where other work holds the CPUs; what it does to both functions alike cancels
    slowdown = told["at their shares"]["slowdown"]
    assert slowdown["narrow"] > 1.4 * slowdown["wide"]
    unlimited = told["MPS, no limits"]["slowdown"]
    assert unlimited["narrow"] < 1.4 * unlimited["wide"]


def test_the_report_is_of_parts_of_the_own_full_speed():
    pair = [Function("a", "", 50), Function("b", "", 50)]
    found = {
        "alone": [[10.0, 100.0]],
        "at their shares": [[8.0, 90.0]],
        "MPS, no limits": [[7.0, 80.0]],
        "time-slicing": [[5.0, 50.0]],
    }
    told = report(pair, found)
    assert told["at their shares"]["throughput"] == pytest.approx(1.7)  # 0.8 + 0.9
    assert told["at their shares"]["slowdown"] == pytest.approx({"a": 1.25, "b": 10 / 9})
    assert told["time-slicing"]["throughput"] == pytest.approx(1.0)


@pytest.mark.parametrize("words", [["nowhere:50", "nowhere:50"], ["x"], ["a:0", "b:5"]])
def test_what_is_no_function_is_refused(words):
    with pytest.raises(Lacking):
        functions(words)
