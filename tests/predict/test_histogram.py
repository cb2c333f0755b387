import pytest

from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.predict.rules.histogram import HistogramRule

OPTIONS = RuleOptions(window_s=60.0, agree=10, tolerance_points=2.0, period_s=1.0)


def first(values):
    rule = HistogramRule(OPTIONS)
    for second, value in enumerate(values, 1):
        found = rule.update(float(second), value, 1.0)
        if found is not None:
            return found
    return None


def test_steady_use_converges_at_the_tenth_check():
    found = first([0.5] * 700)
    assert found.converged_at_s == 600.0
    assert (found.target_ratio, found.mean_ratio) == (0.5, pytest.approx(0.5))


def test_what_is_old_fades():
    # an hour at 90 %, then an hour at 20 %: six half-lives later the hour weighs a sixty-fourth
    rule = HistogramRule(OPTIONS)
    found = [rule.update(float(s), 0.9 if s <= 3600 else 0.2, 1.0) for s in range(1, 7300)]
    late = [one for one in found if one and one.converged_at_s > 6000]
    assert late[-1].target_ratio == 0.2


def test_a_step_within_the_checks_holds_it_back():
    assert first([0.5] * 500 + [0.9] * 150) is None
