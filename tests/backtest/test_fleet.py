"""Many traces, one row each: files, patterns, Parquet, URLs, and what is wrong with some."""

import gzip
import json
import math

import pytest

from jupyter_gpupredict.backtest import cases, files, run
from jupyter_gpupredict.backtest.files import row_file
from jupyter_gpupredict.backtest.spread import Where, spread
from jupyter_gpupredict.core.errors import InvalidOption, MissingExtra
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.frontends.cli import main
from jupyter_gpupredict.run import predict_recording
from tests.traces import write_csv

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet")
OPTIONS = {"rule": "quick"}


def level(value, seconds=900):
    return [0] * 10 + [value] * seconds


def write_packed(path, traces, group_rows=700):
    """Many traces in one file, in row groups that cut through them."""
    names, times, values = [], [], []
    for name, readings in traces.items():
        for n, value in enumerate(readings):
            names.append(name)
            times.append(float(n))
            values.append(value)
    table = pa.table({"trace": names, "t_s": times, "gpu_util_pct": values})
    pq.write_table(table, path, row_group_size=group_rows)


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "traces"
    folder.mkdir()
    write_csv(folder / "a.csv", level(50), memory_mib=1000)
    write_csv(folder / "b.csv", level(70))
    (folder / "torn.csv").write_text("t_s,gpu_util_pct\n0,50\n1\n")
    (folder / "notes.txt").write_text("not a trace")
    return folder


def predicted(found):
    return [row for _, rows in run.predictions(found, OPTIONS, Where(1)) for row in rows]


def test_a_row_says_what_predict_says(place):
    rows = predicted(cases.recorded([str(place)]))
    assert [row["trace"] for row in rows] == ["a", "b", "torn"]
    assert all(list(row) == list(run.PREDICTION_KINDS) for row in rows)
    whole = predict_recording(str(place / "a.csv"), **OPTIONS)
    flat = {
        **{name: value for name, value in whole.items() if name not in ("confidence", "guard")},
        **{f"confidence_{name}": value for name, value in whole["confidence"].items()},
        **{f"guard_{name}": value for name, value in whole["guard"].items()},
    }
    flat = {name: flat.get(name) for name in run.PREDICTION_KINDS}
    assert rows[0] == {**flat, "trace": "a", "file": str(place / "a.csv"), "problem": ""}
    assert "1 cells under 2 titles" in rows[2]["problem"]
    assert rows[2]["target_pct"] is None


def test_parquet_reads_as_the_csv_with_the_same_cells(tmp_path):
    readings = level(50)
    write_csv(tmp_path / "x.csv", readings)
    held = {"t_s": [float(n) for n in range(len(readings))], "gpu_util_pct": readings}
    pq.write_table(pa.table(held), tmp_path / "x.parquet", row_group_size=100)
    (one,) = cases.recorded([str(tmp_path / "x.csv")])
    (other,) = cases.recorded([str(tmp_path / "x.parquet")])
    assert other.id == "x"
    assert other.load()[0].rows == one.load()[0].rows


def test_many_traces_in_one_file_are_told_apart(tmp_path):
    traces = {f"run-{n}": level(10 + n, 300 + 7 * n) for n in range(20)}
    write_packed(tmp_path / "fleet.parquet", traces)
    for name, readings in traces.items():
        write_csv(tmp_path / f"{name}.csv", readings)
    packed = cases.recorded([str(tmp_path / "fleet.parquet")])
    assert [case.id for case in packed] == list(traces)
    for case in (*packed, *packed[::-3]):
        (apart,) = cases.recorded([str(tmp_path / f"{case.id}.csv")])
        assert case.load()[0].rows == apart.load()[0].rows


def test_missing_cells_and_nan_are_no_readings(tmp_path):
    table = pa.table({"t_s": [0.0, 1.0, 2.0], "gpu_util_pct": [10.0, None, math.nan]})
    pq.write_table(table, tmp_path / "x.parquet")
    (one,) = cases.recorded([str(tmp_path / "x.parquet")])
    assert [values[0] for _, values in one.load()[0].rows] == [0.1, None, None]


def test_a_file_that_is_written_again_is_read_again(tmp_path):
    path = tmp_path / "x.parquet"
    write_packed(path, {"a": level(10)})
    (before,) = cases.recorded([str(path)])
    assert before.load()[0].rows[-1][1] == (0.1,)
    write_packed(path, {"a": level(90)})
    (after,) = cases.recorded([str(path)])
    assert after.load()[0].rows[-1][1] == (0.9,)


