"""`devices`, `status` and `doctor`, with the stand-in driver."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from jupyter_gpupredict.mps.directory import daemon_in, until
from tests.fake_mps import FOLDER
from tests.fake_nvml.scenario import UUID, FakeGpu, Script
from tests.frontends.server import traces

OTHER = "GPU-99999999-2222-3333-4444-555555555555"


async def test_every_device_with_who_uses_it(client, driver):
    driver.play(
        Script(
            gpus=[
                FakeGpu(processes=[("self", 2048), (4711, 1024, "mps"), (4712, 512, "mps")]),
                FakeGpu(uuid=OTHER, points=[(0.0, 0.0, 0.0)], total_mib=81559),
            ]
        )
    )
    status, found = await client.get("devices")
    assert (status, found["reason"], found["driver_version"]) == (200, "", "580.00")
    first, second = found["devices"]
    assert (first["uuid"], first["index"], second["uuid"], second["index"]) == (UUID, 0, OTHER, 1)
    assert first["utilization_ratio"] == 0.5
    assert first["memory_used_bytes"] == 1000 << 20
    assert first["memory_total_bytes"] == 143771 << 20
    assert first["power_watts"] == 350.0  # 100 W and 5 W a percent
    users = {one["pid"]: (one["memory_bytes"], one["mps"]) for one in first["processes"]}
    assert users[4711] == (1024 << 20, True)
    assert len(users) == 3
    assert sum(mps for _, mps in users.values()) == first["mps_clients"] == 2
    assert first["reasons"] == {}
    assert (second["utilization_ratio"], second["processes"], second["mps_clients"]) == (0.0, [], 0)


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetUtilizationRates", "utilization_ratio"),
        ("nvmlDeviceGetPowerUsage", "power_watts"),
        ("nvmlDeviceGetComputeRunningProcesses_v3", "processes"),
        ("nvmlDeviceGetMPSComputeRunningProcesses_v3", "mps_clients"),
    ],
)
@pytest.mark.parametrize(
    ("code", "reason"), [(3, "not_supported"), (4, "no_permission"), (999, "timed_out")]
)
async def test_a_missing_number_is_null_and_has_its_reason(
    client, driver, function, field, code, reason
):
    driver.fail(function, code)
    device = (await client.get("devices"))[1]["devices"][0]
    assert device[field] is None
    assert device["reasons"] == {field: reason}
    assert device["memory_used_bytes"] == 1000 << 20


async def test_a_blank_value_of_the_driver_is_no_utilization(client, driver):
    driver.play(Script(gpus=[FakeGpu(points=[(0.0, 200.0, 0.0)])]))
    device = (await client.get("devices"))[1]["devices"][0]
    assert (device["utilization_ratio"], device["reasons"]["utilization_ratio"]) == (
        None,
        "no_data_yet",
    )


async def test_without_a_driver_there_is_a_reason_and_everything_else_works(client, driver):
    driver.fail("*", 9)
    status, found = await client.get("devices")
    assert (status, found["devices"], found["reason"]) == (200, [], "no_driver")
    assert "nvidia-smi" in found["hint"]
    about = (await client.get("status"))[1]
    assert (about["nvml"]["works"], about["nvml"]["reason"]) == (False, "no_driver")
    assert (await client.get("sessions"))[0] == 200


async def test_one_reading_a_second_for_all(client, server, driver):
    devices = server.web_app.settings["gpupredict"].devices
    replies = await asyncio.gather(*(client.get("devices") for _ in range(8)))
    assert len({reply["read_at"] for _, reply in replies}) == 1
    devices._tried_s -= 1.0  # a second later
    assert (await client.get("devices"))[1]["read_at"] != replies[0][1]["read_at"]


async def test_a_lost_device_comes_back(client, server, driver):
    devices = server.web_app.settings["gpupredict"].devices
    assert (await client.get("devices"))[1]["devices"]
    driver.fail("nvmlDeviceGetUtilizationRates", 15)
    devices._tried_s -= 1.0
    lost = (await client.get("devices"))[1]
    assert (lost["reason"], lost["devices"]) == ("device_lost", [])
    driver.heal()
    devices._tried_s -= 1.0
    again = (await client.get("devices"))[1]
    assert (again["reason"], len(again["devices"])) == ("", 1)


async def test_a_driver_that_hangs_delays_nobody(client, server, driver, store):
    traces.whole_run(store, traces.session_id(1))
    devices = server.web_app.settings["gpupredict"].devices
    assert (await client.get("devices"))[1]["reason"] == ""
    devices._tried_s -= 1.0
    driver.slow("nvmlDeviceGetUtilizationRates", 3.0)
    hanging = asyncio.ensure_future(client.get("devices"))
    await asyncio.sleep(0.1)
    answered = 0
    while answered < 20 and not hanging.done():
        assert (await client.get("sessions"))[0] == 200
        answered += not hanging.done()
    assert answered  # while the driver hung
    status, late = await hanging
    assert (status, late["reason"], len(late["devices"])) == (200, "timed_out", 1)
    assert late["age_s"] > 1.0  # the old figures, with their age
    devices._tried_s -= 1.0
    asked_s = time.monotonic()
    assert (await client.get("devices"))[1]["reason"] == "timed_out"  # it still hangs: at once
    assert time.monotonic() - asked_s < 1.9  # one that waited for it would have waited 2 s
    driver.heal()
    until_s = time.monotonic() + 20.0
    while (await client.get("devices"))[1]["reason"]:
        assert time.monotonic() < until_s
        await asyncio.sleep(0.1)
        devices._tried_s -= 1.0


async def test_status_names_what_can_be_exported(client, driver):
    status, found = await client.get("status")
    assert (status, found["api"], found["store"]["works"]) == (200, 1, True)
    pairs = {(one["workload"], one["sharing"]): one["supported"] for one in found["targets"]}
    assert pairs["job", "mps"] is True


async def test_doctor(client, driver):
    status, found = await client.get("doctor")
    lines = {line["name"]: line for line in found["lines"]}
    assert (status, lines["source nvml"]["works"]) == (200, True)
    assert found["works"] == all(line["works"] for line in found["lines"])


async def test_doctor_waits_for_a_driver_that_opens_slowly_and_devices_for_doctor(client, driver):
    driver.slow("nvmlInitWithFlags", 2.2)
    examining = asyncio.ensure_future(client.get("doctor"))
    await asyncio.sleep(0.1)
    assert (await client.get("devices"))[1]["reason"] == "timed_out"
    assert (await examining)[0] == 200
    driver.heal()
    examining = asyncio.ensure_future(client.get("doctor"))
    await asyncio.sleep(1.0)
    assert (await examining)[0] == 200


async def test_the_mps_daemon_is_seen_by_its_process(client, driver, monkeypatch):
    """Its files prove nothing, and no command is sent."""
    folder = Path(tempfile.mkdtemp(prefix="mps-", dir="/tmp"))  # short, as a socket's has to be
    for name in ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"):
        monkeypatch.setenv(name, str(folder))
    none = (await client.get("status"))[1]["mps"]
    assert (none["running"], none["message"]) == (False, "no control daemon is there")
    subprocess.run([FOLDER / "nvidia-cuda-mps-control", "-d"], check=True)
    found = (await client.get("status"))[1]["mps"]
    assert (found["running"], found["pipe_directory"]) == (True, folder.name)
    assert "a control daemon runs: this user's, not ours" in found["message"]
    os.kill(daemon_in(folder).pid, signal.SIGKILL)
    assert until(lambda: daemon_in(folder) is None, 5.0)
    left = (await client.get("status"))[1]["mps"]
    assert not left["running"]
    assert left["message"] == "a control daemon left its files there, or cannot be seen"
    log = (folder / "control.log").read_text()
    assert ("Accepting" in log, "Cmd" in log) == (False, False)
    shutil.rmtree(folder)


async def test_a_driver_that_never_answers_is_told_and_keeps_nobody(client, server, driver):
    """`devices` alone waits for it, once."""
    driver.hang("nvmlInitWithFlags")
    asked_s = time.monotonic()
    status, found = await client.get("status")
    assert (status, found["nvml"]["works"], found["nvml"]["reason"]) == (200, False, "no_data_yet")
    assert time.monotonic() - asked_s < 2.0
    assert (await client.get("devices"))[1]["reason"] == "timed_out"
    asked_s = time.monotonic()
    nvml = (await client.get("status"))[1]["nvml"]
    assert (nvml["works"], nvml["reason"], nvml["stuck_threads"]) == (False, "timed_out", 1)
    lines = {line["name"]: line for line in (await client.get("doctor"))[1]["lines"]}
    assert lines["source nvml"]["found"] == "The driver did not answer"
    assert lines["source cpu"]["works"]
    assert time.monotonic() - asked_s < 2.0  # nobody waits behind a call that hangs
    driver.heal()
    devices = server.web_app.settings["gpupredict"].devices
    while devices.hangs:
        await asyncio.sleep(0.01)
    devices._tried_s -= 1.0
    assert (await client.get("status"))[1]["nvml"]["stuck_threads"] == 0


async def test_devices_that_take_long_are_kept_longer(client, server, driver):
    devices = server.web_app.settings["gpupredict"].devices
    await client.get("devices")
    driver.slow("nvmlDeviceGetPowerUsage", 0.2)
    devices._tried_s -= 1.0
    read_at = (await client.get("devices"))[1]["read_at"]
    devices._tried_s -= 2.0  # 0.2 s is a twentieth of four seconds
    assert (await client.get("devices"))[1]["read_at"] == read_at
    devices._tried_s -= 10.0
    assert (await client.get("devices"))[1]["read_at"] != read_at
