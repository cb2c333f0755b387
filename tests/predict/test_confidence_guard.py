import math

import numpy as np
import pytest

from benchmarks.certification import chain, ever_certified
from jupyter_gpupredict.predict import confidence as c
from jupyter_gpupredict.predict.confidence import ALARM, BlockTest, CoverageFall, Guard


@pytest.mark.parametrize(
    ("n", "k", "expected"), [(50, 0, 3.053147), (49, 0, 2.979259), (229, 11.45, 3.004435)]
)
def test_evidence_has_the_published_values(n, k, expected):
    assert c.log_evidence(k, n, 0.10, 0.05) == pytest.approx(expected, abs=1e-5)


def test_the_mixture_has_the_published_bound():
    """The constant of the authors' own package: v_opt = v = 100, alpha = .05, g = .2, h = .8."""
    g, h = 0.2, 0.8
    r = c.tuned_for(100.0, g, h, 0.05)
    low, high = 0.0, 100.0
    for _ in range(80):
        middle = (low + high) / 2
        if c.log_mixture(middle, 100.0, g, h, r) < math.log(20):
            low = middle
        else:
            high = middle
    assert high == pytest.approx(28.41238, abs=1e-5)


def test_the_tuning_has_the_specified_values():
    r = c.tuned_for(150 * 0.09, 0.9, 0.1, 0.05)
    assert r == pytest.approx(2.0430857, abs=1e-6)
    assert c.log_prior(0.9, 0.1, r) == pytest.approx(-7.3347878, abs=1e-6)


@pytest.mark.parametrize(
    ("n", "k", "percent"),
    [(20, 0, 68), (24, 0, 74), (50, 0, 90), (100, 5, 86), (400, 20, 91), (1000, 50, 92)],
)
def test_certified_coverage(n, k, percent):
    assert round(100 * c.certified_ratio(n, k, 0.05)) == percent


def test_nothing_is_certified_from_a_handful_of_seconds():
    assert c.certified_ratio(3.0, 0.0, 0.05) is None


def test_without_an_exceedance_the_square_root_rule_holds():
    # 600 s never above the target: g = sqrt(600) = 24.49, so n_eff = 24.49 and 74 % + 1
    found = c.confidence([float(t) for t in range(1, 601)], [0.4] * 600, 0.5)
    assert found.g_s == pytest.approx(math.sqrt(600))
    assert found.certified_ratio == 0.75
    assert not found.certified


def test_polling_faster_adds_nothing():
    slow = c.Exceedance([0.0, 1.0, 2.0], [0.9, 0.1, 0.9]).above(0.5)
    stamps = [i / 10 for i in range(30)]
    fast = c.Exceedance(stamps, [0.9] * 10 + [0.1] * 10 + [0.9] * 10).above(0.5)
    assert np.array_equal(slow, fast)


@pytest.mark.parametrize(("share", "block"), [(1.0, 6), (0.5, 9), (0.2, 27)])
def test_the_guard_alarms_at_the_specified_block(share, block):
    # ln(1 + 2.5 (r - .1)) is 1.1787, .6931, .2231 a block; the alarm stands at 5.9915
    guard = BlockTest(0.0, 1.0)
    second = 0
    while True:
        second += 1
        # ten readings a second, of which `share` are above the target
        for tenth in range(10):
            above = tenth < round(10 * share)
            if guard.update(second - 1 + (tenth + 1) / 10, above, 0.1):
                assert math.ceil((second - 1) / 5) == block
                return
        assert second < 1000


def test_the_guard_is_silent_when_nothing_exceeds():
    guard = Guard(0.5, 0.0)
    assert not any(guard.update(float(s), 0.5, 1.0) for s in range(1, 5000))
    assert pytest.approx(5.991465, abs=1e-6) == ALARM


