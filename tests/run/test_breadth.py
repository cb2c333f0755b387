"""An SM share beside a time share: weighed by busy time, never mixed, the same when replayed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.core.series import Device, Readings, Series, SourceInfo
from jupyter_gpupredict.predict.rules.epoch_mix import EpochMix
from jupyter_gpupredict.predict.rules.windows import WindowsRule
from jupyter_gpupredict.predict.slowdown import bracket
from jupyter_gpupredict.predict.windows import Counter
from jupyter_gpupredict.run import predict_recording
from jupyter_gpupredict.run.analysis import Analysis

BREADTH, DUTY = Series("breadth_ratio", "g"), Series("gr_active_ratio", "g")
INFO = SourceInfo("gpm", (Device("g", "H200"),), (BREADTH, DUTY), BREADTH, None, 1.0, duty=DUTY)
OPTIONS = RuleOptions(window_s=10.0, agree=2, tolerance_points=2.0, period_s=1.0)


def analysed(pairs):
    run = Analysis(INFO, lambda: WindowsRule(OPTIONS), lambda: EpochMix(OPTIONS), 0.95)
    for second, (breadth, duty) in enumerate(pairs, 1):
        at = (float(second),)
        run.ingest([Readings(BREADTH, at, (breadth,)), Readings(DUTY, at, (duty,))])
    return run.recommendation()


def test_breadth_weighs_as_much_time_as_was_busy():
    # half of the seconds fully busy at 20 %, half busy a tenth of the time at 60 %
    told = analysed([(0.2, 1.0), (0.6, 0.1)] * 10)
    # 10 s at .2 and 1 s at .6
    assert told.mean_ratio == pytest.approx((10 * 0.2 + 1 * 0.6) / 11)
    assert told.basis == "sm_share"
    assert told.target_ratio == 0.6  # a eleventh of the busy time is more than 5 %


def test_idle_seconds_are_known_and_weigh_nothing():
    busy = [(0.3, 0.9)] * 9
    pairs = [*busy, (math.nan, 0.01), *busy, (math.nan, 0.0)] * 3
    told = analysed(pairs)
    assert (told.state, told.target_ratio) == ("converged", 0.3)
    assert told.sampled_ratio == 1.0  # nothing is missing
    assert told.coverage_ratio == 1.0


def test_missing_seconds_are_missing():
    told = analysed([(0.3, 0.9), (math.nan, math.nan), (math.nan, math.nan)] * 14)
    assert told.state == "watching"  # a third of each window was read: all are void
    assert told.sampled_ratio == pytest.approx(1 / 3, abs=0.02)


def test_a_window_without_work_neither_agrees_nor_disagrees():
    busy, idle = [(0.3, 0.9)] * 10, [(math.nan, 0.0)] * 10
    told = analysed(busy + idle + busy + busy + busy[:2])
    assert (told.state, told.converged_at_s) == ("converged", 41.0)


@given(
    st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=50),
    st.floats(0.01, 1.0),
)
def test_kernels_of_one_width_each_lie_within_the_bracket(windows, cap):
    """A kernel of breadth b takes max(1, b / cap) times as long; the figures may not exclude it."""
    breadth, busy_s = Counter(), 0.0
    for width, duty in windows:
        breadth.add(width, duty)
        busy_s += duty
    found = bracket(breadth, float(len(windows)), cap)
    if busy_s <= 0.0:
        assert found is None
        return
    low, high = found
    took = 1.0 + sum(d * max(0.0, w / cap - 1.0) for w, d in windows) / len(windows)
    assert 1.0 <= low <= took + 1e-9
    assert took <= high + 1e-9


def test_the_price_of_the_share_is_told_beside_it():
    told = analysed([(0.2, 1.0), (0.6, 0.5)] * 20)
    # 60 % of unknown SMs covers all: mean activity .25, no kernel is known to be wider
    assert told.target_ratio == 0.6
    assert told.slowdown == pytest.approx((1.0, 1.0 + 0.25 * (1 / 0.6 - 1.0)))
    assert "1.00x to 1.17x the run time" in words.slowdown(told)


def test_both_shares_are_kept_and_replayed_apart(tmp_path, data_dir):
    """A table of SM and engine activity: breadth .25 of the SMs, busy .8 of the time."""
    rows = "".join(f"{second},20,80\n" for second in range(1, 41))
    file = tmp_path / "run.csv"
    file.write_text("t_s,sm_active_pct,gr_active_pct\n" + rows)
    found = predict_recording(
        str(file), metric="breadth_pct", window_s=10.0, agree=2, tolerance_points=2.0
    )
    assert (found["basis"], found["target_pct"], found["mean_pct"]) == ("sm_share", 25, 25.0)
    time_share = predict_recording(str(file), window_s=10.0, agree=2)
    assert (time_share["metric"], time_share["target_pct"]) == ("gr_active_pct", 80)
