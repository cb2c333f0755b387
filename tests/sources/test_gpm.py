"""GPM through the real nvidia-ml-py and the stand-in library: breadth apart from busy time."""

import ctypes
import math

import pytest

from jupyter_gpupredict.core.errors import SourceLost, SourceUnavailable, TelemetryError
from jupyter_gpupredict.core.metrics import REASONS
from jupyter_gpupredict.core.series import SourceOptions
from jupyter_gpupredict.sources.telemetry.nvml import GpmSource
from tests.fake_nvml.scenario import FakeGpu, Script
from tests.sources.test_nvml import CODES, GONE, values

HOPPER = {"gpm": True, "cores": (16896, "9.0")}


@pytest.fixture
def source(driver):
    made = GpmSource(SourceOptions(environ={}), driver.clock)
    yield made
    made.close()
    driver.library.fake_nvml_snapshots.restype = ctypes.c_int
    assert driver.library.fake_nvml_snapshots() == 0, "snapshots must be freed"


def test_the_device_is_described_with_its_sms(driver, source):
    driver.play(Script([FakeGpu(**HOPPER)]))
    info = source.open()
    assert info.source == "gpm"
    assert info.devices[0].sm_count == 132  # 16896 cores, 128 an SM
    assert (info.share.metric, info.duty.metric) == ("breadth_ratio", "gr_active_ratio")
    assert [one.series.metric for one in info.also] == ["gr_active_ratio"]
    assert info.period_s == 0.5


def test_breadth_is_sm_activity_over_busy_time(driver, source):
    # busy 80 % of the time, on 30 % of the SMs: SM activity is 24 %
    driver.play(Script([FakeGpu(points=[(0.0, 80.0, 1000.0, 30.0)], **HOPPER)]))
    source.open()
    driver.tick(0.5)
    batch = source.read(slow=True)
    assert values(batch, "gr_active_ratio") == [pytest.approx(0.8)]
    assert values(batch, "sm_active_ratio") == [pytest.approx(0.24)]
    assert values(batch, "breadth_ratio") == [pytest.approx(0.3)]
    assert values(batch, "memory_used_bytes") == [1000 * 2**20]
    assert values(batch, "power_watts") == [500.0]
    assert math.isnan(values(batch, "dram_active_ratio")[0])  # the driver says NaN


def test_a_reading_is_the_mean_over_exactly_its_time(driver, source):
    driver.play(Script([FakeGpu(points=[(0.0, 0.0, 1.0), (1.25, 100.0, 1.0, 50.0)], **HOPPER)]))
    source.open()
    seen = []
    for _ in range(4):
        driver.tick(0.5)
        seen += values(source.read(slow=False), "gr_active_ratio")
    assert seen == [0.0, 0.0, pytest.approx(0.5, abs=0.01), 1.0]


def test_an_idle_engine_has_no_breadth_and_is_known(driver, source):
    driver.play(Script([FakeGpu(points=[(0.0, 4.0, 1.0, 90.0)], **HOPPER)]))
    source.open()
    driver.tick(0.5)
    batch = source.read(slow=False)
    assert values(batch, "gr_active_ratio") == [pytest.approx(0.04)]
    assert math.isnan(values(batch, "breadth_ratio")[0])


def test_snapshots_are_never_nearer_than_the_driver_allows(driver, source):
    driver.play(Script([FakeGpu(**HOPPER)]))
    source.open()
    driver.tick(0.05)
    assert values(source.read(slow=False), "breadth_ratio") == []
    driver.tick(0.06)
    assert values(source.read(slow=False), "breadth_ratio") == [1.0]


def test_a_failed_snapshot_leaves_no_value_and_the_next_begins_anew(driver, source):
    driver.play(Script([FakeGpu(**HOPPER)]))
    source.open()
    driver.tick(0.5)
    driver.fail("nvmlGpmSampleGet", 10)
    batch = source.read(slow=False)
    assert [one.reason for one in batch.unavailable] == ["timed_out"]
    driver.heal()
    driver.tick(0.5)
    assert math.isnan(values(source.read(slow=False), "gr_active_ratio")[0])
    driver.tick(0.5)
    assert values(source.read(slow=False), "gr_active_ratio") == [0.5]


