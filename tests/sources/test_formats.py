"""What each tool's own format gives, and what is recognised and refused with a way on."""

import json
import re
import tempfile
from pathlib import Path

import pytest

from jupyter_gpupredict.core.errors import Malformed, TraceError
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.sources.reading import read_traces

SAMPLES = Path(__file__).parents[1] / "data" / "recordings"
MIB = 1 << 20


def read(text, **options):
    with tempfile.TemporaryFile() as file:
        file.write(text if isinstance(text, bytes) else text.encode())
        file.seek(0)
        return read_traces(file, "x", ReadOptions(device="all", **options))


def sample(name, **options):
    return read((SAMPLES / name).read_bytes(), **options)


def column(trace, metric):
    series = next(one for one in trace.series if one.metric == metric)
    return [values[trace.series.index(series)] for _, values in trace.rows]


def times(trace):
    return [time_s for time_s, _ in trace.rows]


def test_nvidia_smi_dmon():
    first, second = sample("dmon.log")
    shares = [None if k == 3 else (88 + k % 3) * 0.01 for k in range(12)]
    assert column(first, "gpu_util_ratio") == shares
    assert column(first, "memory_used_bytes") == [(9000 + k) * MIB for k in range(12)]
    assert column(second, "power_watts") == [50.0] * 12
    assert times(first) == [float(k) for k in range(12)]
    assert [one.devices[0].index for one in (first, second)] == [0, 1]


def test_dmon_by_the_time_of_day_by_none_and_with_commas():
    text = (SAMPLES / "dmon.log").read_text()
    by_time = read(
        text.replace(" 20260105 ", " ").replace("#Date ", "#").replace("#YYYYMMDD ", "#")
    )
    assert times(by_time[0]) == [float(k) for k in range(12)]
    timeless = re.sub(r"(?m)^ 20260105   \S+|#Date +Time|#YYYYMMDD +HH:MM:SS", "", text)
    timeless = timeless.replace("        gpu", "# gpu").replace("    Idx ", "# Idx ")
    found = read(timeless)
    assert times(found[0]) == [float(k) for k in range(12)]
    assert "1 s apart" in found[0].notes[0]
    assert times(read(timeless, interval_s=5.0)[1])[:3] == [0.0, 5.0, 10.0]
    by_day = "# Date gpu sm\n# YYYYMMDD Idx %\n" + "20260105 0 50\n" * 3
    assert times(read(by_day)[0]) == [0.0, 1.0, 2.0]
    commas = "#gpu, sm, mem\n#Idx, %, %\n0, 50, 1\n0, 60, 1\n0, 70, 1\n"
    assert column(read(commas)[0], "gpu_util_ratio") == [0.5, 60 * 0.01, 70 * 0.01]
    with pytest.raises(Malformed, match="holds no sm") as caught:
        read("# gpu pwr\n# Idx W\n0 50\n")
    assert "-s um" in caught.value.hint


def test_dcgmi_dmon():
    first, second = sample("dcgmi.log")
    assert column(first, "gpu_util_ratio") == [0.8] * 12
    assert (
        column(second, "gr_active_ratio")
        == [pytest.approx(0.1)] * 2 + [None] + [pytest.approx(0.1)] * 9
    )
    assert column(first, "breadth_ratio") == [pytest.approx(0.5)] * 12
    assert first.devices[0].memory_total_bytes == 24000 * MIB
    assert "taken to be 1 s apart" in first.notes[0]


def test_tables_of_plain_nvidia_smi():
    first, second = sample("smi-screen.txt")
    assert column(first, "gpu_util_ratio") == [(90 + k) * 0.01 for k in range(6)]
    assert column(second, "memory_used_bytes") == [10.0 * MIB] * 6
    assert column(second, "power_watts") == [249.0] * 6
    assert times(first) == [5.0 * k for k in range(6)]
    assert first.devices[0].name == "NVIDIA A100-SXM4-40GB"
    assert first.devices[0].memory_total_bytes == 40960 * MIB
    text = (SAMPLES / "smi-screen.txt").read_text()
    with pytest.raises(Malformed, match="one look of nvidia-smi"):
        read(text[: text.index("\nMon", 9)])
    with pytest.raises(Malformed, match="without a time"):
        read(text.replace("Mon Jan", "Some"))


def test_gpustat():
    first, second = sample("gpustat.txt")
    assert column(first, "gpu_util_ratio") == [(90 + k % 3) * 0.01 for k in range(8)]
    assert column(second, "gpu_util_ratio") == [None] * 8
    assert column(first, "memory_used_bytes") == [(30000 + k) * MIB for k in range(8)]
    assert column(first, "power_watts") == [250.0] * 8
    coloured = (SAMPLES / "gpustat.txt").read_text().replace("[0]", "\x1b[36m[0]\x1b[0m")
    assert column(read(coloured)[0], "gpu_util_ratio") == column(first, "gpu_util_ratio")


