"""The windows rule at one reading a second, in blocks of 10 s unless a test says otherwise."""

import math
import statistics
from dataclasses import replace
from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.predict.history import MAX_BLOCKS, History, Witness
from jupyter_gpupredict.predict.rules.windows import WindowsRule
from jupyter_gpupredict.predict.windows import Counter, SlidingWindows
from tests.predict.test_periods import period_of

OPTIONS = RuleOptions(window_s=10.0, agree=3, period_s=1.0)


def first(values, options=OPTIONS):
    """Return the first estimate of a rule that reads these values, one a second from 1 s on."""
    rule = WindowsRule(options)
    fired = (rule.update(float(second), value, 1.0) for second, value in enumerate(values, 1))
    return next((one for one in fired if one is not None), None)


# ---- the rule ----------------------------------------------------------------------------------


def covering(values):
    return sorted(values)[math.ceil(0.95 * len(values) - 1e-9) - 1]


def apart(figures):
    return max(figures) - min(figures)


def naive(values, noise=5.0, agree=3):
    """Return (second, target, mean) at which the rule fires, worked out anew after each block."""
    blocks = [values[i : i + 10] for i in range(0, len(values) - 10, 10)]
    for newest in range(1, len(blocks) + 1):
        found = naive_windows(blocks[:newest], noise, agree)
        found = found or naive_periods(blocks[:newest], 10 * agree)
        if found is not None:
            return 10 * newest, *found
    return None


def naive_windows(seen, noise, parts, tolerance=0.05):
    """Return (target, mean) if windows over two thirds of the active time agree."""
    active = [i for i, block in enumerate(seen) if covering(block) >= 0.01]
    least = 10 * parts
    if not active or active[-1] != len(seen) - 1 or 10 * len(active) < least:
        return None
    chosen = active[-math.ceil(max(least, 2 / 3 * 10 * len(active)) / 10 - 1e-9) :]
    if len(chosen) < parts:
        return None
    cuts = [round(k * len(chosen) / parts) for k in range(parts + 1)]
    starts = [chosen[cut] for cut in cuts[:-1]] + [len(seen)]
    pools = [list(chain(*seen[a:b])) for a, b in pairwise(starts)]
    agree = all(covering(pool) >= 0.01 for pool in pools)
    for figure in (covering, statistics.fmean):
        ones = [[figure(seen[i]) for i in chosen[a:b]] for a, b in pairwise(cuts)]
        squares = sum((x - statistics.fmean(one)) ** 2 for one in ones for x in one)
        error = math.sqrt(squares / max(1, len(chosen) - parts) / (len(chosen) / parts))
        limit = min(tolerance, max(0.01, noise * error))
        agree = agree and apart([figure(pool) for pool in pools]) <= limit + 1e-9
    return (max(map(covering, pools)), statistics.fmean(chain(*pools))) if agree else None


def naive_periods(seen, least, parts=3, tolerance=0.02):
    """Return (target, mean) if stretches of whole periods agree; idle that lasts is one block."""
    rows = []
    for block in seen:
        if rows and covering(block) < 0.01 and covering(rows[-1]) < 0.01:
            rows[-1] = rows[-1] + block
        else:
            rows.append(block)
    recent = rows[len(rows) - round(2 / 3 * len(rows)) :]
    if len({len(row) for row in recent}) != 1:
        return None
    period = period_of([statistics.fmean(row) for row in recent])
    each = 0 if period is None else len(recent) // (period * parts) * period
    if not each or parts * each * len(recent[0]) < least:
        return None
    starts = [len(rows) - k * each for k in range(parts, -1, -1)]
    pools = [list(chain(*rows[a:b])) for a, b in pairwise(starts)]
    for figure in (covering, statistics.fmean):
        if apart([figure(pool) for pool in pools]) > tolerance + 1e-9:
            return None
    if min(map(covering, pools)) < 0.01:
        return None
    return max(map(covering, pools)), statistics.fmean(chain(*pools))


LEVELS = st.sampled_from([0.0, 0.4, 0.41, 0.43, 0.5])
STRETCHES = st.lists(st.tuples(LEVELS, LEVELS, st.integers(1, 60)), min_size=1, max_size=6)


LOOPS = st.lists(st.tuples(LEVELS, st.integers(1, 4)), min_size=2, max_size=4)


def check_against_naive(values, noise, agree):
    found = first(values, replace(OPTIONS, noise=noise, agree=agree))
    expected = naive(values, noise, agree)
    assert (found is None) == (expected is None)
    if found is not None:
        assert (found.converged_at_s, found.target_ratio) == expected[:2]
        assert found.mean_ratio == pytest.approx(expected[2])


@settings(max_examples=100, deadline=None)
@given(STRETCHES)
def test_the_rule_agrees_with_a_naive_one(stretches):
    values = [level if i % 3 else other for level, other, n in stretches for i in range(n)]
    check_against_naive([0.5, *values], 5.0, 3)  # an active span begins with an active reading


