"""The scripts for real hardware: without it they say so; the stand-ins answer as they should."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.colocation import Function, functions, report
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import Lacking
from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import FakeGpu, Script

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(p.stem for p in (ROOT / "benchmarks" / "hardware").glob("e*.py"))


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


def test_percentages_become_sms(tmp_path, environ):
    found = readings("e06_percentages", tmp_path, environ, "--step", "33")["sms"]
    # 132 SMs in steps of two, rounded down: 1 % is 1.32 and so none at all, 34 % is 44.88
    assert {share: one["sm_count"] for share, one in found.items()} == {
        "1": None, "34": 44, "67": 88, "100": 132, "none": 132,
    }  # fmt: skip
    assert found["34"]["value"]["after_context"] == [0, 44]


def test_the_environment_counts_until_cuda_starts(tmp_path, environ):
    found = readings("e07_environment", tmp_path, environ)
    sms = {when: found[when]["value"]["sms"] for when in ("at_start", "after_load", "after_init")}
    assert sms == {"at_start": 52, "after_load": 52, "after_init": 132}
    assert found["after_init"]["value"]["detected"]["loaded"] == ""


def test_a_client_is_found_by_its_number(tmp_path, environ):
    found = readings("e14_pids", tmp_path, environ)
    assert [one["pid"] for one in found["ps"]] == [found["client"]]
    assert found["terminate_client"] == "done"


def test_endings_are_not_tried_by_accident(environ):
    done = ran("hardware.e08_endings", environ=environ)
    assert (done.returncode, "--really" in done.stdout) == (0, True)


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
