"""`sessions…`: the list, one run, its series, its recommendation."""

import dataclasses

import pytest

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.recommendation import Verified
from jupyter_gpupredict.run.sidecars import VerifiedStore
from tests.frontends.server import traces


async def test_an_empty_store(client):
    assert await client.get("sessions") == (
        200,
        {"sessions": [], "total": 0, "searched": 0, "before": None},
    )


async def test_pages_hold_every_run_once_newest_first(client, store):
    ids = [traces.session_id(number) for number in range(7)]
    for run in ids:
        traces.whole_run(store, run)
    seen, before = [], None
    while True:
        query = {"limit": 3} if before is None else {"limit": 3, "before": before}
        status, page = await client.get("sessions", **query)
        assert (status, page["total"]) == (200, 7)
        seen += [run["session_id"] for run in page["sessions"]]
        before = page["before"]
        if before is None:
            break
    assert seen == ids[::-1]


async def test_a_page_tells_of_runs_and_whether_they_run(client, store):
    done, live, dead = (traces.session_id(number) for number in (1, 2, 3))
    traces.whole_run(store, done)
    traces.write(store, live, [traces.started(live)])  # this very process writes it
    traces.write(store, dead, [traces.started(dead, pid=2**22 + 1)])  # above the largest pid
    page = (await client.get("sessions"))[1]["sessions"]
    assert [run["outcome"] for run in page] == ["lost", "running", "completed"]
    assert page[2] | {"size_bytes": 0} == {
        "session_id": done,
        "kernel_id": traces.KERNEL,
        "host": page[2]["host"],
        "pid": page[2]["pid"],
        "remote": False,
        "started_at": "2026-01-01T00:00:00.000+00:00",
        "source": "nvml",
        "origin": "",
        "simulated": False,
        "scope": "device",
        "metric": "gpu_util_ratio",
        "label": "busy time (time share)",
        "basis": "time_share",
        "devices": [{"uuid": traces.UUID, "name": "NVIDIA H200"}],
        "code_hash": "ab" * 32,
        "outcome": "completed",
        "state": "converged",
        "reason": "2 windows agree",
        "target_ratio": 0.43,
        "mean_ratio": 0.31,
        "coverage_target_ratio": 0.95,
        "coverage_ratio": 0.97,
        "memory_peak_bytes": 3e9,
        "memory_target_bytes": 3.45e9,
        "memory_basis": "device-wide",
        "duration_s": 3.0,
        "samples": 30,
        "last_time": "",
        "size_bytes": 0,
        "problem": "",
        "notebook": "",
        "cell_id": "",
        "first_line": "",
        "headline": "Busy 43 % of the time, needs 3.2 GiB (whole GPU)",
        "word": "settled",
        "sign": "●",
        "tone": "good",
        "device": "H200",
        "name": "",
        "note": "",
        "pinned": False,
    }


async def test_a_run_of_another_host_is_said_to_be_one(client, store):
    run = traces.session_id(1)
    traces.write(store, run, [traces.started(run, host="elsewhere")])
    found = (await client.get("sessions"))[1]["sessions"][0]
    assert (found["remote"], found["host"]) == (True, "elsewhere")
    assert found["outcome"] == "running"  # written a moment ago; its process cannot be asked


async def test_a_search_wants_every_word_whatever_the_case(client, store):
    for number, name in enumerate(["NVIDIA H200", "NVIDIA A100", "NVIDIA A100"]):
        device = traces.started("x").devices[0]
        run = traces.session_id(number)
        changed = type(device)(device.uuid, name)
        traces.whole_run(store, run, devices=(changed,), host=f"node{number}")
    found = (await client.get("sessions", q="a100 NODE2"))[1]
    assert [run["session_id"] for run in found["sessions"]] == [traces.session_id(2)]
    assert found["searched"] == found["total"] == 3
    assert (await client.get("sessions", q="a100 node0"))[1]["sessions"] == []


async def test_an_order_and_a_filter_are_of_all_runs(client, store):
    lasted = [3, 9, 5, 9]
    for number, seconds in enumerate(lasted):
        run = traces.session_id(number)
        settled = traces.advice() if number != 2 else traces.advice("abstained")
        end = traces.finished(1, duration_s=float(seconds), recommendation=settled)
        traces.write(store, run, [traces.started(run, notebook=f"{number % 2}.ipynb"), end])

    async def listed(**query):
        seen, before = [], None
        while True:
            page = (await client.get("sessions", limit=1, **query, **before or {}))[1]
            seen += [int(one["session_id"][-4:], 16) for one in page["sessions"]]
            if page["before"] is None:
                return seen
            before = {"before": page["before"]}

    assert await listed(order="duration") == [3, 1, 2, 0]  # equal ones newest first
    assert await listed(order="notebook") == [2, 0, 3, 1]
    word = (await client.get(f"sessions/{traces.session_id(2)}"))[1]["answer"]["word"]
    assert await listed(word=word) == [2]
    assert await listed(order="duration", q="1.ipynb") == [3, 1]
    assert (await client.get("sessions", order="size"))[0] == 400


