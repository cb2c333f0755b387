"""Whatever lies in the session store costs itself alone: every route and every verb is asked."""

import os
import stat
import time
from random import Random

import pytest

from jupyter_gpupredict.run import (
    SessionConfig,
    build_session,
    measuring,
    read_run,
    shutdown,
    store_dir,
)
from tests.frontends.server import traces
from tests.hostile import GOOD, Everything, mutated, whole

KINDS = {
    "fifo": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "loop": lambda path: path.symlink_to(path),
    "dangling": lambda path: path.symlink_to("/nowhere"),
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "unreadable": lambda path: (path.write_bytes(b"x\n"), path.chmod(0)),
    "sparse": lambda path: (path.touch(), os.truncate(path, 1 << 30)),
    "endless": lambda path: path.write_bytes(b"x" * (3 << 20)),
    "nested": lambda path: path.write_bytes(b"[" * 100_000 + b"\n"),
}
ROUTES = ("", "/series", "/recommendation")


def spoil(store):
    """Put one of each kind into the store; returns their ids."""
    store.mkdir(parents=True, exist_ok=True)
    ids = {}
    for number, (kind, make) in enumerate(KINDS.items(), start=1):
        ids[kind] = traces.session_id(number)
        make(store / f"{ids[kind]}.jsonl")
    return ids


async def test_every_route_works_for_the_rest(client, store):
    ids = spoil(store)
    traces.whole_run(store, GOOD)
    status, page = await client.get("sessions")
    problems = {run["session_id"]: run["problem"] for run in page["sessions"]}
    assert (status, set(problems)) == (200, {GOOD, *ids.values()})
    assert [run for run, problem in problems.items() if not problem] == [GOOD]
    for word, kind in (("FIFO", "fifo"), ("folder", "folder"), ("256 MiB", "sparse")):
        assert word in problems[ids[kind]]
    for run in ids.values():
        for what in ROUTES:
            status, told = await client.get(f"sessions/{run}{what}")
            assert (status, told["reason"]) == (422, "refused"), (run, what)
    for what in ROUTES:
        assert (await client.get(f"sessions/{GOOD}{what}"))[0] == 200
    assert (await client.get("metrics"))[0] == 200
    (followed,) = (await client.get(f"kernels/{traces.KERNEL}/runs"))[1]["runs"]
    assert followed["run"]["session_id"] == GOOD
    told = (await client.get("status"))[1]
    assert (told["store"]["works"], told["workers_replaced"]) == (True, 0)


def test_every_verb_works_for_the_rest_and_the_next_cell_begins(data_dir):
    every = Everything(data_dir)
    ids = spoil(every.store)
    for run in ids.values():
        every.ask(run)
    every.ask_lists()
    every.ask_given(every.store / f"{ids['fifo']}.jsonl")
    every.ask_verbs_over_many()
    run = build_session(SessionConfig(source="synthetic", scenario="steady"), code="x = 1")
    run.start()
    told = run.stop("completed")
    shutdown()
    assert told.errors == ()
    assert read_run("last") == told


def test_damaged_traces_as_they_were_found(data_dir, shared):
    folder = shared / "cases" / "traces"
    if not folder.is_dir():
        pytest.skip("the damaged traces are not there")
    every = Everything(data_dir)
    for number, path in enumerate(sorted(folder.iterdir()), start=1):
        every.put(traces.session_id(number), path.read_bytes())
        every.ask(traces.session_id(number))
    every.ask_lists()


def test_five_hundred_mutations(data_dir):
    every = Everything(data_dir)
    ids = [traces.session_id(number) for number in range(1, 51)]
    every.put(ids[0], b"\n".join(whole(ids[0])) + b"\n")
    every.ask(ids[0])
    assert {what.partition(" ")[2] for what in every.asked} == {"reply"}  # it is whole before
    for first in range(0, 500, len(ids)):
        for number, run in enumerate(ids):
            every.put(run, mutated(Random(first + number), run))
            every.ask(run, verbs=1)
        every.ask_lists()


async def test_a_file_that_does_not_answer_costs_no_other_route(client, store, hold):
    stuck = traces.session_id(1)
    traces.whole_run(store, GOOD)
    path = traces.whole_run(store, stuck)
    disk = hold(path)
    for route in ("sessions", f"sessions/{GOOD}", f"kernels/{traces.KERNEL}/runs", "metrics"):
        begun_s = time.monotonic()
        status = (await client.get(route))[0]
        assert (status, time.monotonic() - begun_s < 1.0) == (200, True), route
    problems = {
        run["session_id"]: run["problem"] for run in (await client.get("sessions"))[1]["sessions"]
    }
    assert problems[GOOD] == ""
    assert "does not answer" in problems[stuck]
    assert (await client.get(f"sessions/{stuck}"))[0] == 422
    told = (await client.get("status"))[1]
    assert told["store"]["stuck"] == [path.name]
    assert told["workers_replaced"] == 1  # whoever asked later had an answer by then
    disk.free.set()
    while (await client.get("status"))[1]["store"]["stuck"]:
        time.sleep(0.01)
    assert (await client.get(f"sessions/{stuck}"))[0] == 200


async def test_a_store_that_does_not_answer_costs_no_other_route(client, store, hold):
    traces.whole_run(store, GOOD)
    disk = hold(store)
    for route, wanted in (("sessions", 503), ("metrics", 503), ("openapi.json", 200)):
        begun_s = time.monotonic()
        assert (await client.get(route))[0] == wanted
        assert time.monotonic() - begun_s < 1.0, route
    told = (await client.get("status"))[1]
    assert not told["store"]["works"]
    assert "does not answer" in told["store"]["message"]
    disk.free.set()
    while (await client.get("status"))[1]["store"]["stuck"]:
        time.sleep(0.01)
    assert (await client.get("sessions"))[1]["total"] == 1


def test_a_cell_begins_though_the_store_does_not_answer(data_dir, hold, monkeypatch):
    monkeypatch.setattr(measuring, "STORE_S", 0.2)
    hold(store_dir())
    run = build_session(SessionConfig(source="synthetic", scenario="steady"), code="x = 1")
    run.start()
    told = run.stop("completed")
    shutdown()
    assert "this run is not stored" in told.errors[0]
