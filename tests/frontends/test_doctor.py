"""The page that tells what works here."""

import importlib.util
import json

import pytest

from jupyter_gpupredict.core.devices import Host
from jupyter_gpupredict.frontends import doctor
from jupyter_gpupredict.sources import tracers
from jupyter_gpupredict.sources.driver.processes import HostWatch
from jupyter_gpupredict.sources.tracers import CuptiTracer
from tests.fake_nvml.scenario import FakeGpu, Script


def test_every_line_that_fails_tells_a_way_out(monkeypatch, driver):
    driver.fail("*", 9)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    lines = {line.name: line for line in doctor.examine()}
    assert lines["source cpu"].works
    assert not lines["source nvml"].works
    assert lines["source nvml"].found
    assert lines["CUDA_VISIBLE_DEVICES"].found == "''"
    assert all(line.found for line in lines.values())
    assert lines["source nvml"].level == "off"  # nothing that was asked for needs it
    assert "-   source nvml            No NVIDIA driver on this server" in doctor.report()
    assert all(line.fix for line in lines.values() if line.level == "fails")
    assert {row["name"] for row in json.loads(doctor.report_json())} == set(lines)


def test_a_kernel_release_that_cannot_be_used_is_named(monkeypatch):
    known = {"ipykernel": "7.0.1"}
    monkeypatch.setattr(doctor, "_version", lambda package: known.get(package, ""))
    lines = {line.name: line for line in doctor.examine()}
    assert not lines["ipykernel"].works
    assert "upgrade" in lines["ipykernel"].fix or "-U" in lines["ipykernel"].fix
    assert lines["bokeh"].fix == "pip install bokeh"


def test_the_other_package_of_that_name(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda package: "12.0.0")
    lines = {line.name: line for line in doctor.examine()}
    assert "nvidia-ml-py" in lines["pynvml"].fix


def test_looking_changes_nothing(data_dir):
    doctor.examine()
    assert not data_dir.exists() or not list(data_dir.rglob("*.jsonl"))


def test_a_store_that_cannot_be_written_is_told(data_dir):
    data_dir.write_text("a file where a folder should be")
    line = next(line for line in doctor.examine() if line.name == "session store")
    assert not line.works


@pytest.fixture
def seen(driver, monkeypatch):
    """Looks with a driver whose clock moves while the probe waits."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver.library.fake_nvml_set_time(-1.0)

    def look(*gpus, failures=()):
        driver.play(Script(list(gpus), failures=list(failures), start_s=1.0))
        return {line.name: line for line in doctor.examine()}

    yield look
    driver.tick(0.0)


def test_what_each_source_gives_is_listed(seen, monkeypatch):
    monkeypatch.setattr("jupyter_gpupredict.sources.driver.processes.sees_host_pids", lambda: True)
    lines = seen(FakeGpu(gpm=True), FakeGpu(uuid="GPU-bbbb", gpm=True))
    assert "GPU-bbbb" in lines["source nvml"].found
    assert lines["nvml driver"].found == "580.00"
    assert lines["nvml metrics"].works
    assert {
        "busy time (time share)",
        "compute processes of others",
        "device memory",
        "power",
    } <= set(lines["nvml metrics"].found.split(", "))
    assert "SM share while busy" in lines["gpm metrics"].found


@pytest.mark.parametrize(
    ("gpu", "driver_version", "serves"),
    [((6912, "8.0"), "580.00", True), ((5120, "7.0"), "580.00", False),
     ((6912, "8.0"), "570.12", False)],
)  # fmt: skip
def test_what_could_record_kernels_is_what_the_gpu_allows(
    seen, monkeypatch, gpu, driver_version, serves
):
    """cupti-python 13 works with neither a V100 nor a driver of CUDA 12."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *of: name == "cupti" or real(name, *of)
    )
    monkeypatch.setattr(tracers, "tracers", lambda: (CuptiTracer(),))
    monkeypatch.setattr(tracers.Nvml, "driver_version", lambda _: driver_version)
    line = seen(FakeGpu(cores=gpu))["kernel recording"]
    assert (line.works, line.found.partition(":")[0]) == (serves, "CUPTI" if serves else "nothing")
    assert "%gpupredict kernels FILE" in line.fix


def test_what_has_no_figure_is_not_given(seen, monkeypatch):
    """In a container nobody can tell whose the processes are: there is no figure, only NaN."""
    monkeypatch.setattr("jupyter_gpupredict.sources.driver.processes.sees_host_pids", lambda: False)
    given = seen(FakeGpu(processes=[(1, 5000)]))["nvml metrics"].found.split(", ")
    assert "device memory" in given
    assert "compute processes of others" not in given


def test_what_a_device_lacks_is_listed_with_its_reason(seen):
    lines = seen(FakeGpu(), failures=[("nvmlDeviceGetPowerUsage", 4)])
    assert not lines["nvml metrics"].works
    assert lines["nvml metrics"].found.startswith("no power (no_permission); gives ")
    assert lines["source gpm"].found == "This GPU does not count SM activity"
    assert "gpm metrics" not in lines


def test_instances_are_listed_and_refused_where_they_cannot_be_measured(seen):
    lines = seen(FakeGpu(), FakeGpu(uuid="MIG-0001", instance=(0, 0, 14)))
    assert "MIG instance" in lines["source nvml"].found
    assert "--source gpm" in lines["source nvml"].fix


@pytest.mark.parametrize(
    ("mark", "environ", "release", "expected"),
    [
        ("", {}, "6.1.0", ("", False)),
        (".dockerenv", {}, "6.1.0", ("Docker", False)),
        ("run/.containerenv", {}, "6.1.0", ("Podman", False)),
        ("", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "6.1.0", ("Kubernetes", False)),
        ("", {}, "5.15.1-Microsoft-standard-WSL2", ("", True)),
    ],
)
def test_what_kind_of_machine_it_is(tmp_path, mark, environ, release, expected):
    if mark:
        (tmp_path / mark).parent.mkdir(exist_ok=True)
        (tmp_path / mark).touch()
    found = HostWatch(tmp_path, release, environ).read()
    assert (found.container, found.wsl) == expected


def test_a_machine_that_hides_processes_is_told(monkeypatch):
    monkeypatch.setattr(doctor.run, "host", lambda: Host("Docker", host_pids=False, wsl=True))
    lines = {line.name: line for line in doctor.examine()}
    assert not lines["process numbers"].works
    assert "--pid=host" in lines["process numbers"].fix
    assert not lines["WSL"].works


def test_front_end_extensions_are_looked_for_where_jupyterlab_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    for name in doctor.WIDGETS:
        (tmp_path / "labextensions" / name).mkdir(parents=True)
        (tmp_path / "labextensions" / name / "package.json").write_text("{}")
    lines = {line.name: line for line in doctor.examine()}
    assert lines["front-end extensions"].works
    monkeypatch.setattr(doctor, "WIDGETS", ("not-there",))
    lines = {line.name: line for line in doctor.examine()}
    assert "not-there" in lines["front-end extensions"].found