async def test_a_search_sees_what_became_of_a_run(client, store):
    run = traces.session_id(1)
    path = traces.write(store, run, [traces.started(run)])
    assert (await client.get("sessions", q="running"))[1]["sessions"]
    traces.write(store, run, [traces.finished(1, "interrupted")])
    assert not (await client.get("sessions", q="running"))[1]["sessions"]
    assert (await client.get("sessions", q="interrupted"))[1]["sessions"]
    path.unlink()
    assert (await client.get("sessions", q="interrupted"))[1]["total"] == 0


async def test_a_broken_trace_costs_itself_alone(client, store):
    traces.whole_run(store, traces.session_id(1))
    (store / f"{traces.session_id(2)}.jsonl").write_bytes(b"\x00\xff no trace\n")
    (store / f"{traces.session_id(3)}.jsonl").write_text('{"event":"SessionStarted","seq":0\n')
    (store / f"{traces.session_id(4)}.jsonl").write_text("")
    (store / "notes.txt").write_text("not ours")
    page = (await client.get("sessions"))[1]
    problems = {run["session_id"]: run["problem"] for run in page["sessions"]}
    # the fourth may be at its beginning; a trace that is written just now has no rows yet
    assert list(problems) == [traces.session_id(number) for number in (3, 2, 1)]
    assert "line 1: not a line of JSON" in problems[traces.session_id(3)]
    assert "line 1: not a line of JSON" in problems[traces.session_id(2)]
    assert problems[traces.session_id(1)] == ""
    status, error = await client.get(f"sessions/{traces.session_id(2)}")
    assert (status, error["reason"]) == (422, "refused")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"limit": "nan"}, "limit"),
        ({"before": "../../etc/passwd"}, "before"),
        ({"q": "x" * 201}, "q"),
    ],
)
async def test_a_wrong_query_is_told(client, query, name):
    status, error = await client.get("sessions", **query)
    assert (status, error["reason"]) == (400, "bad_request")
    assert name in error["message"]


async def test_one_run(client, store):
    run = traces.session_id(1)
    traces.whole_run(store, run)
    status, found = await client.get(f"sessions/{run}")
    assert status == 200
    assert found["session"]["session_id"] == found["started"]["session_id"] == run
    assert found["finished"]["outcome"] == "completed"
    assert found["recommendation"]["target_ratio"] == 0.43
    assert found["stop_requested"] is False


async def test_one_live_run_has_its_newest_recommendation(client, store):
    run = traces.session_id(1)
    path = traces.write(
        store,
        run,
        [
            traces.started(run),
            ev.RecommendationUpdated(1, 1.0, traces.advice("watching", 0.2)),
            ev.RecommendationUpdated(2, 2.0, traces.advice("watching", 0.3)),
            traces.samples(3, [0.5]),
        ],
    )
    with path.open("a") as file:
        file.write('{"event":"SamplesTaken","seq":4,"t_s":4.0,"read')  # torn
    found = (await client.get(f"sessions/{run}"))[1]
    assert found["finished"] is None
    assert found["recommendation"]["target_ratio"] == found["session"]["target_ratio"] == 0.3
    assert found["session"]["duration_s"] == 2.0


async def test_a_share_beside_the_main_one_is_told_apart(client, store):
    run = traces.session_id(1)
    beside = dataclasses.replace(
        traces.advice("watching", 0.2), metric="breadth_ratio", basis="sm_share"
    )
    news = ev.RecommendationUpdated(1, 1.0, traces.advice("converged", 0.8), (beside,))
    traces.write(store, run, [traces.started(run), news])
    for what in ("", "/recommendation"):
        found = (await client.get(f"sessions/{run}{what}"))[1]
        assert found["recommendation"]["basis"] == "time_share"
        assert found["recommendation"]["target_ratio"] == 0.8
        assert [one["basis"] for one in found["others"]] == ["sm_share"]
        assert [one["target_ratio"] for one in found["others"]] == [0.2]


