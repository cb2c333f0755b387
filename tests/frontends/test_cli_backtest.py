import json

import pytest

from jupyter_gpupredict.frontends.cli import main
from tests.traces import write_csv


@pytest.fixture
def traces(tmp_path):
    place = tmp_path / "traces"
    place.mkdir()
    for name, level in (("a", 50), ("b", 60)):
        write_csv(place / f"{name}.csv", [level] * 900)
    (place / "bad.csv").write_text("nonsense\n")
    return place


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["no-such-folder"],
        ["{traces}", "--rules", "defualt"],
        ["{traces}", "--rules", ","],
        ["{traces}", "--where", "kind"],
        ["{traces}", "--where", "kind=training"],
        ["{traces}", "--jobs", "0"],
        ["{traces}", "--jobs", "many"],
        ["{traces}", "--synthetic", "0:1"],
        ["--synthetic", "5:1"],
        ["--synthetic", "-2:1"],
        ["--synthetic", "x"],
        ["--synthetic", "0:0", "--where", "group=nothing"],
        ["{traces}", "--jobs", "1", "--plots", "/dev/null/x"],
    ],
)
def test_bad_input_is_one_line_and_exit_2(words, traces, capsys):
    assert main(["backtest", *(word.format(traces=traces) for word in words)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip().count("\n") == 0
    assert said.err.startswith("jupyter gpupredict: ")


def test_a_folder_in_which_nothing_can_be_read_is_bad_input(tmp_path, capsys):
    (tmp_path / "bad.csv").write_text("nonsense\n")
    assert main(["backtest", str(tmp_path)]) == 2
    assert "bad" in capsys.readouterr().err


def test_the_tables(traces, capsys):
    assert main(["backtest", str(traces), "--jobs", "1", "--rules", "default,first-10pct"]) == 0
    said = capsys.readouterr()
    assert said.err == ""  # no bar where nobody looks
    assert said.out.startswith("2 runs, 2 groups, 2 families, 0.5 h active; mean over groups\n")
    assert "| default " in said.out
    assert "| first-10pct * |" in said.out
    assert "1 not readable, left out:\n  bad: " in said.out


def test_json_is_one_object(traces, tmp_path, capsys):
    words = ["backtest", str(traces), "--jobs", "1", "--json", "--rules", "default"]
    assert main([*words, "--plots", str(tmp_path / "p")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == 2
    assert [one["id"] for one in found["unreadable"]] == ["bad"]
    rule = found["rules"]["default"]
    # each: active 899 s of the grid, 600 s watched and 299 s left
    assert rule["macro"]["watched_ratio"] == pytest.approx(600 / 899, abs=0.002)
    assert rule["macro"]["fccov"] == 0.0
    assert [one["target_pct"] for one in rule["answers"]] == [50, 60]
    assert (tmp_path / "p" / "frontier.svg").is_file()


def test_synthetic_runs(capsys):
    words = ["backtest", "--synthetic", "0:1", "--where", "group=steady", "--jobs", "1", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == 2
    assert [one["id"] for one in found["rules"]["quick"]["answers"]] == ["steady-0", "steady-1"]


def test_the_bar_is_drawn_for_people(capsys, traces, monkeypatch):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["backtest", str(traces), "--jobs", "1"]) == 0
    said = capsys.readouterr().err
    assert "[" + "#" * 30 + "] 3/3 runs" in said
    assert said.endswith("\r\x1b[K")
