import json
from itertools import product

import pytest

from jupyter_gpupredict import registry
from jupyter_gpupredict.frontends.cli import VERBS, main
from jupyter_gpupredict.run import SessionConfig, build_session, shutdown


@pytest.fixture
def stored():
    run = build_session(SessionConfig(source="synthetic", scenario="steady"))
    run.start()
    session_id = run.stop("completed").session_id
    shutdown()
    return session_id


def csv(tmp_path, rows=60):
    path = tmp_path / "t.csv"
    path.write_text("t_s,gpu_util_pct\n" + "".join(f"{t},50\n" for t in range(rows)))
    return str(path)


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], *[[verb, "--help"] for verb in VERBS]]
)
def test_help_on_every_level(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["predict"],
        ["predict", "none.csv"],
        ["predict", "none.csv", "--rule", "defualt"],
        ["show", "nothing"],
        ["export", "last", "--name", "x", "-o", "y"],
        ["run", "none.py"],
        ["history", "--limit", "many"],
    ],
)
def test_bad_input_is_one_line_and_exit_2(words, capsys):
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip().count("\n") == 0


def test_predict_prints_the_contract(tmp_path, capsys):
    words = ["predict", csv(tmp_path), "--json", "--window", "10", "--agree", "2"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["state"] == "converged"
    assert (found["target_pct"], found["mean_pct"], found["metric"]) == (50, 50.0, "gpu_util_pct")
    assert found["basis"] == "time_share"
    assert set(found["confidence"]) == {
        "n_eff", "g_s", "certified_pct", "certified", "required_pct", "level",
            "lower_pct", "upper_pct",
    }  # fmt: skip


def test_a_stored_run_can_be_listed_shown_and_predicted_again(stored, capsys):
    assert main(["history", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["session_id"] == stored
    assert listed["simulated"] is True
    for wanted in ("last", stored, stored[-4:]):
        assert main(["show", wanted, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["session_id"] == stored
    assert main(["show", "last"]) == 0
    assert "Simulated" in capsys.readouterr().out


def test_run_gives_the_scripts_own_exit_status(tmp_path, capsys):
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.argv[1], __name__)\nsys.exit(3)\n")
    result = tmp_path / "result.json"
    words = ["run", "--source", "synthetic", "--json", str(result), str(script), "--mine"]
    assert main(words) == 3
    assert "--mine __main__" in capsys.readouterr().out
    assert json.loads(result.read_text())["source"] == "synthetic"
    shutdown()


def test_doctor_and_targets(capsys):
    assert main(["doctor", "--json"]) == 0
    names = {line["name"] for line in json.loads(capsys.readouterr().out)}
    assert {"source nvml", "source cpu", "session store"} <= names
    assert main(["targets", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    named = {(pair["workload"], pair["sharing"]) for pair in listed}
    every = set(product(registry.names("workloads"), registry.names("sharing")))
    assert (named, len(listed)) == (every, len(every))
    assert main(["targets"]) == 0
    assert capsys.readouterr().out.count("\n") == len(every)