async def test_a_verified_share_goes_with_its_run(client, store):
    run = traces.session_id(1)
    began = dataclasses.replace(traces.started(run), versions={"driver": "580.1"})
    traces.write(store, run, [began])
    assert (await client.get(f"sessions/{run}"))[1]["verified"] is None
    tried = Verified(
        percent=40, kept=True, speed_ratio=0.97, low_ratio=0.95, high_ratio=0.99, method="verify",
        pairs=4, unit="step", code_hash=None, device=began.devices[0].name, driver="580.1",
        session_id=run, at="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    VerifiedStore(store).add(tried)
    found = (await client.get(f"sessions/{run}"))[1]["verified"]
    assert (found["percent"], found["low_ratio"]) == (40, 0.95)
    assert found["text"].startswith("40 % of the SMs keeps 97.0 % of the uncapped speed")


@pytest.mark.parametrize("what", ["", "/series", "/recommendation"])
async def test_an_unknown_run(client, what):
    status, error = await client.get(f"sessions/{traces.session_id(1)}{what}")
    assert (status, error["reason"]) == (404, "not_found")


async def test_a_series_in_so_many_rows(client, store):
    run = traces.session_id(1)
    values = [[((7 * second + n) % 100) / 100 for n in range(10)] for second in range(300)]
    values[123][4], values[200][7] = 1.0, 0.0
    events = [traces.samples(second + 1, values[second]) for second in range(300)]
    traces.write(store, run, [traces.started(run), *events])
    status, found = await client.get(f"sessions/{run}/series", width=50)
    assert (status, found["complete"], found["seq"], found["outcome"]) == (
        200,
        True,
        300,
        "running",
    )
    share, memory = found["series"]
    assert (share["metric"], share["samples"], share["basis"]) == (
        "gpu_util_ratio",
        3000,
        "time_share",
    )
    assert len(share["times_s"]) == len(share["low"]) == len(share["high"]) == 50
    assert (min(share["low"]), max(share["high"])) == (0.0, 1.0)
    assert share["times_s"] == sorted(share["times_s"])
    assert share["times_s"][-1] == 300.0
    assert (memory["metric"], memory["samples"], memory["basis"]) == (
        "memory_used_bytes",
        300,
        None,
    )


async def test_a_series_grows_with_its_trace(client, store):
    run = traces.session_id(1)
    traces.write(store, run, [traces.started(run), traces.samples(1, [0.5, float("nan")])])
    first = (await client.get(f"sessions/{run}/series"))[1]
    assert (first["seq"], first["series"][0]["low"]) == (1, [0.5, None])
    path = traces.write(store, run, [traces.samples(2, [0.75])])
    second = (await client.get(f"sessions/{run}/series"))[1]
    assert (second["seq"], second["series"][0]["low"]) == (2, [0.5, None, 0.75])
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))  # cut short
    assert (await client.get(f"sessions/{run}/series"))[1] == first
    path.unlink()
    assert (await client.get(f"sessions/{run}/series"))[0] == 404


async def test_a_series_comes_with_what_happened_beside_it(client, store):
    run = traces.session_id(1)
    changes = [ev.StateChanged(n, float(n), "watching", "stale", "why") for n in range(1, 151)]
    advice = [ev.RecommendationUpdated(n, float(n), traces.advice()) for n in range(151, 161)]
    traces.write(store, run, [traces.started(run), *changes, *advice, traces.finished(161)])
    found = (await client.get(f"sessions/{run}/series"))[1]
    assert [mark["seq"] for mark in found["marks"]] == [*range(51, 151), 160]
    assert (found["series"], found["seq"], found["duration_s"]) == ([], 161, 161.0)


@pytest.mark.parametrize("width", [9, 4001, "wide"])
async def test_a_wrong_width(client, store, width):
    traces.whole_run(store, traces.session_id(1))
    assert (await client.get(f"sessions/{traces.session_id(1)}/series", width=width))[0] == 400


async def test_a_recommendation_in_figures_and_words(client, store):
    run = traces.session_id(1)
    traces.whole_run(store, run)
    status, found = await client.get(f"sessions/{run}/recommendation")
    assert (status, found["recommendation"]["memory"]["peak_bytes"]) == (200, 3e9)
    told = found["answer"]
    assert (told["word"], told["figure"]["high_ratio"]) == ("settled", 0.43)
    assert told["details"]["usage"][0]["value"] == (
        "43 % busy time (time share) for 95 % of the time"
    )
    assert "NVIDIA H200" in told["details"]["measuring"][0]["value"]


async def test_a_run_without_a_recommendation_says_why(client, store):
    run = traces.session_id(1)
    traces.write(store, run, [traces.started(run)])
    found = (await client.get(f"sessions/{run}/recommendation"))[1]
    assert found["recommendation"] is None
    assert found["answer"]["meaning"] == "not available: no reading was taken"
