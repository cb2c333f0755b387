"""`kernels/{id}/runs` and `.../stop`."""

import asyncio
import json
import time

import pytest

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.run.store import Store
from tests.fake_nvml.scenario import FakeGpu, Script
from tests.frontends.server import traces
from tests.frontends.server.test_openapi import validator
from tests.frontends.server.traces import KERNEL

RUNS = f"kernels/{KERNEL}/runs"
RUN = traces.session_id(1)


def begin(store, run=RUN, upto=3, **changes):
    events = [traces.samples(seq, [0.5]) for seq in range(1, upto)]
    return traces.write(store, run, [traces.started(run, **changes), *events])


def seqs(reply):
    return {one["run"]["session_id"]: [e["seq"] for e in one["events"]] for one in reply["runs"]}


async def test_a_kernel_without_a_run(client):
    status, reply = await client.get(RUNS)
    assert (status, reply["runs"], reply["cursor"]) == (200, [], "-")
    assert "measured nothing yet" in reply["reason"]
    assert (await client.get(RUNS, since="-", wait=0))[1]["runs"] == []


async def test_the_first_answer_has_no_events_and_a_place_to_begin(client, store):
    begin(store)
    traces.whole_run(store, traces.session_id(0))
    traces.write(store, traces.session_id(2), [traces.started("x", kernel_id="another")])
    reply = (await client.get(RUNS))[1]
    assert seqs(reply) == {RUN: [], traces.session_id(0): []}
    assert reply["cursor"] == f"{RUN}:-1"
    assert seqs((await client.get(RUNS, since=reply["cursor"]))[1]) == {RUN: [0, 1, 2]}


async def test_events_are_those_of_the_trace(client, store):
    path = begin(store)
    reply = (await client.get(RUNS, since=f"{RUN}:0"))[1]
    assert reply["cursor"] == f"{RUN}:2"
    assert reply["runs"][0]["events"][0]["event"] == "SamplesTaken"
    assert reply["runs"][0]["events"][0]["readings"][0]["values"] == [0.5]
    assert reply["runs"][0]["run"]["outcome"] == "running"
    assert path.read_text().count("\n") == 3


async def test_a_request_is_held_until_there_is_something(client, store):
    begin(store)
    asked_s = time.monotonic()
    held = asyncio.ensure_future(client.get(RUNS, since=f"{RUN}:2", wait=10))
    await asyncio.sleep(0.3)
    assert not held.done()
    traces.write(store, RUN, [traces.samples(3, [0.7])])
    assert seqs((await held)[1]) == {RUN: [3]}
    assert time.monotonic() - asked_s < 9.0  # not only when its time was over


async def test_a_held_request_ends_by_itself(client, store):
    begin(store)
    status, reply = await client.get(RUNS, since=f"{RUN}:2", wait=0.2)
    assert (status, reply["runs"], reply["cursor"]) == (200, [], f"{RUN}:2")


async def test_a_new_run_is_told_to_who_waits(client, store):
    traces.whole_run(store, RUN)
    first = (await client.get(RUNS))[1]["cursor"]
    known = (await client.get(RUNS, since=first))[1]["cursor"]
    assert known == f"{RUN}:3!"
    held = asyncio.ensure_future(client.get(RUNS, since=known, wait=5))
    await asyncio.sleep(0.2)
    later = traces.session_id(2)
    begin(store, later, upto=2)
    reply = (await held)[1]
    assert seqs(reply) == {later: [0, 1]}
    assert reply["cursor"] == f"{later}:1"


async def test_two_runs_at_once_and_two_of_one_second(client, store):
    twin = RUN[:-4] + "0000"  # began in the same second; its id sorts before the other
    begin(store, RUN)
    cursor = (await client.get(RUNS, since=f"{RUN}:-1"))[1]["cursor"]
    begin(store, twin)
    reply = (await client.get(RUNS, since=cursor))[1]
    assert seqs(reply) == {twin: [0, 1, 2]}
    traces.write(store, RUN, [traces.samples(3, [0.7])])
    traces.write(store, twin, [traces.samples(3, [0.7]), traces.finished(4)])
    reply = (await client.get(RUNS, since=reply["cursor"]))[1]
    assert seqs(reply) == {RUN: [3], twin: [3, 4]}
    assert set(reply["cursor"].split(",")) == {f"{RUN}:3", f"{twin}:4!"}


async def test_a_long_past_comes_in_parts(client, store):
    begin(store, upto=2501)
    cursor, got, replies = f"{RUN}:-1", [], 0
    while True:
        reply = (await client.get(RUNS, since=cursor, limit=1000))[1]
        got += seqs(reply)[RUN]
        cursor, replies = reply["cursor"], replies + 1
        if not reply["more"]:
            break
    assert (got, replies) == (list(range(2501)), 3)