@settings(max_examples=100, deadline=None)
@given(LOOPS, st.integers(3, 8))
def test_the_rule_agrees_with_a_naive_one_on_loops(loop, rounds):
    values = [level for level, n in loop for _ in range(10 * n)] * rounds
    check_against_naive([0.5, *values], 0.0, 5)  # no noise excuses windows: periods decide


def test_windows_grow_with_the_run():
    """A rise of 2 points after 60 s at 40 % is forgotten once it is two thirds of the run old."""
    found = first([0.4, 0.5] * 2 + [0.4] * 16 + [0.6] * 300)
    # 20 s, then steady: at 60 s the last 40 s are alike, at 50 s the last 33 s, rounded to 40, not
    assert (found.converged_at_s, found.target_ratio) == (60.0, 0.6)


def test_the_figure_is_the_highest_covering_usage_of_the_windows_that_agree():
    noisy = RuleOptions(window_s=10.0, agree=3, period_s=1.0, noise=1e9)
    values = [0.40] * 20 + [0.44] * 20 + [0.41] * 21
    # the last 40 s: 44 %, both, 41 %; the window of both has noise, the others have none
    assert first(values, noisy).target_ratio == 0.44
    assert first(values, replace(noisy, noise=0.0)) is None


def test_noise_explains_what_a_steady_run_may_not_have():
    """Blocks of 40 and 44 % in turn: windows of 2 and 1 of them differ by what their noise says."""
    values = [level for _ in range(12) for level in [0.40] * 10 + [0.44] * 10]
    assert first(values) is not None
    strict = RuleOptions(window_s=10.0, agree=3, period_s=1.0, noise=0.0)
    # equal halves of the horizon do agree at last: 12 blocks of 18, four in each of three windows
    assert first(values, strict).converged_at_s > first(values).converged_at_s


def test_idle_neither_agrees_nor_settles_but_counts_in_the_mean():
    busy, idle = [0.5] * 30, [0.0] * 30
    # at 60 s three blocks are active: windows of one each, of which the second has the idle 30 s in
    # it and a covering usage of 50 % as the others, but a mean of 12.5 %
    assert first(busy[:20] + idle + busy) is None
    pauses = ([0.5] * 20 + [0.0] * 10) * 120
    assert first(pauses).mean_ratio == pytest.approx(1 / 3, abs=0.01)


def test_a_hole_is_no_agreement():
    rule = WindowsRule(OPTIONS)
    assert not any(rule.update(float(s), 0.5, 1.0) for s in range(1, 21))
    assert not any(rule.update(float(s), 0.5, 1.0) for s in range(100, 120))


def test_a_run_of_days_is_held_in_bounded_memory():
    rule = WindowsRule(RuleOptions(window_s=150.0, agree=4, period_s=1.0))
    for second in range(1, 100_001):
        rule.update(float(second), second / 100_000, 1.0)
    assert len(rule._history) <= MAX_BLOCKS
    whole = rule.predict()
    assert (whole.target_ratio, whole.mean_ratio) == (0.95, pytest.approx(0.5, abs=1e-4))


# ---- its parts ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.integers(1, 90)), max_size=40))
def test_merging_blocks_loses_no_second(stretches):
    history, exact = History(10.0, 0.95), Counter()
    windows = SlidingWindows(10.0, 0.0, 0.95)
    time_s = 0.0
    for level, blocks in stretches:
        for _ in range(blocks):
            time_s += 10.0
            for block in windows.add(time_s, level, 10.0):
                history.add(block)
                exact.merge(block.counter)
            windows.lengthen(history.block_s)
            assert len(history) <= MAX_BLOCKS
    whole = history.whole()
    assert dict(whole.bins()) == pytest.approx(dict(exact.bins()))
    if exact.seconds:
        assert whole.mean_ratio() == pytest.approx(exact.mean_ratio())


def test_a_night_of_idle_takes_one_block():
    history, windows = History(10.0, 0.95), SlidingWindows(10.0, 0.0, 0.95)
    for second in range(10, 40_000, 10):
        for block in windows.add(float(second), 0.0 if 100 < second < 39_900 else 0.5, 10.0):
            history.add(block)
    assert len(history) == 10 + 1 + 9
    assert history.block_s == 10.0


@pytest.mark.parametrize(("peak", "steady"), [(True, False), (False, True)])
def test_a_witness_that_rises_late_holds_agreement_back(peak, steady):
    """Two readings lie 20 % above the rest: the peak of their part, and .3 % of its mean."""
    witness = Witness(0.05, peak=peak)
    for second in range(600):
        witness.add(float(second), 120.0 if second in (500, 510) else 100.0)
    assert witness.steady(0.0, 600.0) == steady
    assert witness.steady(0.0, 480.0)


def test_a_witness_without_readings_says_nothing():
    witness = Witness(0.05, peak=True)
    witness.add(10.0, math.nan)
    assert witness.steady(0.0, 100.0)
    for second in range(0, 40_000, 5):
        witness.add(float(second), float(second))
    assert len(witness._blocks) <= MAX_BLOCKS
    assert not witness.steady(0.0, 40_000.0)
