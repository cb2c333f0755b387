import importlib.util
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.paired import paired_difference
from jupyter_gpupredict.backtest.cases import folder
from jupyter_gpupredict.backtest.run import backtest
from jupyter_gpupredict.backtest.score import (
    LOW_COVERAGE,
    MEASURES,
    Answer,
    Scored,
    covering_pct,
    score,
    summarise,
    truth,
)
from jupyter_gpupredict.core.errors import NotEnoughSamples
from tests.traces import read_trace

THEIRS = {
    "abstained": "abst",
    "watched_ratio": "watch",
    "watched_s": "watch_s",
    "mean_error_points": "mean_err",
    "covering_error_points": "p95_err",
    "coverage_ratio": "cov",
    "slack_points": "slack",
    "rest_mean_error_points": "rest_mean_err",
    "fccov": "fccov",
    "fc": "fc",
    "memory_miss": "mem_miss",
    "memory_over_ratio": "mem_over",
    "guarded_coverage_ratio": "g_cov",
    "guarded_fccov": "g_fccov",
    "alarms": "alarms",
    "false_alarm": "false_alarm",
    "uncapped_ratio": "uncapped",
}
"""Our measure -> its name in the independent scorer."""


def run(values, memory=None):
    lines = ["t_s,gpu_util_pct,mem_used_mib\n"]
    for second, value in enumerate(values):
        lines.append(f"{second},{value},{'' if memory is None else memory[second]}\n")
    return truth(read_trace(lines, "x"))


def test_the_active_run_reaches_from_the_first_to_the_last_use():
    # 3 idle, 5 active, 2 idle; the grid ends before the last stamp, as [0, 9) has 9 points
    found = run([0, 0, 0, 10, 0, 20, 30, 10, 0, 0])
    assert found.times_s.tolist() == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert found.values_pct.tolist() == [10, 0, 20, 30, 10]
    assert (found.step_s, found.active_s, found.idle) == (1.0, 5.0, False)


def test_an_idle_run_says_so_and_one_reading_is_not_enough():
    assert run([0, 0, 0]).idle
    with pytest.raises(NotEnoughSamples):
        run([5])


def test_measures_worked_out_by_hand():
    # 100 s active (grid 0..99 of 101 stamps): 40 s at 20 %, 54 s at 22 %, 6 s at 60 %
    found = run([20] * 40 + [22] * 54 + [60] * 7, memory=[100] * 50 + [130] * 51)
    told = score(found, Answer(39.0, 30, 20.0, 115.0, alarms_s=(96.0,), uncapped_ratio=0.1))
    assert (told.abstained, told.watched_ratio, told.watched_s) == (0.0, 0.4, 40.0)
    # mean (40 x 20 + 54 x 22 + 6 x 60) / 100 = 23.48; 95 % lie at or below 60
    assert told.mean_error_points == pytest.approx(3.48)
    assert told.covering_error_points == 30.0
    # the rest: 54 of 60 are covered, exactly 90 %, which is not less than it
    assert (told.coverage_ratio, told.fccov) == (0.9, 0.0)
    # its mean (54 x 22 + 360) / 60 = 25.8 lies 5.8 off
    assert told.rest_mean_error_points == pytest.approx(5.8)
    assert told.fc == 1.0
    assert told.slack_points == 0.0
    assert told.memory_miss == 1.0
    assert told.memory_over_ratio == pytest.approx(115 / 130 - 1)
    # uncovered before the alarm: 94, 95 and 96 -> 57 of 60
    assert told.guarded_coverage_ratio == pytest.approx(0.95)
    assert (told.alarms, told.false_alarm, told.uncapped_ratio) == (1.0, 0.0, 0.1)


def test_who_abstains_has_watched_everything_and_is_never_false():
    told = score(run([10, 90] * 50), Answer(None, 90, 50.0, alarms_s=()))
    assert (told.abstained, told.watched_ratio, told.fc, told.fccov) == (1.0, 1.0, 0.0, 0.0)
    assert told.coverage_ratio is None
    assert told.guarded_fccov == 0.0


def test_a_short_rest_is_not_judged():
    told = score(run([10] * 90 + [99] * 11), Answer(89.0, 10, 10.0))
    assert (told.coverage_ratio, told.fccov) == (None, 0.0)


@given(
    st.lists(st.integers(0, 100), min_size=2, max_size=200).filter(lambda v: any(v[:-1])),
    st.one_of(st.none(), st.floats(0, 250)),
    st.integers(1, 100),
    st.floats(0, 100),
    st.lists(st.floats(0, 250), max_size=3),
)
def test_measures_stay_in_their_bounds(values, at_s, target, mean, alarms):
    told = score(run(values), Answer(at_s, target, mean, alarms_s=tuple(alarms)))
    for name in (
        "abstained", "watched_ratio", "fccov", "fc", "coverage_ratio", "guarded_coverage_ratio",
        "guarded_fccov", "false_alarm",
    ):  # fmt: skip
        value = getattr(told, name)
        assert value is None or 0.0 <= value <= 1.0, name
    assert told.fc >= told.fccov
    assert told.slack_points is None or 0.0 <= told.slack_points <= 100.0
    if told.guarded_coverage_ratio is not None:
        assert told.guarded_coverage_ratio >= told.coverage_ratio


