from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker

import pytest

from jupyter_gpupredict.backtest import spread, synthetic
from jupyter_gpupredict.backtest.cases import Simulated, folder, simulated
from jupyter_gpupredict.backtest.run import BASELINES, backtest, check_rules
from jupyter_gpupredict.core.errors import InvalidOption, UnknownName
from jupyter_gpupredict.run import predict_recording
from tests.traces import write_csv


@pytest.fixture(autouse=True, scope="module")
def tracker():
    """Python's own process that minds semaphores lives on; it is not one of ours."""
    resource_tracker.ensure_running()


@pytest.fixture
def traces(tmp_path):
    place = tmp_path / "traces"
    place.mkdir()
    write_csv(place / "a.csv", [0] * 10 + [50] * 900)
    write_csv(place / "b.csv", [0] * 10 + [50] * 400 + [90] * 900)
    write_csv(place / "idle.csv", [0] * 100)
    (place / "torn.csv").write_text("t_s,gpu_util_pct\n0,50\n1\n")
    (place / "noise.csv").write_bytes(b"\x00\x01\xff")
    (place / "notes.txt").write_text("not a trace")
    return place


def index(place, *rows):
    lines = ["id\tgroup\tfamily\tkind", *("\t".join(row) for row in rows)]
    (place / "INDEX.tsv").write_text("\n".join(lines) + "\n")


def test_what_cannot_be_read_is_named_and_ends_nothing(traces):
    report = backtest(folder(traces).cases, ["default", "quick"], jobs=1)
    assert [one.id for one in report.runs] == ["a", "b"]
    assert report.idle == ("idle",)
    assert {name for name, _ in report.unreadable} == {"noise", "torn"}
    (first,) = (one for one in report.outcomes("default") if one.scored.id == "a")
    assert (first.answer.target_pct, first.scored.group) == (50, "a")
    # from 9 s on in windows of 300 s: two end at 609 s, which the next reading shows
    assert first.answer.converged_at_s == 610.0


def test_answers_are_those_of_predict(traces):
    for rule in ("default", "accurate", "quick"):
        (one, *_) = backtest(folder(traces).cases[:1], [rule], jobs=1).outcomes(rule)
        found = predict_recording(str(traces / "a.csv"), rule=rule)
        assert one.answer.converged_at_s == found["converged_at_s"]
        assert one.answer.target_pct == found["target_pct"]
        assert one.answer.mean_pct == found["mean_pct"]
        assert list(one.answer.alarms_s or ()) == (found["guard"] or {"alarms": []})["alarms"]


def test_several_processes_give_what_one_gives(traces):
    told = []
    cases = (*folder(traces).cases, Simulated("epoch_vhigh", 1), Simulated("rl", 2))
    one = backtest(cases, ["default", "vpa"], jobs=1)
    two = backtest(
        cases, ["default", "vpa"], jobs=2, progress=lambda done, every: told.append((done, every))
    )
    assert one == two
    assert told == [(done, len(cases)) for done in range(len(cases) + 1)]


def test_an_index_groups_and_chooses(traces):
    index(traces, ("a", "g", "f", "training"), ("b", "g", "f", "mixed"), ("c", "h", "f", "mixed"))
    every = folder(traces)
    assert [(case.id, case.group, case.family) for case in every.cases] == [
        ("a", "g", "f"),
        ("b", "g", "f"),
    ]
    assert every.missing == ("c",)
    assert [case.id for case in folder(traces, [("kind", "mixed")]).cases] == ["b"]
    with pytest.raises(InvalidOption, match="no column 'sort'"):
        folder(traces, [("sort", "x")])
    with pytest.raises(InvalidOption, match="no trace"):
        folder(traces, [("kind", "inference")])


@pytest.mark.parametrize("text", ["", "name\tgroup\nx\ty\n", "\0"])
def test_an_index_that_is_none_is_refused(traces, text):
    (traces / "INDEX.tsv").write_text(text)
    with pytest.raises(InvalidOption):
        folder(traces)


def test_synthetic_runs_are_chosen_like_rows():
    assert len(simulated(range(3))) == 3 * len(synthetic.SCENARIOS)
    (only,) = simulated(range(3), [("group", "rl"), ("seed", "2")])
    assert (only.id, only.group, only.family) == ("rl-2", "rl", "synthetic")
    with pytest.raises(InvalidOption):
        simulated(range(3), [("group", "none")])


