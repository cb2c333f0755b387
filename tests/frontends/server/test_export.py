"""`POST sessions/{id}/export`: what is written, where, and what is refused."""

import json

import pytest

from tests.frontends.server import traces

RUN = traces.session_id(1)
EXPORT = f"sessions/{RUN}/export"
WISH = {
    "name": "train",
    "workload": "job",
    "sharing": "mps",
    "node_selector": {"gpu": "mps"},
    "sm_percent": 50,
    "output": "out/train",
}


@pytest.fixture
def run(store):
    traces.whole_run(store, RUN)


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


async def test_a_preview_writes_nothing(client, run, jp_root_dir):
    status, shown = await client.post(EXPORT, {**WISH, "preview": True})
    assert (status, shown["preview"]) == (200, True)
    assert "kind: Job" in shown["texts"]["deploy/job.yaml"]
    assert "out/train/deploy/job.yaml" in shown["paths"]
    assert files(jp_root_dir) == []
    bare = {key: value for key, value in WISH.items() if key != "output"}
    status, shown = await client.post(EXPORT, {**bare, "preview": True})
    assert (status, shown["paths"]) == (200, [])


async def test_what_is_written_is_what_was_shown(client, run, jp_root_dir):
    shown = (await client.post(EXPORT, {**WISH, "preview": True}))[1]
    status, written = await client.post(EXPORT, WISH)
    assert status == 200
    assert written["paths"] == shown["paths"]
    assert files(jp_root_dir) == sorted(written["paths"])
    for path, text in shown["texts"].items():
        assert (jp_root_dir / "out/train" / path).read_text() == text
    record = json.loads((jp_root_dir / "out/train/gpupredict.json").read_text())
    assert record["function"] == "train"


async def test_a_live_run_can_be_exported_too(client, store, jp_root_dir):
    from jupyter_gpupredict.core import events as ev

    traces.write(
        store, RUN, [traces.started(RUN), ev.RecommendationUpdated(1, 9.0, traces.advice())]
    )
    status, shown = await client.post(EXPORT, {**WISH, "preview": True})
    assert (status, "deploy/job.yaml" in shown["texts"]) == (200, True)


async def test_files_that_are_there_are_kept_unless_told(client, run, jp_root_dir):
    assert (await client.post(EXPORT, WISH))[0] == 200
    kept = jp_root_dir / "out/train/README.md"
    kept.write_text("mine")
    status, error = await client.post(EXPORT, WISH)
    assert (status, error["reason"]) == (409, "conflict")
    assert kept.read_text() == "mine"
    assert (await client.post(EXPORT, {**WISH, "overwrite": True}))[0] == 200
    assert kept.read_text() != "mine"


async def test_what_has_to_be_insisted_on(client, run, store, jp_root_dir):
    live = traces.session_id(2)
    traces.whole_run(store, live, simulated=True)
    status, error = await client.post(f"sessions/{live}/export", WISH)
    assert (status, error["reason"]) == (422, "refused")
    assert error["hint"]
    assert files(jp_root_dir) == []
    wish = {**WISH, "force": True, "preview": True}
    status, shown = await client.post(f"sessions/{live}/export", wish)
    assert (status, shown["warnings"] != []) == (200, True)


async def test_a_run_without_a_recommendation(client, store):
    traces.write(store, RUN, [traces.started(RUN)])
    assert (await client.post(EXPORT, {**WISH, "preview": True}))[0] == 422


@pytest.mark.parametrize(
    "output",
    [
        "",
        ".",
        "/",
        "/etc/gpupredict",
        "..",
        "../beside",
        "out/../../beside",
        "out/.hidden",
        ".ssh",
        "out\\..\\..\\x",
        "nul\0l",
        "x" * 300,
    ],
)
async def test_nothing_is_written_elsewhere(client, run, jp_root_dir, output):
    before = files(jp_root_dir.parent)
    status, error = await client.post(EXPORT, {**WISH, "output": output})
    assert status in (400, 422), error
    assert error["hint"]
    assert [path for path in files(jp_root_dir.parent) if path.endswith(".yaml")] == [
        path for path in before if path.endswith(".yaml")
    ]


@pytest.mark.parametrize("link", ["out", "out/train", "out/train/deploy"])
async def test_no_link_leads_outside(client, run, jp_root_dir, tmp_path, link):
    outside = tmp_path / "outside"
    outside.mkdir()
    (jp_root_dir / link).parent.mkdir(parents=True, exist_ok=True)
    (jp_root_dir / link).symlink_to(outside)
    status, error = await client.post(EXPORT, {**WISH, "overwrite": True})
    assert (status, error["reason"]) == (400, "bad_request")
    assert files(outside) == []


async def test_a_link_within_the_folder_is_followed(client, run, jp_root_dir):
    (jp_root_dir / "real").mkdir()
    (jp_root_dir / "out").symlink_to(jp_root_dir / "real")
    assert (await client.post(EXPORT, WISH))[0] == 200
    assert (jp_root_dir / "real/train/deploy/job.yaml").exists()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        "[]",
        {},
        {**WISH, "name": 5},
        {**WISH, "workload": "nomad"},
        {**WISH, "sharing": "magic"},
        {**WISH, "force": "yes"},
        {**WISH, "node_selector": {"a": 1}},
        {**WISH, "cells": []},
        {**WISH, "image": "x" * 1001},
        {**WISH, "sm_count": 4},
        {**WISH, "sm_percent": 101},
        {**WISH, "memory_mib": True},
        {**WISH, "node_selector": {}},
    ],
)
async def test_a_wrong_wish_is_told(client, run, jp_root_dir, body):
    status, error = await client.post(EXPORT, body)
    assert status in (400, 422), error
    assert error["message"]
    assert files(jp_root_dir) == []


async def test_without_a_sharing_backend_the_default_is_meant(client, run):
    wish = {"name": "train", "preview": True, "workload": "job"}
    status, shown = await client.post(EXPORT, wish)
    pairs = (await client.get("status"))[1]["targets"]
    [usual] = [one["sharing"] for one in pairs if one["workload"] == "job" and one["default"]]
    assert (status, shown) == (200, (await client.post(EXPORT, {**wish, "sharing": usual}))[1])


async def test_an_unknown_run(client):
    assert (await client.post(EXPORT, WISH))[0] == 404