async def test_a_torn_last_line_waits(client, store):
    path = begin(store)
    whole = '{"event":"PhaseEntered","seq":3,"t_s":3.0,"name":"é","hint":"api"}\n'.encode()
    with path.open("ab") as file:
        file.write(whole[:44])
    assert (await client.get(RUNS, since=f"{RUN}:2", wait=0))[1]["runs"] == []
    with path.open("ab") as file:
        file.write(whole[44:])
    reply = (await client.get(RUNS, since=f"{RUN}:2", wait=0))[1]
    assert reply["runs"][0]["events"][0]["name"] == "é"


async def test_a_damaged_line_is_left_out(client, store):
    path = begin(store)
    with path.open("ab") as file:
        file.write(b'{"event":"SamplesTaken","seq":3,"t_s":NaN}\n\xff\xfe{"\n')
    traces.write(store, RUN, [traces.samples(4, [0.1])])
    assert seqs((await client.get(RUNS, since=f"{RUN}:2"))[1]) == {RUN: [4]}


async def test_damaged_figures_cost_themselves_alone(client, store):
    begin(store)
    path = traces.write(store, RUN, [ev.RecommendationUpdated(3, 3.0, traces.advice())])
    with path.open("a") as file:
        file.write('{"event":"RecommendationUpdated","seq":4,"t_s":4.0}\n')
    found = (await client.get(RUNS, since=f"{RUN}:2"))[1]["runs"][0]
    assert [event["seq"] for event in found["events"]] == [3]
    assert found["run"]["outcome"] == "running"
    assert "after event 3: a broken RecommendationUpdated event" in found["run"]["problem"]
    (listed,) = (await client.get("sessions"))[1]["sessions"]
    assert (listed["session_id"], listed["outcome"], listed["target_ratio"]) == (
        RUN,
        "running",
        0.43,
    )
    assert "event 4: a broken RecommendationUpdated event" in listed["problem"]


async def test_a_trace_cut_short_or_pruned(client, store):
    path = begin(store, upto=9)
    assert seqs((await client.get(RUNS, since=f"{RUN}:5"))[1]) == {RUN: [6, 7, 8]}
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:5]))
    assert (await client.get(RUNS, since=f"{RUN}:8", wait=0))[1]["runs"] == []
    traces.write(store, RUN, [traces.samples(9, [0.1])])
    assert seqs((await client.get(RUNS, since=f"{RUN}:8", wait=0))[1]) == {RUN: [9]}
    path.unlink()
    status, reply = await client.get(RUNS, since=f"{RUN}:9", wait=0)
    assert (status, reply["runs"]) == (200, [])


async def test_a_dead_process_is_told_once(client, store):
    begin(store, pid=2**22 + 1)
    reply = (await client.get(RUNS, since=f"{RUN}:1"))[1]
    assert reply["runs"][0]["run"]["outcome"] == "lost"
    assert reply["cursor"] == f"{RUN}:2!"
    assert (await client.get(RUNS, since=reply["cursor"], wait=0.2))[1]["runs"] == []


async def test_a_process_that_dies_is_told_while_one_waits(client, store):
    process = await asyncio.create_subprocess_exec("sleep", "60")
    begin(store, pid=process.pid)
    held = asyncio.ensure_future(client.get(RUNS, since=f"{RUN}:2", wait=10))
    asked_s = time.monotonic()
    await asyncio.sleep(0.3)
    assert not held.done()
    process.kill()
    await process.wait()
    reply = (await held)[1]
    assert reply["runs"][0]["run"]["outcome"] == "lost"
    assert reply["runs"][0]["events"] == []
    assert time.monotonic() - asked_s < 9.0  # not only when its time was over
    process._transport.close()


@pytest.mark.parametrize(
    "since", ["", "5", "../x:1", f"{RUN}", f"{RUN}:x", f"{RUN}:1,", "x" * 4001]
)
async def test_a_wrong_cursor(client, store, since):
    assert (await client.get(RUNS, since=since, wait=0))[0] == 400


async def test_only_kernels_of_this_server(client, store):
    traces.write(store, RUN, [traces.started(RUN, kernel_id="another-kernel")])
    status, error = await client.get("kernels/another-kernel/runs")
    assert (status, error["reason"]) == (404, "not_found")
    assert (await client.post(f"kernels/another-kernel/runs/{RUN}/stop"))[0] == 404


async def test_stop(client, store):
    begin(store)
    assert (await client.post(f"{RUNS}/{RUN}/stop")) == (
        202,
        {"session_id": RUN, "stopping": True},
    )
    assert Store(store).stop_requested(RUN)
    assert (await client.get(f"sessions/{RUN}"))[1]["stop_requested"] is True