def test_a_folder_is_read_by_content(tmp_path):
    dmon = "# gpu sm mem\n" + "".join(f"0 {50 + k % 3} 1\n" for k in range(9))
    (tmp_path / "a.log").write_text(dmon)
    (tmp_path / "b").write_bytes(gzip.compress(dmon.encode()))
    (tmp_path / "c.csv").write_text("nothing\n1\n")
    (tmp_path / "notes.md").write_text("# Read me\n")
    (tmp_path / "x.ipynb").write_text('{"cells": []}')
    (tmp_path / ".hidden").write_text(dmon)
    (tmp_path / "bad.parquet").write_text("x")
    found = cases.found_in([str(tmp_path)])
    rows = {row["trace"]: row for row in predicted(found.cases)}
    assert sorted(rows) == ["a", "b", "bad", "c"]
    assert [bool(rows[name]["problem"]) for name in sorted(rows)] == [False, False, True, True]
    names = [path.rpartition("/")[2] for path in found.skipped]
    assert names == [".hidden", "notes.md", "x.ipynb"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidOption):
        cases.found_in([str(tmp_path / "empty")])


def test_every_device_has_a_row(tmp_path):
    lines = [f"{k} {50 + k} 1" for _ in range(9) for k in (0, 1)]
    (tmp_path / "a.log").write_text("\n".join(["# gpu sm mem", *lines, ""]))
    rows = predicted(cases.recorded([str(tmp_path)], ReadOptions(device="all")))
    assert [(row["device"], row["mean_pct"]) for row in rows] == [("gpu0", 50.0), ("gpu1", 51.0)]


def test_what_is_done_is_kept_when_a_backtest_is_interrupted(tmp_path, monkeypatch):
    for name in "abc":
        write_csv(tmp_path / f"{name}.csv", [50] * 30)

    def interrupted(work, items, *_, **__):
        yield 0, work(items[:2])
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "spread", interrupted)
    report = run.backtest(cases.recorded([str(tmp_path)]), ["default"])
    assert [one.id for one in report.runs] == ["a", "b"]
    out = tmp_path / "rows.jsonl"
    assert main(["predict", str(tmp_path), "--out", str(out), "--jobs", "1"]) == 130
    assert [json.loads(line)["trace"] for line in out.read_text().splitlines()] == ["a", "b"]


def test_parquet_that_is_none_is_one_line(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and then nothing")
    (row,) = predicted(cases.recorded([str(tmp_path / "x.parquet")]))
    assert "x.parquet is not Parquet" in row["problem"]
    pq.write_table(pa.table({"other": [1]}), tmp_path / "y.parquet")
    (row,) = predicted(cases.recorded([str(tmp_path / "y.parquet")]))
    assert "no column t_s" in row["problem"]
    apart = pa.table({"trace": ["a", "b", "a"], "t_s": [0.0, 0.0, 1.0], "gpu_util_pct": [1, 1, 1]})
    pq.write_table(apart, tmp_path / "z.parquet")
    (row,) = predicted(cases.recorded([str(tmp_path / "z.parquet")]))
    assert "stand apart" in row["problem"]
    pq.write_table(apart.slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(InvalidOption):
        cases.folder(str(tmp_path / "emp*.parquet"))


def test_patterns_and_urls(place):
    fsspec = pytest.importorskip("fsspec")
    assert [c.id for c in cases.recorded([str(place / "[ab].csv")])] == ["a", "b"]
    assert [c.id for c in cases.recorded([str(place / "b.csv"), str(place)])][:2] == ["b", "a"]
    store = fsspec.filesystem("memory")
    for name in ("a", "b"):
        store.pipe(f"/fleet/{name}.csv", (place / f"{name}.csv").read_bytes())
    write_packed(place / "p.parquet", {"x": level(30)})
    store.pipe("/fleet/p.parquet", (place / "p.parquet").read_bytes())
    found = cases.recorded(["memory://fleet/*"])
    assert [case.id for case in found] == ["a", "b", "x"]
    rows = predicted(found)
    assert [row["target_pct"] for row in rows] == [50, 70, 30]
    assert [case.id for case in cases.recorded(["memory://fleet"])] == ["a", "b", "x"]
    store.rm("/fleet", recursive=True)


@pytest.mark.parametrize("name", ["nothing-*.csv", "no/such/place", "nosuch://x/y.csv"])
def test_nothing_found_is_one_line(name):
    with pytest.raises((InvalidOption, MissingExtra)) as caught:
        cases.recorded([name])
    assert "\n" not in str(caught.value)


def test_rows_come_in_order_however_they_were_made(place, monkeypatch):
    """Batches that arrive out of order leave in order."""
    found = cases.recorded([str(place)]) * 3

    def backwards(work, items, where, lost, at_once=1):
        for start in reversed(range(0, len(items), 2)):
            yield start, work(items[start : start + 2])

    monkeypatch.setattr(run, "spread", backwards)
    told = list(run.predictions(found, OPTIONS, Where(1)))
    assert told[-1][0] == len(found)
    assert [row["trace"] for _, rows in told for row in rows] == ["a", "b", "torn"] * 3


def double(items):
    return [2 * item for item in items]


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_every_item_once(at_once):
    got = sorted(spread(double, range(10), Where(1), None, at_once=at_once))
    assert [one for _, some in got for one in some] == [2 * n for n in range(10)]


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_rows_are_written_whole_or_not_at_all(tmp_path, place, ending):
    path = tmp_path / f"rows.{ending}"
    rows = predicted(cases.recorded([str(place)]))
    with row_file(str(path), run.PREDICTION_KINDS) as write:
        for row in rows:
            write([row])
    if ending == "jsonl":
        assert [json.loads(line) for line in path.read_text().splitlines()] == rows
    else:
        assert pq.read_table(path).to_pylist() == rows
    before = path.read_bytes()

    def fail():
        with row_file(str(path), run.PREDICTION_KINDS) as write:
            write(rows)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".rows*"))


