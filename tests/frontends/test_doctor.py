"""The page that tells what works here."""

import json

from jupyter_gpupredict.frontends import doctor


def test_every_line_that_fails_tells_a_way_out(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    lines = {line.name: line for line in doctor.examine()}
    assert lines["source cpu"].works
    assert not lines["source nvml"].works
    assert lines["source nvml"].found
    assert lines["CUDA_VISIBLE_DEVICES"].found == "''"
    assert all(line.found for line in lines.values())
    assert "NO  source nvml" in doctor.report()
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