def test_a_phase_is_held_to_what_it_was_seen_to_do():
    """Half of validation lay above the target when it was learned: half raises no alarm, all does.

    Allowed .55: a block at one half is worth ln(1 + .25/.55 (.5 - .55)) < 0, a full one ln(1.2045).
    """
    guard = BlockTest(0.0, 1.0)
    assert not any(guard.update(s / 2, bool(s % 2), 0.5, allowed=0.55) for s in range(1, 4000))
    fired = [s for s in range(1, 400) if guard.update(2000.0 + s, True, 1.0, allowed=0.55)]
    assert 5.991465 / math.log(1 + 0.25 / 0.55 * 0.45) == pytest.approx(32.2, abs=0.1)
    assert 33 * 5 <= fired[0] <= 34 * 5


def test_blocks_without_readings_are_skipped():
    guard = Guard(0.5, 0.0)
    assert not guard.update(1.0, 0.9, 1.0)
    assert not guard.update(500.0, 0.1, 1.0)


@pytest.mark.parametrize(("share", "second"), [(1.0, 23), (0.5, 26), (0.2, 60)])
def test_coverage_far_under_its_aim_for_20_s_fails_at_once(share, second):
    """Each second adds share - .15; 2 s of that are too few, and 20 s more have to pass.

    Beyond 2 s: with .85 a second in the third, with .35 in the sixth, with .05 in the forty-first,
    of which the first tenth, above the target as a whole, is enough: .9 x .1 more than at 40 s.
    """
    fall = CoverageFall(0.0)
    tenths = range(1, 1000)
    fired = next(
        i for i in tenths if fall.update(i / 10, (i - 1) % 10 < round(10 * share), 0.1, 0.10)
    )
    assert fired / 10 == pytest.approx(second, abs=1.0)


def test_a_burst_that_is_over_does_not_fail_it_nor_one_as_it_was_seen_before():
    burst = CoverageFall(0.0)
    # 4 s above, then below: 3.4 s too many shrink by .15 a second and are 2 s after 10 s
    assert not any(burst.update(float(s), s <= 4, 1.0, 0.10) for s in range(1, 2000))
    # 30 s of validation above the target in each 600 s, as in the readings that chose it
    shares = np.array([0.9 if s % 600 >= 570 else 0.5 for s in range(1200)])
    stamps = [float(s) for s in range(1, 1201)]
    guard = Guard(0.5, 1200.0, stamps, shares)
    again = [0.9 if s < 30 else 0.5 for s in range(600)]
    assert not any(guard.update(1201.0 + s, value, 1.0) for s, value in enumerate(again))
    # while the same 30 s followed by more are no validation any more
    worse = Guard(0.5, 1200.0, stamps, shares)
    assert any(worse.update(1201.0 + s, 0.9, 1.0) for s in range(60))


def test_the_bounds_hold_the_covering_usage_of_a_steady_regime():
    """Independent seconds: the true value, 94 %, lies within all but a few of 60 intervals."""
    draw = np.random.default_rng(7)
    wrong = bounded = 0
    for _ in range(60):
        values = np.round(draw.beta(5, 2, 2400), 2)
        lower, upper = c.covering_bounds(c.Exceedance(np.arange(2400.0), values), 0.95)
        bounded += lower is not None and upper is not None
        wrong += (lower is not None and lower > 0.94) or (upper is not None and upper < 0.94)
    assert bounded == 60
    assert wrong <= 6  # each side is wrong in at most 5 %


def test_a_short_watch_bounds_nothing_from_above():
    lower, upper = c.covering_bounds(c.Exceedance(np.arange(600.0), np.full(600, 0.4)), 0.95)
    assert upper is None
    assert lower == 0.40  # every second lies above 39 %
    assert c.covering_bounds(c.Exceedance([], []), 0.95) == (None, None)


@pytest.mark.parametrize("correlation_s", [1, 5, 20, 60, 120])
def test_dependence_does_not_certify_what_is_false(correlation_s):
    """A two-state chain that exceeds exactly 10 % of the time, looked at again and again.

    `python -m benchmarks.certification` does this with 300 chains of 12,000 s; here there are 30.
    """
    draw = np.random.default_rng(correlation_s)
    wrong = sum(ever_certified(chain(draw, 4000, correlation_s)) for _ in range(30))
    assert wrong <= 5  # 0.07 of 30 is 2; more than 5 has a chance below 2 %