def test_the_same_parquet_however_the_rows_came(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "GROUP_ROWS", 7)
    rows = [{"trace": str(n)} for n in range(23)]
    for name, step in (("one", 1), ("many", 23), ("some", 10)):
        with row_file(str(tmp_path / f"{name}.parquet"), {"trace": "text"}) as write:
            for start in range(0, 23, step):
                write(rows[start : start + step])
    files_ = {(tmp_path / f"{name}.parquet").read_bytes() for name in ("one", "many", "some")}
    assert len(files_) == 1


@pytest.mark.parametrize("out", ["rows.csv", "no/such/place/rows.jsonl", "rows"])
def test_a_place_that_cannot_be_written(place, capsys, out, tmp_path):
    assert main(["predict", str(place), "--out", str(tmp_path / out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_over_a_folder(place, tmp_path, capsys):
    assert main(["predict", str(place), "--rule", "quick"]) == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["target_pct"] for row in rows] == [50, 70, None]
    first, *skipped = said.err.splitlines()
    assert first == "3 traces: 2 converged, 1 not readable"
    assert skipped == ["1 not recordings, skipped:", f"  {place / 'notes.txt'}"]
    out = tmp_path / "r.parquet"
    assert main(["predict", str(place), "--rule", "quick", "--out", str(out)]) == 0
    assert pq.read_table(out).to_pylist() == rows
    for wrong in (["--rule", "nosuch"], ["--metric", "nosuch"], ["--jobs", "0"], ["--epochs", "0"]):
        assert main(["predict", str(place), *wrong]) == 2


def test_backtest_writes_rows(place, tmp_path, capsys):
    out = tmp_path / "rows.parquet"
    words = ["backtest", str(place), "--jobs", "1", "--rules", "quick,vpa", "--json"]
    assert main([*words, "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = pq.read_table(out).to_pylist()
    assert [(row["trace"], row["rule"]) for row in rows] == [
        ("a", "quick"), ("a", "vpa"), ("b", "quick"), ("b", "vpa"), ("torn", None),
    ]  # fmt: skip
    answers = told["rules"]["quick"]["answers"]
    assert rows[0]["target_pct"] == answers[0]["target_pct"]
    assert rows[0]["score_watched_s"] == answers[0]["score"]["watched_s"]
    assert "titles" in rows[-1]["problem"]


def test_without_the_extra_one_line_names_it(place, monkeypatch, capsys):
    import builtins

    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] in ("pyarrow", "distributed", "fsspec"):
            raise ImportError(name)
        return real(name, *rest)

    write_packed(place / "p.parquet", {"x": level(30)})
    monkeypatch.setattr(builtins, "__import__", without)
    for words in (
        ["predict", str(place)],
        ["predict", str(place / "a.csv"), "--out", str(place / "r.parquet")],
        ["predict", str(place / "a.csv"), "--scheduler", "local"],
        ["predict", "memory://x/y.csv"],
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "pip install 'jupyter_gpupredict[dask]'" in said


def test_is_url():
    assert files.is_url("s3://bucket/x")
    assert not files.is_url("/a/b.csv")