@given(st.lists(st.integers(0, 100), min_size=1, max_size=200))
def test_the_covering_usage_is_the_smallest_that_covers(values):
    found = covering_pct(np.array(values))
    assert np.mean(np.array(values) <= found) >= 0.95 - 1e-9
    assert found == 0 or np.mean(np.array(values) < found) < 0.95


def scored(name, group, family, watched_s):
    answer = Answer(watched_s - 1, 50, 50.0)
    return Scored(name, group, family, score(run([50] * 101), answer))


def test_groups_and_families_share_one_vote_each():
    held = [
        scored("a", "g1", "f1", 20.0),
        scored("b", "g1", "f1", 40.0),
        scored("c", "g2", "f1", 50.0),
        scored("d", "g3", "f2", 100.0),
    ]
    told = summarise(held)
    assert told.macro["watched_ratio"] == pytest.approx((0.3 + 0.5 + 1.0) / 3)
    assert told.by_family["watched_ratio"] == pytest.approx((0.4 + 1.0) / 2)
    assert told.pooled["watched_ratio"] == pytest.approx((0.2 + 0.4 + 0.5 + 1.0) / 4)
    assert told.group_runs == {"g1": 2, "g2": 1, "g3": 1}


def test_a_difference_between_groups_is_wide_only_where_groups_are_drawn():
    ours = [scored(f"{g}{k}", g, "f", 60.0 if g == "a" else 40.0) for g in "ab" for k in range(5)]
    theirs = [scored(f"{g}{k}", g, "f", 40.0) for g in "ab" for k in range(5)]
    by_group = paired_difference(ours, theirs, lambda one: one.watched_ratio)
    by_run = paired_difference(ours, theirs, lambda one: one.watched_ratio, draw="runs")
    assert (by_group.mean, by_group.low, by_group.high) == pytest.approx((0.1, 0.0, 0.2))
    assert (by_run.mean, by_run.low, by_run.high) == pytest.approx((0.1, 0.1, 0.1))


def test_a_difference_is_paired_by_run():
    ours = [scored(str(k), f"g{k % 4}", "f", 30.0 + k) for k in range(12)]
    theirs = [scored(str(k), f"g{k % 4}", "f", 50.0 + k) for k in range(12)]
    for draw in ("groups", "runs"):
        found = paired_difference(ours, theirs, lambda one: one.watched_ratio, draw=draw)
        assert (found.mean, found.low, found.high) == pytest.approx((-0.2, -0.2, -0.2))
    assert paired_difference(ours, theirs, lambda one: one.alarms) is None


@pytest.fixture
def scorer(shared):
    path = shared / "tools" / "score.py"
    if not path.is_file():
        pytest.skip("the independent scorer is not in shared/tools")
    spec = importlib.util.spec_from_file_location("independent_scorer", path)
    module = importlib.util.module_from_spec(spec)
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


@pytest.mark.parametrize(
    "rules",
    [
        ["default", "vpa"],
        pytest.param(["accurate", "quick", "first-10pct"], marks=pytest.mark.long),
    ],
)
def test_an_independent_scorer_gives_the_same_figures(shared, scorer, rules):
    traces = shared / "traces"
    report = backtest(folder(traces).cases, rules, jobs=1)
    assert report.unreadable == ()
    assert not any(outcome.error for rule in rules for outcome in report.outcomes(rule))
    held = {one.name: one for one in scorer.read_folder(str(traces))}
    assert {one.id for one in report.runs} == set(held)
    for rule in rules:
        rows = []
        for outcome in report.outcomes(rule):
            answer = outcome.answer
            contract = {
                "state": "abstained" if answer.converged_at_s is None else "converged",
                "converged_at_s": answer.converged_at_s,
                "target_pct": answer.target_pct,
                "mean_pct": answer.mean_pct,
                "mem_target_mib": answer.mem_target_mib,
                "guard": None
                if answer.alarms_s is None
                else {"alarms": list(answer.alarms_s), "uncapped_fraction": answer.uncapped_ratio},
            }
            trace = held[outcome.scored.id]
            theirs = scorer.score(trace, contract)
            for name in MEASURES:
                ours = getattr(outcome.scored.score, name)
                if ours is None or theirs.get(THEIRS[name]) is None:
                    assert ours is None, (rule, trace.name, name)
                    assert theirs.get(THEIRS[name]) is None, (rule, trace.name, name)
                else:
                    assert ours == pytest.approx(theirs[THEIRS[name]], abs=1e-9), name
            rows.append({"group": trace.group, "family": trace.family, **theirs})
        ours, theirs = summarise(report.scored(rule)), scorer.summarise(rows)
        for part, mine in (
            ("macro", ours.macro),
            ("by_family", ours.by_family),
            ("pooled", ours.pooled),
        ):
            for name in MEASURES:
                assert mine[name] == pytest.approx(theirs[part][THEIRS[name]], abs=1e-9), name
        assert ours.macro[LOW_COVERAGE] == pytest.approx(theirs["macro"]["cov5"], abs=1e-9)
        for group, means in ours.groups.items():
            for name in MEASURES:
                assert means[name] == pytest.approx(theirs["groups"][group][THEIRS[name]], abs=1e-9)