def test_a_device_without_it_is_refused_so_that_auto_goes_on(driver, source):
    driver.play(Script([FakeGpu()]))
    with pytest.raises(SourceUnavailable) as caught:
        source.open()
    assert caught.value.reason == "not_supported"


CUT = [
    FakeGpu(uuid="GPU-aaaa", gpm=True),
    FakeGpu(points=[(0.0, 50.0, 10.0, 40.0)], uuid="MIG-0001", instance=(0, 3, 16), total_mib=9856),
]


def test_an_instance_of_a_cut_gpu(driver, source):
    driver.play(Script(CUT))
    info = source.open()
    assert (info.devices[0].uuid, info.devices[0].sm_count) == ("MIG-0001", 16)
    driver.tick(0.5)
    batch = source.read(slow=True)
    assert values(batch, "breadth_ratio") == [pytest.approx(0.4)]
    assert values(batch, "memory_used_bytes") == [10 * 2**20]
    told = {one.series.metric: one.reason for one in batch.unavailable}
    assert told["power_watts"] == "mig"


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetGpuInstanceId",
        "nvmlDeviceGetDeviceHandleFromMigDeviceHandle",
        "nvmlGpmMigSampleGet",
    ],
)
@pytest.mark.parametrize("code", CODES)
def test_every_code_at_an_instance_is_a_clear_refusal(driver, source, function, code):
    driver.play(Script(CUT, failures=[(function, code)]))
    with pytest.raises(TelemetryError) as caught:
        source.open()
    assert caught.value.reason in REASONS


def test_a_parent_that_may_not_be_read_leaves_its_instances(driver, source):
    driver.play(Script(CUT, failures=[("nvmlDeviceGetMigMode", 4)]))
    assert source.open().devices[0].uuid == "MIG-0001"


def test_several_devices_have_both_shares_each(driver):
    gpus = [FakeGpu(uuid=f"GPU-{name}", gpm=True) for name in ("aaaa", "bbbb")]
    driver.play(Script(gpus))
    source = GpmSource(SourceOptions(device="0,1", environ={}), driver.clock)
    info = source.open()
    also = [(one.series.metric, one.series.device, one.duty is None) for one in info.also]
    assert also == [
        ("gr_active_ratio", "GPU-aaaa", True),
        ("breadth_ratio", "GPU-bbbb", False),
        ("gr_active_ratio", "GPU-bbbb", True),
    ]
    source.close()
    assert driver.library.fake_nvml_snapshots() == 0


@pytest.mark.parametrize("function", ["nvmlGpmQueryDeviceSupport", "nvmlGpmSampleAlloc"])
@pytest.mark.parametrize("code", CODES)
def test_every_code_while_opening_is_a_clear_refusal(driver, source, function, code):
    driver.play(Script([FakeGpu(**HOPPER)], failures=[(function, code)]))
    with pytest.raises(TelemetryError) as caught:
        source.open()
    assert function in str(caught.value)


@pytest.mark.parametrize("function", ["nvmlGpmSampleGet", "nvmlGpmMetricsGet"])
@pytest.mark.parametrize("code", CODES)
def test_every_code_in_mid_run_costs_the_metric_or_loses_the_device(driver, source, function, code):
    driver.play(Script([FakeGpu(**HOPPER)]))
    source.open()
    driver.tick(0.5)
    driver.fail(function, code)
    if code in GONE:
        with pytest.raises(SourceLost):
            source.read(slow=True)
        return
    batch = source.read(slow=True)
    assert values(batch, "breadth_ratio") == []
    assert values(batch, "memory_used_bytes") == [1000 * 2**20]
    assert len(batch.unavailable) == 1
