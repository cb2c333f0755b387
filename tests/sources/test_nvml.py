"""The real nvidia-ml-py against the stand-in library."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_gpupredict.core.errors import (
    ConfigError,
    PermissionDenied,
    SourceLost,
    SourceUnavailable,
    TelemetryError,
)
from jupyter_gpupredict.core.metrics import REASONS
from jupyter_gpupredict.core.series import SourceOptions
from jupyter_gpupredict.mps.directory import until
from jupyter_gpupredict.sources.driver import inventory, nvml
from jupyter_gpupredict.sources.driver.processes import DeviceProcesses
from jupyter_gpupredict.sources.telemetry.nvml import NvmlSource
from tests.fake_nvml.scenario import UUID, FakeGpu, Script

CODES = [
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    9,
    10,
    12,
    13,
    15,
    16,
    17,
    18,
    19,
    20,
    21,
    23,
    25,
    26,
    27,
    28,
    29,
    999,
]
GONE = (1, 9, 15, 16, 18, 28)


@pytest.fixture
def source(driver):
    made = NvmlSource(SourceOptions(environ={}), driver.clock)
    yield made
    made.close()


def values(batch, metric):
    return [v for r in batch.readings if r.series.metric == metric for v in r.values]


def times(batch, metric="gpu_util_ratio"):
    return [t for r in batch.readings if r.series.metric == metric for t in r.times_s]


def test_the_device_is_described(driver, source):
    driver.tick(30.0)
    info = source.open()
    assert info.source == "nvml"
    assert (info.devices[0].uuid, info.devices[0].name) == (UUID, "NVIDIA H200")
    assert info.devices[0].memory_total_bytes == 143771 * 2**20
    assert info.period_s == pytest.approx(0.2)
    assert info.buffer_s == pytest.approx(19.8)  # a hundred samples, 0.2 s apart
    assert dict(info.versions)["driver"] == "580.00"
    assert not info.simulated


def test_every_reading_of_the_buffer_arrives_once(driver, source):
    driver.play(Script([FakeGpu(points=[(0.0, 0.0, 100.0), (10.0, 80.0, 2000.0)])]))
    driver.tick(5.0)
    source.open()
    driver.tick(10.0)  # a thread that was held up for ten seconds
    batch = source.read(slow=True)
    # samples at 5.2 .. 15.0: 50 of them, 24 before t = 10
    assert len(values(batch, "gpu_util_ratio")) == 50
    assert values(batch, "gpu_util_ratio") == [0.0] * 24 + [0.8] * 26
    assert times(batch)[-1] == pytest.approx(driver.clock.now_s)
    assert values(batch, "memory_used_bytes") == [2000 * 2**20]
    assert values(batch, "power_watts") == [500.0]
    assert values(source.read(slow=False), "gpu_util_ratio") == []


def test_stamps_of_another_clock_land_on_ours(driver, source):
    driver.play(Script([FakeGpu(offset_s=-3600.0)]))
    driver.tick(10.0)
    source.open()
    driver.tick(2.0)
    stamps = times(source.read(slow=False))
    assert stamps[-1] == pytest.approx(driver.clock.now_s)
    assert stamps == sorted(stamps)


def test_a_buffer_that_overran_leaves_a_gap(driver, source):
    driver.play(Script([FakeGpu(depth=10)]))
    driver.tick(10.0)
    source.open()
    driver.tick(60.0)
    batch = source.read(slow=False)
    assert len(values(batch, "gpu_util_ratio")) == 10
    assert [gap.cause for gap in batch.gaps] == ["buffer_overrun"]


def test_an_idle_device_whose_buffer_runs_dry_is_no_dead_sampler(driver, source):
    driver.play(Script([FakeGpu(points=[(0.0, 50.0, 1.0), (10.0, 0.0, 1.0)], dry=True)]))
    driver.tick(9.0)
    source.open()
    seen = []
    for _ in range(20):
        driver.tick(1.0)
        seen += values(source.read(slow=False), "gpu_util_ratio")
    assert seen[-1] == 0.0
    assert len([v for v in seen if v == 0.0]) >= 8


def test_without_a_buffer_it_polls_and_says_so(driver, source):
    driver.play(Script(failures=[("nvmlDeviceGetSamples", 3)]))
    info = source.open()
    assert info.buffer_s is None
    assert any("polled" in note for note in info.notes)
    driver.tick(0.2)
    assert values(source.read(slow=False), "gpu_util_ratio") == [0.5]


def test_a_blank_value_of_the_driver_is_missing_not_a_number(driver, source):
    driver.play(Script([FakeGpu(points=[(0.0, 4294967.0, 1.0)])]))
    driver.tick(1.0)
    source.open()
    driver.tick(1.0)
    assert all(math.isnan(v) for v in values(source.read(slow=False), "gpu_util_ratio"))


def test_memory_of_this_process_tree_is_told_apart(driver, source):
    driver.play(Script([FakeGpu(processes=[("self", 700), (1, 5000)])]))
    source.open()
    driver.tick(1.0)
    assert values(source.read(slow=True), "process_memory_used_bytes") == [700 * 2**20]


def test_no_own_process_is_nan_never_zero(driver, source):
    driver.play(Script([FakeGpu(processes=[(1, 5000)])]))
    source.open()
    driver.tick(1.0)
    assert all(math.isnan(v) for v in values(source.read(slow=True), "process_memory_used_bytes"))


def test_processes_are_counted_as_ours_or_not(driver, source):
    driver.play(Script([FakeGpu(processes=[("self", 700), (1, 5000), (2, 10)])]))
    source.open()
    driver.tick(1.0)
    batch = source.read(slow=True)
    assert values(batch, "own_process_count") == [1.0]
    assert values(batch, "other_process_count") == [2.0]


def test_a_child_on_the_device_is_ours(driver, source):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        driver.play(Script([FakeGpu(processes=[("self", 700), (child.pid, 40)])]))
        source.open()
        driver.tick(1.0)
        batch = source.read(slow=True)
    finally:
        child.communicate(b"\n")
    assert values(batch, "own_process_count") == [2.0]
    assert values(batch, "process_memory_used_bytes") == [740 * 2**20]


def test_the_process_tree_is_walked_only_when_the_device_lists_others():
    class Tree:
        walks = 0

        def walk(self, now_s):
            self.walks += 1
            return now_s != 2.0  # a moment after the last walk it refuses

        def pids(self):
            return frozenset({7})

    class Listing:
        pids = (7,)

        def process_memory_bytes(self, uuid):
            return dict.fromkeys(self.pids, 1.0)

        def mps_pids(self, uuid):
            return frozenset()

    tree, listing = Tree(), Listing()
    users = DeviceProcesses(listing, "GPU-1")
    walks = []
    for now_s in (1.0, 1.5, 2.0, 3.0, 4.0):
        listing.pids = (7,) if now_s < 2.0 else (7, 8)
        users.count((tree,), now_s)
        walks.append(tree.walks)
    assert walks == [1, 1, 2, 3, 3]


def test_what_our_processes_did_is_told_apart(driver, source):
    driver.play(Script([FakeGpu(processes=[("self", 700, 30), (1, 5000, 60)])]))
    driver.tick(1.0)
    source.open()
    seen = []
    for _ in range(3):
        driver.tick(1.0)
        seen += values(source.read(slow=True), "process_util_ratio")
    assert math.isnan(seen[0])  # what the driver kept from before is not this run's
    assert seen[1:] == [pytest.approx(0.3)] * 2


def test_a_process_of_ours_that_does_nothing_is_idle_not_missing(driver, source):
    driver.play(Script([FakeGpu(processes=[("self", 700), (1, 5000, 60)])]))
    source.open()
    driver.tick(1.0)
    source.read(slow=True)
    driver.tick(1.0)
    assert values(source.read(slow=True), "process_util_ratio") == [0.0]


@pytest.mark.parametrize("ours", [("self", 700, "mps"), (1, 700, 90)])
def test_work_that_cannot_be_laid_to_us_is_missing(driver, source, ours):
    """Through MPS the driver sees the server at work; and nothing of ours may be there."""
    driver.play(Script([FakeGpu(processes=[ours])]))
    source.open()
    for _ in range(2):
        driver.tick(1.0)
        batch = source.read(slow=True)
    assert all(math.isnan(v) for v in values(batch, "process_util_ratio"))


def test_that_mps_hides_our_work_is_told_once(driver, source):
    driver.play(Script([FakeGpu(processes=[("self", 700, "mps")])]))
    source.open()
    told = []
    for _ in range(3):
        driver.tick(1.0)
        batch = source.read(slow=True)
        assert values(batch, "process_util_ratio") == []
        told += [(one.series.metric, one.reason) for one in batch.unavailable]
    assert told == [("process_util_ratio", "under_mps")]
    driver.play(Script([FakeGpu(processes=[("self", 700, "mps"), (1, 1, 1)])]))
    driver.tick(1.0)
    assert source.read(slow=True).unavailable == ()


def test_an_mps_server_is_nobody_on_the_gpu(driver, source, tmp_path, monkeypatch):
    """It is listed as a compute process, and works for clients, which are listed themselves."""
    monkeypatch.setattr("jupyter_gpupredict.sources.driver.processes.sees_host_pids", lambda: True)
    server = tmp_path / "nvidia-cuda-mps-server"
    server.symlink_to(shutil.which("sleep"))
    with subprocess.Popen([server, "60"]) as process:
        named = Path(f"/proc/{process.pid}/comm")
        assert until(lambda: named.read_text().startswith("nvidia-cuda-mps"), 5.0)
        driver.play(Script([FakeGpu(processes=[("self", 700, "mps"), (process.pid, 30), (1, 9)])]))
        source.open()
        driver.tick(1.0)
        batch = source.read(slow=True)
        process.kill()
    assert values(batch, "own_process_count") == [1.0]
    assert values(batch, "other_process_count") == [1.0]


def test_a_use_that_no_percent_can_be_is_dropped(driver, source):
    driver.play(Script([FakeGpu(processes=[("self", 700, 4294967)])]))
    source.open()
    for _ in range(2):
        driver.tick(1.0)
        batch = source.read(slow=True)
    assert values(batch, "process_util_ratio") == [0.0]


def test_throttling_is_read(driver, source):
    driver.play(Script([FakeGpu(throttle=0x24)]))
    source.open()
    driver.tick(1.0)
    assert values(source.read(slow=True), "throttle_bits") == [float(0x24)]


def test_several_devices_have_a_series_each(driver):
    script = Script(
        [
            FakeGpu(uuid="GPU-aaaa", points=[(0.0, 20.0, 100.0)], refresh_s=0.5),
            FakeGpu(uuid="GPU-bbbb", points=[(0.0, 90.0, 200.0)], refresh_s=0.2),
        ]
    )
    driver.play(script)
    driver.tick(10.0)
    source = NvmlSource(SourceOptions(device="all", environ={}), driver.clock)
    info = source.open()
    assert [one.uuid for one in info.devices] == ["GPU-aaaa", "GPU-bbbb"]
    assert info.share.device == "GPU-aaaa"
    assert [(one.series.metric, one.series.device, one.memory.device) for one in info.also] == [
        ("gpu_util_ratio", "GPU-bbbb", "GPU-bbbb")
    ]
    assert info.period_s == pytest.approx(0.5)  # the slower one: none is called full too early
    driver.tick(1.0)
    readings = {
        (r.series.metric, r.series.device): r.values for r in source.read(slow=True).readings
    }
    assert readings["gpu_util_ratio", "GPU-aaaa"] == (0.2,) * 2
    assert readings["gpu_util_ratio", "GPU-bbbb"] == (0.9,) * 5
    assert readings["memory_used_bytes", "GPU-bbbb"] == (200 * 2**20,)
    source.close()


MIG = [
    FakeGpu(uuid="GPU-aaaa", name="NVIDIA A100"),
    FakeGpu(uuid="MIG-0001", name="NVIDIA A100 MIG 3g.20gb", instance=(0, 1, 42)),
    FakeGpu(uuid="MIG-0002", name="NVIDIA A100 MIG 1g.5gb", instance=(0, 4, 14)),
]


def test_a_cut_gpu_is_listed_as_its_instances(driver):
    driver.play(Script([*MIG, FakeGpu(uuid="GPU-bbbb", cores=(6912, "8.0"))]))
    door = nvml.Nvml()
    door.open()
    found = [(d.uuid, d.index, d.sm_count) for d in inventory.devices(door)]
    assert found == [("MIG-0001", 0, 42), ("MIG-0002", 0, 14), ("GPU-bbbb", 1, 108)]
    door.close()


def test_an_instance_without_utilization_says_so(driver, source):
    driver.play(Script(MIG))
    with pytest.raises(SourceUnavailable, match="MIG") as caught:
        source.open()
    assert caught.value.reason == "mig"


@pytest.mark.parametrize(
    "function", ["nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetMigDeviceHandleByIndex"]
)
@pytest.mark.parametrize("code", CODES)
def test_every_code_while_instances_are_listed_is_survived(driver, function, code):
    driver.play(Script([*MIG, FakeGpu(uuid="GPU-bbbb")], failures=[(function, code)]))
    source = NvmlSource(SourceOptions(environ={}), driver.clock)
    try:
        assert source.open().devices[0].uuid == "GPU-bbbb"
    except TelemetryError as error:
        assert error.reason in REASONS
    source.close()


@pytest.mark.parametrize("code", CODES)
def test_every_code_at_the_start_is_a_clear_refusal(driver, source, code):
    driver.play(Script(failures=[("nvmlInitWithFlags", code)]))
    with pytest.raises((SourceUnavailable, PermissionDenied)) as caught:
        source.open()
    assert caught.value.reason in REASONS
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetCount_v2",
        "nvmlDeviceGetHandleByIndex_v2",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetName",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetNumGpuCores",
        "nvmlDeviceGetCudaComputeCapability",
        "nvmlSystemGetDriverVersion",
        "nvmlDeviceGetSamples",
    ],
)
@pytest.mark.parametrize("code", CODES)
def test_every_code_while_opening_is_survived(driver, source, function, code):
    driver.play(Script(failures=[(function, code)]))
    try:
        info = source.open()
    except TelemetryError as error:
        assert error.reason in REASONS
    else:
        assert info.devices[0].uuid == UUID


@pytest.mark.parametrize(
    ("function", "metric"),
    [
        ("nvmlDeviceGetSamples", "gpu_util_ratio"),
        ("nvmlDeviceGetMemoryInfo_v2", "memory_used_bytes"),
        ("nvmlDeviceGetPowerUsage", "power_watts"),
        ("nvmlDeviceGetComputeRunningProcesses_v3", "process_memory_used_bytes"),
        ("nvmlDeviceGetProcessUtilization", "process_util_ratio"),
        ("nvmlDeviceGetCurrentClocksEventReasons", "throttle_bits"),
    ],
)
@pytest.mark.parametrize("code", CODES)
def test_every_code_in_mid_run_costs_one_metric_or_loses_the_device(
    driver, source, function, metric, code
):
    driver.play(Script([FakeGpu(processes=[("self", 700)])]))
    driver.tick(5.0)
    source.open()
    driver.fail(function, code)
    driver.tick(1.0)
    if code in GONE:
        with pytest.raises(SourceLost) as caught:
            source.read(slow=True)
        assert caught.value.reason in REASONS
        return
    batch = source.read(slow=True)
    told = [one for one in batch.unavailable if one.series.metric == metric]
    others = {r.series.metric for r in batch.readings} - {metric}
    assert others
    nothing_new = code == 6 and metric in ("gpu_util_ratio", "process_util_ratio")
    if not nothing_new and not values(batch, metric):
        assert [one.reason in REASONS for one in told] == [True]
        again = source.read(slow=True)
        assert not [one for one in again.unavailable if one.series.metric == metric]
    driver.heal()
    driver.tick(1.0)
    if code in (10, 17, 19, 20, 21, 23, 27, 29, 999):  # passing failures
        assert values(source.read(slow=True), metric)


def test_a_lost_device_that_returns_is_opened_again(driver, source):
    source.open()
    driver.fail("*", 15)
    driver.tick(1.0)
    with pytest.raises(SourceLost):
        source.read(slow=True)
    driver.heal()
    source.close()
    driver.tick(1.0)
    assert source.open().devices[0].uuid == UUID


@pytest.mark.parametrize(
    ("environ", "wanted", "expected"),
    [
        ({}, None, "GPU-aaaa"),
        ({}, "1", "GPU-bbbb"),
        ({}, "GPU-bb", "GPU-bbbb"),
        ({"CUDA_VISIBLE_DEVICES": "1"}, None, "GPU-bbbb"),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, "1", "GPU-aaaa"),
    ],
)
def test_one_of_several_devices(driver, environ, wanted, expected):
    driver.play(Script([FakeGpu(uuid="GPU-aaaa"), FakeGpu(uuid="GPU-bbbb")]))
    source = NvmlSource(SourceOptions(device=wanted, environ=environ), driver.clock)
    assert source.open().devices[0].uuid == expected
    source.close()


def test_a_wrong_device_is_refused_with_the_known_ones(driver):
    source = NvmlSource(SourceOptions(device="7", environ={}), driver.clock)
    with pytest.raises(ConfigError, match=UUID):
        source.open()


@pytest.mark.parametrize(
    ("gpus", "environ"), [([], {}), ([FakeGpu()], {"CUDA_VISIBLE_DEVICES": "-1"})]
)
def test_no_device(driver, gpus, environ):
    driver.play(Script(gpus))
    with pytest.raises(SourceUnavailable) as caught:
        NvmlSource(SourceOptions(environ=environ), driver.clock).open()
    assert caught.value.reason == "no_device"


def ask_in_a_fresh_process(code, **environ):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environ},
    )


OPEN = (
    "from jupyter_gpupredict.core.protocols import SystemClock\n"
    "from jupyter_gpupredict.core.series import SourceOptions\n"
    "from jupyter_gpupredict.sources.telemetry.nvml import NvmlSource\n"
    "try:\n    NvmlSource(SourceOptions(), SystemClock()).open()\n"
    "except Exception as error:\n    print(type(error).__name__, error.reason)\n"
)


def test_no_library_at_all():
    ran = ask_in_a_fresh_process(OPEN, LD_LIBRARY_PATH="")
    if "SourceUnavailable" not in ran.stdout:
        pytest.skip("this machine has an NVIDIA driver")
    assert ran.stdout.split() == ["SourceUnavailable", "no_driver"]


def test_another_package_named_pynvml(tmp_path):
    (tmp_path / "pynvml.py").write_text("# not the driver's binding\n")
    ran = ask_in_a_fresh_process(OPEN, PYTHONPATH=str(tmp_path))
    assert ran.stdout.split() == ["SourceUnavailable", "wrong_pynvml"]


def test_a_forked_child_leaves_the_parents_library_alone(driver):
    door = nvml.Nvml()
    door.open()
    pid = os.fork()
    if pid == 0:
        door.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert len(inventory.devices(door)) == 1
    door.close()
