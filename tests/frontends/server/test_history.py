"""What a user does with stored runs: names, pins, the trash, tables and pictures."""

import csv
import io
import json
import math
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.series import Readings, Series
from jupyter_gpupredict.frontends.server.runs import LATE_S, csv_lines
from jupyter_gpupredict.run.sidecars import LABELS_NAME, TRASH_NAME, Labels
from jupyter_gpupredict.run.store import KEEP_DAYS, Store
from tests.frontends.server import traces

ONE, TWO = traces.session_id(1), traces.session_id(2)


async def test_a_name_a_note_and_a_pin_stay_and_are_searched(client, store):
    traces.whole_run(store, ONE)
    traces.whole_run(store, TWO)
    status, run = await client.post(f"sessions/{ONE}/label", {"name": "first\ntry", "pinned": True})
    assert (status, run["name"], run["pinned"], run["note"]) == (200, "first try", True, "")
    run = (await client.post(f"sessions/{ONE}/label", {"note": "too small a batch"}))[1]
    assert (run["name"], run["note"], run["pinned"]) == ("first try", "too small a batch", True)
    found = (await client.get("sessions", q="first BATCH pinned"))[1]["sessions"]
    assert [one["session_id"] for one in found] == [ONE]
    assert (store / LABELS_NAME).stat().st_mode & 0o777 == 0o600
    await client.post(f"sessions/{ONE}/label", {"name": "", "note": "", "pinned": False})
    assert json.loads((store / LABELS_NAME).read_text()) == {}


@pytest.mark.parametrize("body", [{"name": "x" * 101}, {"pinned": 1}, {"other": ""}, []])
async def test_a_wrong_label_is_refused(client, store, body):
    traces.whole_run(store, ONE)
    assert (await client.post(f"sessions/{ONE}/label", body))[0] == 400
    assert not (store / LABELS_NAME).exists()


async def test_a_run_that_is_not_there_gets_no_label(client, store):
    assert (await client.post(f"sessions/{ONE}/label", {"name": "x"}))[0] == 404
    assert not (store / LABELS_NAME).exists()


async def test_a_deleted_run_can_be_had_back(client, store):
    text = traces.whole_run(store, ONE).read_text()
    assert (await client.post(f"sessions/{ONE}/delete"))[0] == 200
    assert (await client.get("sessions"))[1]["total"] == 0
    assert (await client.post(f"sessions/{ONE}/delete"))[0] == 404
    assert (store / TRASH_NAME).stat().st_mode & 0o777 == 0o700
    status, run = await client.post(f"sessions/{ONE}/restore")
    assert (status, run["session_id"]) == (200, ONE)
    assert (store / f"{ONE}.jsonl").read_text() == text
    assert (await client.post(f"sessions/{ONE}/restore"))[0] == 404


async def test_a_live_run_is_not_deleted(client, store):
    traces.write(store, ONE, [traces.started(ONE)])
    status, error = await client.post(f"sessions/{ONE}/delete")
    assert (status, error["reason"]) == (409, "conflict")


def test_every_part_of_a_run_goes_and_comes_back(tmp_path):
    kept = Store(tmp_path)
    names = [f"{ONE}.jsonl", f"{ONE}.2.jsonl", f"{ONE}.3.jsonl"]
    for name in names:
        (tmp_path / name).write_text(name)
    kept.discard(ONE)
    assert kept.ids() == []
    kept.restore(ONE)
    assert [(tmp_path / name).read_text() for name in names] == names


def test_pins_outlive_the_limit_and_the_trash_does_not(tmp_path):
    kept = Store(tmp_path)
    old_s = time.time() - (KEEP_DAYS + 1) * 86_400
    for run in (ONE, TWO):
        os.utime(traces.whole_run(tmp_path, run), (old_s, old_s))
    kept.labels.put(ONE, {"pinned": True})
    kept.prune()
    assert kept.ids() == [ONE]
    kept.discard(ONE)
    kept._trash.empty(older_than_s=-1.0)
    assert list((tmp_path / TRASH_NAME).iterdir()) == []


def test_damaged_labels_cost_themselves_alone(tmp_path):
    labels = Labels(tmp_path)
    (tmp_path / LABELS_NAME).write_text("{")
    assert labels.all() == {}
    (tmp_path / LABELS_NAME).write_text(json.dumps({ONE: {"name": 1}, TWO: {"name": "kept"}}))
    assert {run: label.name for run, label in labels.all().items()} == {TWO: "kept"}


async def test_readings_as_a_table(client, store):
    traces.write(
        store,
        ONE,
        [traces.started(ONE), traces.samples(1, [0.5, float("nan")], 1 << 30), traces.finished(2)],
    )
    status, text = await client.get(f"sessions/{ONE}/readings.csv")
    assert status == 200
    assert text == "t_s,gpu_util_pct,mem_used_mib\n0.5,50,\n1,,1024\n"
    assert (await client.get(f"sessions/{TWO}/readings.csv"))[0] == 404


series = st.sampled_from([traces.SHARE, traces.MEMORY, Series("gpu_util_ratio", 'GPU-"2",x')])
steps = st.lists(st.tuples(series, st.floats(0.0, LATE_S), st.floats(0.0, 1.0)), max_size=40)


@given(steps)
def test_a_table_has_every_reading_in_order_of_time(made):
    begin = traces.started(
        ONE, series=(traces.SHARE, traces.MEMORY, Series("gpu_util_ratio", 'GPU-"2",x'))
    )
    events, wanted = [begin], {}
    for number, (one, late_s, value) in enumerate(made, 1):
        time_s = round(100.0 + number - late_s, 3)
        events.append(
            ev.SamplesTaken(number, 100.0 + number, (Readings(one, (time_s,), (value,)),))
        )
        wanted[one, time_s] = value
    rows = list(csv.reader(io.StringIO("".join(csv_lines(events)))))
    assert rows[0] == ["t_s", "gpu_util_pct", "mem_used_mib", 'gpu_util_pct@GPU-"2",x']
    times = [float(row[0]) for row in rows[1:]]
    assert times == sorted(set(times))
    cells = {
        (number, float(row[0])): float(cell)
        for row in rows[1:]
        for number, cell in enumerate(row[1:])
        if cell
    }
    assert len(cells) == len(wanted)
    for (one, time_s), value in wanted.items():
        scale = 1 / (1 << 20) if one == traces.MEMORY else 100.0
        found = cells[begin.series.index(one), time_s]
        assert math.isclose(found, value * scale, rel_tol=1e-4, abs_tol=1e-12)


@pytest.mark.parametrize(("form", "begins"), [("svg", "<svg"), ("png", "\ufffdPNG")])
async def test_a_chart_as_a_file(client, store, form, begins):
    traces.whole_run(store, ONE)
    status, text = await client.get(f"sessions/{ONE}/chart/{form}")
    assert (status, text[: len(begins)]) == (200, begins)