@pytest.mark.parametrize("indent", [None, 4])
def test_gpustat_json(indent):
    def look(k):
        gpu = {
            "index": 0, "uuid": "GPU-a", "name": "NVIDIA A10", "utilization.gpu": 50 + k,
            "power.draw": 99, "memory.used": 100, "memory.total": 24000, "processes": [{"pid": 1}],
        }  # fmt: skip
        stamp = f"2026-01-05T09:00:{k:02d}.250000"
        return json.dumps({"hostname": "h", "query_time": stamp, "gpus": [gpu]}, indent=indent)

    (found,) = read("\n".join([*map(look, range(5)), ""]))
    assert column(found, "gpu_util_ratio") == [(50 + k) * 0.01 for k in range(5)]
    assert found.devices[0].uuid == "GPU-a"
    with pytest.raises(Malformed, match="one look of gpustat"):
        read(look(0) + "\n")


def test_nvitop():
    first, second = sample("nvitop.csv")
    assert column(first, "gpu_util_ratio") == [(60.5 + k % 3) * 0.01 for k in range(10)]
    assert column(first, "memory_used_bytes") == [(3000.25 + k) * MIB for k in range(10)]
    assert [one.devices[0].index for one in (first, second)] == [3, 5]
    assert first.devices[0].memory_total_bytes == 40960 * MIB
    assert times(first) == [float(k) for k in range(10)]


def test_wandb():
    first, second = sample("wandb.jsonl")
    assert column(first, "gpu_util_ratio") == [(60 + k % 3) * 0.01 for k in range(10)]
    assert column(second, "memory_used_bytes") == [1e6] * 10
    assert times(first) == [15.0 * k for k in range(10)]
    assert "average" in first.notes[0]
    table = "_runtime,_timestamp,system.gpu.0.gpu,system.gpu.0.memoryAllocatedBytes\n" + "".join(
        f"{15 * k},{1767603600 + 15 * k},{50 + k},5000000000\n" for k in range(4)
    )
    (found,) = read(table)
    assert column(found, "gpu_util_ratio") == [(50 + k) * 0.01 for k in range(4)]
    chart = 'Relative Time (Process),"run - system.gpu.0.gpu","run - system.gpu.0.gpu__MAX"\n' + (
        "".join(f"{15 * k},{50 + k},99\n" for k in range(4))
    )
    assert column(read(chart)[0], "gpu_util_ratio") == [(50 + k) * 0.01 for k in range(4)]
    with pytest.raises(Malformed, match="2 runs"):
        read("Relative Time (Process),a - system.gpu.0.gpu,b - system.gpu.0.gpu\n1,2,3\n2,3,4\n")


def test_prometheus():
    first, second = sample("prometheus.json")
    assert column(first, "gpu_util_ratio") == [(60 + k % 3) * 0.01 for k in range(8)]
    assert column(second, "breadth_ratio") == [0.5] * 8
    assert first.devices[0].memory_total_bytes == 40000 * MIB
    assert first.devices[0].label == "GPU 0 (NVIDIA A100)"
    text = (SAMPLES / "prometheus.json").read_text()
    with pytest.raises(Malformed, match="one moment") as caught:
        read(text.replace("matrix", "vector"))
    assert "query_range" in caught.value.hint
    with pytest.raises(Malformed, match="not an answer of Prometheus"):
        read(text[:-40])
    with pytest.raises(Malformed, match="no utilization"):
        read(text.replace("DCGM_FI_DEV_GPU_UTIL", "x").replace("DCGM_FI_PROF", "y"))


FOREIGN = {
    "pmon": "# gpu         pid   type     sm    mem    enc    dec    command\n    0  42  C  1",
    "codecarbon": "timestamp,project_name,run_id,duration,emissions,emissions_rate,gpu_power\n",
    "MLflow": "1767603600123 95.5 0\n1767603610123 96.5 1\n",
    "TensorBoard": b"\x18\0\0\0\0\0\0\0\xa3\x7fK\x22\x09\0\0\xc0\xd0\xd5A\x1a\x0dbrain.Event:2\xec",
    "tegrastats": "01-05-2026 09:00:00 RAM 2448/3964MB (lfb 1x4MB) CPU [1%@1] GR3D_FREQ 99%\n",
    "nvidia-smi -q": '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log>\n<nvidia_smi_log>\n',
    "single scrape": "# HELP DCGM_FI_DEV_GPU_UTIL x\n# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n",
    "zip": b"PK\x03\x04abc",
    "notebook": '{\n "cells": []}',
    "Parquet": b"PAR1\0\0",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_recognised_is_named_with_a_way_on(what):
    with pytest.raises(Malformed, match=what) as caught:
        read(FOREIGN[what])
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_what_is_unknown_lists_what_can_be_read():
    with pytest.raises(TraceError) as caught:
        read("hello world\n1 2 3\n")
    for tool in ("nvidia-smi", "dcgmi dmon", "gpustat", "nvitop", "Weights & Biases", "Prometheus"):
        assert tool in caught.value.hint
