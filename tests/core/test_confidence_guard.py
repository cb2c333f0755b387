import math

import numpy as np
import pytest

from jupyter_gpupredict.core import confidence as c
from jupyter_gpupredict.core.guard import ALARM, Guard


@pytest.mark.parametrize(
    ("n", "k", "expected"), [(50, 0, 3.053147), (49, 0, 2.979259), (229, 11.45, 3.004435)]
)
def test_evidence_has_the_published_values(n, k, expected):
    assert c.log_evidence(k, n, 0.10, 0.05) == pytest.approx(expected, abs=1e-5)


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
    slow = c.exceedance_per_second([0.0, 1.0, 2.0], [0.9, 0.1, 0.9], 0.5)
    stamps = [i / 10 for i in range(30)]
    fast = c.exceedance_per_second(stamps, [0.9] * 10 + [0.1] * 10 + [0.9] * 10, 0.5)
    assert np.array_equal(slow, fast)


@pytest.mark.parametrize(("share", "block"), [(1.0, 6), (0.5, 9), (0.2, 27)])
def test_the_guard_alarms_at_the_specified_block(share, block):
    # ln(1 + 2.5 (r - .1)) is 1.1787, .6931, .2231 a block; the alarm stands at 5.9915
    guard = Guard(0.5, 0.0, 1.0)
    second = 0
    while True:
        second += 1
        # ten readings a second, of which `share` are above the target
        for tenth in range(10):
            above = tenth < round(10 * share)
            if guard.update(second - 1 + (tenth + 1) / 10, 0.9 if above else 0.1, 0.1):
                assert math.ceil((second - 1) / 5) == block
                return
        assert second < 1000


def test_the_guard_is_silent_when_nothing_exceeds():
    guard = Guard(0.5, 0.0, 1.0)
    assert not any(guard.update(float(s), 0.5, 1.0) for s in range(1, 5000))
    assert pytest.approx(5.991465, abs=1e-6) == ALARM


def test_blocks_without_readings_are_skipped():
    guard = Guard(0.5, 0.0, 1.0)
    assert not guard.update(1.0, 0.9, 1.0)
    assert not guard.update(500.0, 0.1, 1.0)