@pytest.mark.parametrize("rules", [["defualt"], [], ["vpa+hints"], ["default+hint"]])
def test_a_name_that_is_no_rules_is_refused(rules):
    with pytest.raises((UnknownName, InvalidOption)):
        check_rules(rules)


def test_jobs_must_be_one_or_more(traces):
    with pytest.raises(InvalidOption):
        backtest(folder(traces).cases, ["default"], jobs=0)


def test_hints_reach_the_analysis(monkeypatch):
    heard = []
    from jupyter_gpupredict.run.analysis import Analysis

    plain = Analysis.ingest

    def listening(self, readings, marks=()):
        heard.extend((mark, readings[0].times_s[0]) for mark in marks)
        return plain(self, readings, marks)

    monkeypatch.setattr(Analysis, "ingest", listening)
    backtest([Simulated("epoch_vlow", 1)], ["default"], jobs=1)
    assert heard == []
    backtest([Simulated("epoch_vlow", 1)], ["default+hints"], jobs=1)
    made = synthetic.run("epoch_vlow", 1)
    last_s = made.trace.rows[-1][0]
    assert [mark for mark, _ in heard] == [m for m in made.marks if m.time_s <= last_s]
    assert all(mark.time_s <= at_s for mark, at_s in heard)


@pytest.mark.parametrize("name", [*BASELINES, "default", "accurate", "quick"])
@pytest.mark.parametrize("scenario", ["stalls", "phase"])
def test_no_rule_looks_ahead(name, scenario):
    from jupyter_gpupredict.backtest.run import predict
    from jupyter_gpupredict.backtest.score import truth
    from jupyter_gpupredict.sources.recording import Trace

    trace = synthetic.run(scenario, 5).trace
    run = truth(trace)
    whole = predict(name, trace, (), run)
    if whole.converged_at_s is None:
        pytest.skip("it abstained")
    kept = tuple(row for row in trace.rows if row[0] <= whole.converged_at_s + 60.0)
    cut = Trace(trace.name, kept, trace.series, trace.devices, trace.origin)
    short = predict(name, cut, (), run)  # the run's length goes to those that use it
    for field in ("converged_at_s", "target_pct", "mean_pct", "mem_target_mib"):
        assert getattr(short, field) == getattr(whole, field), field


def test_baselines_say_what_they_are_worth_on_a_steady_run(tmp_path):
    write_csv(tmp_path / "s.csv", [0] * 10 + [50] * 1000)
    report = backtest(folder(tmp_path).cases, list(BASELINES), jobs=1)
    answers = {name: report.outcomes(name)[0].answer for name in BASELINES}
    assert answers["krr"].converged_at_s == 110.0  # behind the first hundred, 10 to 109
    assert answers["first-300s"].converged_at_s == 310.0
    assert answers["first-10pct"].converged_at_s == pytest.approx(109.0, abs=1)
    assert answers["first-30pct"].converged_at_s == pytest.approx(308.0, abs=1)
    assert answers["vpa"].converged_at_s == pytest.approx(189.0, abs=1)  # three checks, 60 s apart
    assert answers["vpa"].target_pct == 58  # 50 x 1.15, up to a whole percent
    assert {one.target_pct for name, one in answers.items() if name != "vpa"} == {50}
    assert all(one.alarms_s is None for one in answers.values())


def test_the_heaviest_tasks_begin_first_and_none_is_lost(tmp_path):
    for name, rows in (("a", 3), ("b", 400), ("c", 40)):
        write_csv(tmp_path / f"{name}.csv", [50] * rows)
    cases = folder(tmp_path).cases
    begun = []

    class Pool(ThreadPoolExecutor):
        """One worker in this process, which takes tasks in the order they are handed in."""

        def __init__(self, workers, **_):
            super().__init__(1)

    def work(some):
        begun.extend(case.id for case in some)
        return [case.id for case in some]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spread, "ProcessPoolExecutor", Pool)
        found = spread.spread(
            work, cases, spread.Where(2), lambda *_: "", weigh=lambda case: case.weight
        )
        assert sorted(found) == [(0, ["a"]), (1, ["b"]), (2, ["c"])]
    assert begun == ["b", "c", "a"]