async def test_stop_refuses_what_is_over_unknown_or_of_another_kernel(client, store):
    over, other = traces.session_id(2), traces.session_id(3)
    traces.whole_run(store, over)
    begin(store, other, kernel_id="another-kernel")
    status, error = await client.post(f"{RUNS}/{over}/stop")
    assert (status, error["message"]) == (409, "the run is over: completed")
    assert (await client.post(f"{RUNS}/{other}/stop"))[0] == 404
    assert (await client.post(f"{RUNS}/{traces.session_id(9)}/stop"))[0] == 404
    assert not list(store.glob("*.stop"))


async def test_what_is_new_of_the_recommendation_is_in_the_run(client, store):
    begin(store)
    traces.write(store, RUN, [ev.RecommendationUpdated(3, 3.0, traces.advice("watching", 0.3))])
    run = (await client.get(RUNS, since=f"{RUN}:2"))[1]["runs"][0]["run"]
    assert (run["state"], run["target_ratio"], run["duration_s"]) == ("watching", 0.3, 3.0)


async def soon(condition, limit_s=20.0):
    """Wait until it is so."""
    until_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until_s
        await asyncio.sleep(0.02)


class Lines:
    """Reads a stream's lines as they come."""

    def __init__(self, jp_fetch, **query):
        self.got = []
        self._rest = b""
        self.done = asyncio.ensure_future(
            jp_fetch(
                *f"gpupredict/v1/{RUNS}".split("/"),
                params={key: str(value) for key, value in query.items()},
                streaming_callback=self._take,
            )
        )

    def _take(self, chunk):
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self.got += [json.loads(line) for line in lines]

    async def wait(self, count):
        await soon(lambda: len(self.got) >= count)


async def test_a_stream_has_a_line_for_each_news(client, store, jp_fetch):
    begin(store)
    lines = Lines(jp_fetch, since=f"{RUN}:1", stream=3)
    await lines.wait(1)
    assert seqs(lines.got[0]) == {RUN: [2]}
    for seq in (3, 4):
        traces.write(store, RUN, [traces.samples(seq, [0.7])])
        await lines.wait(seq - 1)
        assert (seqs(lines.got[-1]), lines.got[-1]["cursor"]) == ({RUN: [seq]}, f"{RUN}:{seq}")
    reply = await lines.done
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    assert lines.got[-1]["runs"] == []  # the time was over
    assert lines.got[-1]["cursor"] == f"{RUN}:4"


async def test_a_stream_brings_the_devices_once_a_second(client, store, jp_fetch, driver):
    driver.play(Script(gpus=[FakeGpu()]))
    begin(store)
    lines = Lines(jp_fetch, since=f"{RUN}:2", stream=2.5, devices=1)
    await lines.wait(1)
    traces.write(store, RUN, [traces.samples(3, [0.7])])
    await lines.wait(2)
    assert any(seqs(line) == {RUN: [3]} for line in lines.got)
    await lines.done
    told = [line["devices"] for line in lines.got if "devices" in line]
    assert 2 <= len(told) <= 4  # at 0, 1 and 2 s, and perhaps with the last line, or late
    assert told[0]["devices"][0]["utilization_ratio"] == 0.5
    assert set(told[0]) == set((await client.get("devices"))[1])
    for line in lines.got:
        validator("/kernels/{kernel}/runs", "get", 200).validate(line)


async def test_a_stream_brings_a_long_past_first(client, store, jp_fetch):
    begin(store, upto=2501)
    lines = Lines(jp_fetch, since=f"{RUN}:-1", stream=3, limit=1000)
    await lines.wait(3)
    assert [s for line in lines.got[:3] for s in seqs(line)[RUN]] == list(range(2501))
    await lines.done


async def test_whoever_leaves_a_stream_is_forgotten(client, store, server, jp_base_url):
    begin(store)
    poller = server.web_app.settings["gpupredict"].poller
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    token = server.identity_provider.token
    url = f"{jp_base_url}gpupredict/v1/{RUNS}?since={RUN}:1&stream=60&token={token}"
    writer.write(f"GET {url} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await soon(lambda: len(poller._waiters) == 1)
    writer.close()
    await writer.wait_closed()
    await soon(lambda: not poller._waiters)
    await soon(poller._task.done)


async def test_whoever_leaves_a_held_request_is_forgotten(client, store, server, jp_base_url):
    begin(store)
    poller = server.web_app.settings["gpupredict"].poller
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    token = server.identity_provider.token
    url = f"{jp_base_url}gpupredict/v1/{RUNS}?since={RUN}:2&token={token}"
    writer.write(f"GET {url} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
    await soon(lambda: len(poller._waiters) == 1)
    writer.close()
    await writer.wait_closed()
    await soon(lambda: not poller._waiters)
