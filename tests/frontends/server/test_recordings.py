"""Recordings that users have: named below the root or sent, kept as runs, or one clear line."""

import gzip
import io
import json
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from jupyter_server.auth import Authorizer

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.frontends.server import recordings
from jupyter_gpupredict.run import keep_recordings, recorded
from jupyter_gpupredict.run.store import Store

SAMPLES = Path(__file__).parents[2] / "data" / "recordings"
TITLES = "timestamp, index, utilization.gpu [%], memory.used [MiB], memory.total [MiB]"


def log(rows=900, gpus=1, title=True):
    """A log of nvidia-smi: each GPU at 60 % and 2000 MiB, of 40960 MiB."""
    begin = datetime(2026, 1, 1)  # noqa: DTZ001 - as nvidia-smi writes it
    lines = [TITLES] * title
    for second in range(rows):
        at = (begin + timedelta(seconds=second)).strftime("%Y/%m/%d %H:%M:%S.000")
        lines += [f"{at}, {gpu}, {60 + gpu} %, 2000 MiB, 40960 MiB" for gpu in range(gpus)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def ask(client):
    async def asked(body="", **query):
        return await client._ask(
            "recordings", method="POST", body=body, params={k: str(v) for k, v in query.items()}
        )

    return asked


async def test_a_file_of_the_server_becomes_a_run(ask, client, server):
    folder = Path(server.root_dir) / "logs"
    folder.mkdir()
    (folder / "train.csv").write_text(log())
    status, reply = await ask(path="logs/train.csv")
    (kept,) = reply["sessions"]
    assert (status, kept["name"], kept["source"], kept["simulated"]) == (
        200,
        "train.csv",
        "recording",
        True,
    )
    run = (await client.get(f"sessions/{kept['session_id']}"))[1]
    assert run["answer"]["headline"].startswith("Recorded: busy 60 % of the time, needs ")
    memory = run["recommendation"]["memory"]
    assert memory["peak_bytes"] == 2000 << 20
    assert memory["target_bytes"] > memory["peak_bytes"]
    assert (run["answer"]["word"], run["answer"]["simulated"]) == ("settled", "recorded")
    assert "export" in [one["id"] for one in run["answer"]["actions"]]
    picture = (await client.get(f"sessions/{kept['session_id']}/series"))[1]
    share = next(one for one in picture["series"] if one["metric"] == "gpu_util_ratio")
    assert (share["samples"], share["times_s"][-1], picture["complete"]) == (900, 899.0, True)
    found = (await client.get("sessions", q="train.csv recorded"))[1]["sessions"]
    assert [one["session_id"] for one in found] == [kept["session_id"]]


async def test_a_recording_is_exported_and_the_files_say_what_it_is(ask, client):
    kept = (await ask(log(), name="train.csv"))[1]["sessions"][0]["session_id"]
    status, made = await client.post(f"sessions/{kept}/export", {"name": "train", "preview": True})
    assert status == 200
    assert any("come from a recording (nvidia-smi)" in one for one in made["warnings"])
    manifest = next(text for name, text in made["texts"].items() if name.startswith("deploy/"))
    assert "jupyter-gpupredict/source: recording" in manifest


async def test_what_is_sent_is_read_compressed_too_and_devices_can_be_chosen(ask):
    body = gzip.compress(log(gpus=2).encode())
    (first,) = (await ask(body, name="a.csv.gz"))[1]["sessions"]
    (second,) = (await ask(body, name="a.csv.gz", device=1))[1]["sessions"]
    both = (await ask(body, name="a.csv.gz", device="all"))[1]["sessions"]
    assert "busy 60 %" in first["headline"]
    assert "busy 61 %" in second["headline"]
    assert [one["headline"] for one in both] == [first["headline"], second["headline"]]


async def test_a_profile_of_kernels_keeps_its_curve(ask, client):
    body = (SAMPLES / "kineto.json").read_bytes()
    (kept,) = (await ask(body, name="trace.json"))[1]["sessions"]
    need = (await client.get(f"sessions/{kept['session_id']}"))[1]["recommendation"]["geometry"]
    assert need["sms"] > 0
    assert len(need["curve"]) >= 20


async def test_what_a_file_does_not_say_is_asked_for_and_can_be_given(ask, store):
    bare = log(title=False)
    status, error = await ask(bare, name="bare.csv")
    assert (status, error["reason"]) == (422, "refused")
    assert "--columns" in error["message"] + error["hint"]
    columns = "timestamp,index,utilization.gpu,memory.used,memory.total"
    status, reply = await ask(bare, name="bare.csv", columns=columns)
    assert "busy 60 %" in reply["sessions"][0]["headline"]
    profile = (SAMPLES / "nsys-csv.csv").read_bytes()
    assert (await ask(profile, name="p.csv"))[0] == 422
    status, reply = await ask(profile, name="p.csv", sms=132, compute_capability="9.0")
    assert (status, len(reply["sessions"])) == (200, 1)


@pytest.mark.parametrize(
    ("body", "query", "status"),
    [
        ("", {}, 400),
        ("x", {"path": "x"}, 400),
        ("hello\nworld\n", {}, 422),
        (b"\0\1\2", {"name": "../../x"}, 422),
        ("x", {"interval_s": 0}, 400),
        ("x", {"sms": "many"}, 400),
        ("x", {"compute_capability": "9"}, 400),
        (log(30), {"device": "7"}, 400),
        ("", {"path": "nowhere.csv"}, 404),
        ("", {"path": "../secret.csv"}, 404),
        ("", {"path": ".hidden.csv"}, 404),
        ("", {"path": "a\0b"}, (400, 404)),
        ("", {"path": "x" * 900}, 404),
        (log(30), {"name": "a\0b" + "x" * 900, "device": "9"}, 400),
        ("", {"path": "folder"}, 422),
        ("", {"path": "fifo.csv"}, (400, 422)),
    ],
)
async def test_what_is_refused_leaves_nothing(ask, server, store, body, query, status):
    root = Path(server.root_dir)
    (root.parent / "secret.csv").write_text(log(30))
    (root / ".hidden.csv").write_text(log(30))
    (root / "folder").mkdir()
    os.mkfifo(root / "fifo.csv")
    code, error = await ask(body, **query)
    assert code in (status if isinstance(status, tuple) else (status,))
    assert error["message"]
    assert "\n" not in error["message"]
    assert str(root) not in json.dumps(error)
    assert list(store.iterdir()) == []


async def test_what_is_too_long_is_refused_with_a_way_on(ask, server, store, monkeypatch):
    monkeypatch.setattr(recordings, "RECORDING_BYTES", 1000)
    (Path(server.root_dir) / "long.csv").write_text(log(100))
    for how in ({"path": "long.csv"}, {"body": log(100)}):
        status, error = await ask(**how)
        assert (status, error["reason"]) == (422, "refused")
        assert "jupyter gpupredict predict" in error["hint"]
    assert list(store.iterdir()) == []


async def test_what_takes_too_long_is_given_up_and_leaves_nothing(ask, store, monkeypatch):
    monkeypatch.setattr(recordings, "RECORDING_S", 0.0)
    status, error = await ask(log(30))
    assert (status, error["reason"]) == (422, "refused")
    assert "in a terminal" in error["hint"]
    assert list(store.iterdir()) == []


async def test_few_are_held_at_a_time(ask, server, monkeypatch):
    state = server.web_app.settings["gpupredict"]
    monkeypatch.setattr(type(state.recordings), "unfinished", 2)
    status, error = await ask(log(30))
    assert (status, error["reason"]) == (503, "busy")


class NoFiles(Authorizer):
    """Lets users do everything but read files."""

    def is_authorized(self, handler, user, action, resource):
        return resource != "contents"


async def test_who_may_read_no_files_may_send_one(ask, server):
    (Path(server.root_dir) / "train.csv").write_text(log(30))
    server.web_app.settings["authorizer"] = NoFiles(parent=server)
    assert (await ask(path="train.csv"))[0] == 403
    assert (await ask(log(30)))[0] == 200


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "build_store", lambda: Store(tmp_path / "kept"))

    def full(self, lines):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorded.Recorder, "_write", full)
    with pytest.raises(InvalidOption, match="No space left"):
        keep_recordings(io.BytesIO(log(30).encode()), "a.csv", ReadOptions(), 60.0)
    assert [one for one in (tmp_path / "kept").iterdir() if one.name.endswith(".jsonl")] == []
