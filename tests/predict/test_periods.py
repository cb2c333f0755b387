"""The period of a loop that says nothing of itself, in blocks of 30 s at one reading a second."""

import math
import statistics

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.predict.history import CHANCE, period_blocks
from jupyter_gpupredict.predict.rules.windows import WindowsRule

OPTIONS = RuleOptions(window_s=50.0, agree=6, period_s=1.0)


def first(values):
    rule = WindowsRule(OPTIONS)
    fired = (rule.update(float(second), value, 1.0) for second, value in enumerate(values, 1))
    return next((one for one in fired if one is not None), None)


def period_of(figures):
    """Return the period by the definition of the autocorrelation, lag by lag."""
    n = len(figures)
    if n < 8:
        return None
    mean = statistics.fmean(figures)
    squares = math.fsum((x - mean) ** 2 for x in figures)
    if squares < 1e-9:
        return None
    found = {
        k: math.fsum((figures[i] - mean) * (figures[i + k] - mean) for i in range(n - k))
        / (n - k)
        / (squares / n)
        for k in range(1, n // 2 + 1)
    }
    fell = next((k for k, r in found.items() if r <= 0.0), None)
    if fell is None:
        return None
    behind = {k: r for k, r in found.items() if k >= fell}
    best = min(k for k, r in behind.items() if r >= max(behind.values()) - 1e-9)
    limit = statistics.NormalDist().inv_cdf(1.0 - CHANCE / len(found))
    return best if found[best] * math.sqrt(n - best) >= limit else None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 100), max_size=60), st.integers(1, 8))
def test_the_period_is_that_of_the_definition(figures, repeats):
    # whole numbers: ties and zeros of the correlation must not hang on rounding
    series = [(x + 0.001 * i) / 100 for i, x in enumerate(figures * repeats)][:256]
    assert period_blocks(np.array(series)) == period_of(series)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=2, max_size=20), st.integers(3, 8))
def test_what_repeats_itself_has_a_period_that_fits(figures, repeats):
    found = period_blocks(np.array(figures * repeats) / 100.0)
    if found is not None:
        again = np.roll(figures * repeats, found)
        assert 2 * found <= len(figures) * repeats
        assert found % len(figures) == 0 or np.corrcoef(again, figures * repeats)[0, 1] > 0.0


def test_noise_alone_seldom_has_a_period():
    """At most one in twenty, and as many again for the chance of this draw."""
    draw = np.random.default_rng(0)
    found = [period_blocks(draw.normal(0.5, 0.1, n)) for n in (20, 60, 240) for _ in range(200)]
    assert sum(one is not None for one in found) <= 60


def test_a_rise_is_no_period():
    assert period_blocks(np.linspace(0.2, 0.9, 60)) is None
    assert period_blocks(np.array([0.2] * 30 + [0.8] * 30)) is None


def test_whole_periods_are_windows_where_others_never_agree():
    """Epochs of 120 s: 90 s at 90 %, 30 s at 30 %. Sixths of the time cut them differently."""
    epoch = [0.9] * 90 + [0.3] * 30
    found = first(epoch * 8)
    # two thirds of 18 blocks are three epochs of four blocks; of 17 they are eleven blocks
    assert (found.converged_at_s, found.target_ratio) == (540.0, 0.9)
    assert round(found.mean_ratio, 6) == 0.75


def test_periods_that_drift_do_not_agree():
    """Each epoch lies two points above the one before: no three of them are within a point."""
    epochs = [[0.5 + 0.02 * n] * 90 + [0.2 + 0.02 * n] * 30 for n in range(15)]
    assert first([value for epoch in epochs for value in epoch]) is None


def test_idle_periods_settle_nothing():
    """A burst of 3 s every two minutes: the covering usage of all of it is idle."""
    assert first(([0.9] * 3 + [0.0] * 117) * 30) is None
